"""Coefficients of a potential of particles over time and runs, in given ways: quadratic problems and their solution."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hoam_plugin.numerics.uniform_splines import Axis, matrices

# Relative to the diagonal: what keeps coefficients in bounds that no configuration speaks of, and what keeps splines of
# the distance, and of time, smooth.
_RIDGE, _ROUGHNESS, _UNREST = 1e-6, 1e-5, 1e-4
# Of the differences of splines of the distance.
_ORDER = 3


class Problem(NamedTuple):
    """Quadratic problems of every run and time, w (c . A c / 2 - b . c).

    Attributes:
        gram: the A.
        linear: the b.
        weights: of the times, which sum to 1.
        taus: the times, normalised.
        places: of the runs, in standardised parameters.
    """

    gram: Float[np.ndarray, "R T k k"]
    linear: Float[np.ndarray, "R T k"]
    weights: Float[np.ndarray, " T"]
    taus: Float[np.ndarray, " T"]
    places: Float[np.ndarray, "R P"]

    def values(self, c: Float[np.ndarray, "R T k"]) -> Float[np.ndarray, " R"]:
        """Of coefficients, for every run."""
        quadratic = np.einsum("rtk,rtkl,rtl->rt", c, self.gram, c) / 2
        return (quadratic - np.einsum("rtk,rtk->rt", self.linear, c)) @ self.weights


@dataclasses.dataclass(frozen=True)
class Basis:
    """How a group of coefficients depends on time and run.

    Attributes:
        n_times: splines in time; 1 for constant ones.
        degree: of a polynomial in the parameters; None for own coefficients of every run.
    """

    n_times: int
    degree: int | None

    def __str__(self) -> str:
        of_time = "constant in time" if self.n_times == 1 else f"{self.n_times} splines in time"
        of_runs = "its own for every run" if self.degree is None else f"of degree {self.degree} in the parameters"
        return f"{of_time}, {'the same for all runs' if self.degree == 0 else of_runs}"

    def size(self, n_runs: int, n_parameters: int) -> int:
        """Coefficients per function."""
        return self.n_times * (n_runs if self.degree is None else math.comb(n_parameters + self.degree, self.degree))

    def of_times(self, taus: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T a"]:
        """The functions of time."""
        if self.n_times == 1:
            return np.ones((len(taus), 1))
        return matrices(Axis(0.0, 1.0, self.n_times, periodic=False), taus)[0]

    def of_runs(self, places: Float[np.ndarray, "R P"]) -> Float[np.ndarray, "R b"]:
        """The functions of the run."""
        if self.degree is None:
            return np.eye(len(places))
        columns = [np.ones(len(places))]
        for degree in range(1, self.degree + 1):
            factors = itertools.combinations_with_replacement(range(places.shape[1]), degree)
            columns += [np.prod(places[:, list(of)], axis=1) for of in factors]
        return np.stack(columns, axis=1)


class Group(NamedTuple):
    """Coefficients that depend on time and run in the same way.

    Attributes:
        start: the first one.
        stop: after the last one.
        basis: how they do.
        radial: how many of them make one function of the distance, or 0.
        roughness: what third differences of a function of the distance cost.
        unrest: what second differences in time cost: where configurations say little of a coefficient, it is that of
            other times.
        tether: what coefficients cost, relative to the mean of the diagonal: shells are much alike, and functions of
            those with few neighbours, of which the diagonal is small, have no larger coefficients than others.
    """

    start: int
    stop: int
    basis: Basis
    radial: int
    roughness: float = _ROUGHNESS
    unrest: float = _UNREST
    tether: float = 0.0

    @property
    def columns(self) -> slice:
        """Which they are."""
        return slice(self.start, self.stop)


@dataclasses.dataclass(frozen=True)
class Solution:
    """Coefficients, and how they depend on time and run.

    Attributes:
        groups: of the coefficients.
        parts: per group the coefficients of its functions of time and run.
    """

    groups: tuple[Group, ...]
    parts: tuple[Float[np.ndarray, "_ _ _"], ...]

    def at(self, taus: Float[np.ndarray, " T"], places: Float[np.ndarray, "R P"]) -> Float[np.ndarray, "R T k"]:
        """At times and runs."""
        n = max(group.stop for group in self.groups)
        c = np.zeros((len(places), len(taus), n))
        for group, part in zip(self.groups, self.parts, strict=True):
            times, runs = group.basis.of_times(taus), group.basis.of_runs(places)
            c[:, :, group.columns] = np.einsum("ta,rb,abk->rtk", times, runs, part, optimize=True)
        return c


def solved(problem: Problem, groups: Sequence[Group]) -> Solution:
    """The minimiser over all runs and times."""
    bases = [(g.basis.of_times(problem.taus), g.basis.of_runs(problem.places)) for g in groups]
    sizes = [t.shape[1] * r.shape[1] * (g.stop - g.start) for g, (t, r) in zip(groups, bases, strict=True)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    matrix, right = np.zeros((starts[-1], starts[-1])), np.zeros(starts[-1])
    weighted = problem.gram * problem.weights[None, :, None, None]
    for i, (group, (times, runs)) in enumerate(zip(groups, bases, strict=True)):
        linear = problem.linear[:, :, group.columns] * problem.weights[None, :, None]
        right[starts[i] : starts[i + 1]] = np.einsum("ta,rb,rtk->abk", times, runs, linear, optimize=True).ravel()
        for j, (other, (their_times, their_runs)) in enumerate(zip(groups, bases, strict=True)):
            block = weighted[:, :, group.columns, other.columns]
            products = np.einsum("ta,tc->tac", times, their_times)
            over_time = np.tensordot(block, products, axes=([1], [0]))
            whole = np.einsum("rklac,rb,rd->abkcdl", over_time, runs, their_runs, optimize=True)
            matrix[starts[i] : starts[i + 1], starts[j] : starts[j + 1]] = whole.reshape(sizes[i], sizes[j])
    for i, (group, size) in enumerate(zip(groups, sizes, strict=True)):
        at = slice(starts[i], starts[i + 1])
        matrix[at, at] += _penalty(matrix[at, at], group, size)
    x = _solution(matrix, right)
    parts = []
    for i, (group, (times, runs)) in enumerate(zip(groups, bases, strict=True)):
        k = group.stop - group.start
        parts.append(x[starts[i] : starts[i + 1]].reshape(times.shape[1], runs.shape[1], k))
    return Solution(tuple(groups), tuple(parts))


def _solution(matrix: Float[np.ndarray, "n n"], right: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Of the linear system, with as little of a ridge as makes the matrix, whose sums have round-off, definite."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    diagonal = np.diag(matrix)
    # A coefficient that nothing speaks of is zero.
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1))
    scaled, ridge = matrix * scale[:, None] * scale[None, :], _RIDGE
    while True:
        try:
            factor = cho_factor(scaled + ridge * np.eye(len(scaled)))
        except LinAlgError:
            ridge *= 10
        else:
            return cho_solve(factor, right * scale) * scale


def is_radial(group: Group) -> bool:
    """Whether it makes functions of the distance that can be rough."""
    return group.radial > _ORDER


def changes(group: Group) -> bool:
    """Whether it depends on time."""
    return group.basis.n_times > 1


def _penalty(own: Float[np.ndarray, "n n"], group: Group, size: int) -> Float[np.ndarray, "n n"]:
    """What is added to the matrix of a group."""
    k, n_times = group.stop - group.start, group.basis.n_times
    n_runs = size // (k * n_times)
    penalty = group.tether * np.mean(np.diag(own)) * np.eye(size)
    if is_radial(group):
        third = np.diff(np.eye(group.radial), _ORDER, axis=0)
        rough = np.kron(np.eye(k // group.radial), third.T @ third)
        penalty += group.roughness * np.trace(own) / size * np.kron(np.eye(size // k), rough)
    if changes(group):
        second = np.diff(np.eye(n_times), 2, axis=0)
        of_coefficients = np.diag(own).reshape(n_times, n_runs * k).mean(axis=0)
        penalty += group.unrest * np.kron(second.T @ second, np.diag(of_coefficients))
    return penalty

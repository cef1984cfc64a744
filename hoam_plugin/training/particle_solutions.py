"""Coefficients of a potential of particles over time and runs: as simple as held-out configurations allow."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from hoam_plugin.numerics.uniform_splines import Axis, matrices

Between = Literal["the same", "linear", "own"]

# Relative to the mean of the diagonal: what keeps coefficients in bounds that no configuration speaks of, and what
# keeps splines of the distance smooth.
_RIDGE, _ROUGHNESS = 1e-7, 1e-5
# A simpler model is taken where it is worse by less than this share of what is gained, and by less than so many standard
# errors.
_AS_GOOD, _STANDARD_ERRORS = 1e-4, 1.0


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
        between: runs: "the same" coefficients for all, "linear" in the parameters, or "own" ones for every run.
    """

    n_times: int
    between: Between

    def size(self, n_runs: int, n_parameters: int) -> int:
        """Coefficients per function."""
        return self.n_times * {"the same": 1, "linear": 1 + n_parameters, "own": n_runs}[self.between]

    def of_times(self, taus: Float[np.ndarray, " T"]) -> Float[np.ndarray, "T a"]:
        """The functions of time."""
        if self.n_times == 1:
            return np.ones((len(taus), 1))
        return matrices(Axis(0.0, 1.0, self.n_times, periodic=False), taus)[0]

    def of_runs(self, places: Float[np.ndarray, "R P"]) -> Float[np.ndarray, "R b"]:
        """The functions of the run."""
        n = len(places)
        if self.between == "own":
            return np.eye(n)
        one = np.ones((n, 1))
        return one if self.between == "the same" else np.concatenate([one, places], axis=1)


class Group(NamedTuple):
    """Coefficients that depend on time and run in the same way.

    Attributes:
        columns: which they are.
        basis: how they do.
        radial: how many of them make one function of the distance, or 0.
    """

    columns: slice
    basis: Basis
    radial: int


@dataclasses.dataclass(frozen=True)
class Solution:
    """Coefficients, and how they depend on time and run.

    Attributes:
        groups: of the coefficients.
        parts: per group the coefficients of its functions of time and run.
    """

    groups: tuple[Group, ...]
    parts: tuple[Float[np.ndarray, "a b k"], ...]

    def at(self, taus: Float[np.ndarray, " T"], places: Float[np.ndarray, "R P"]) -> Float[np.ndarray, "R T k"]:
        """At times and runs."""
        n = max(group.columns.stop for group in self.groups)
        c = np.zeros((len(places), len(taus), n))
        for group, part in zip(self.groups, self.parts, strict=True):
            times, runs = group.basis.of_times(taus), group.basis.of_runs(places)
            c[:, :, group.columns] = np.einsum("ta,rb,abk->rtk", times, runs, part, optimize=True)
        return c


def solved(problem: Problem, groups: Sequence[Group]) -> Solution:
    """The minimiser over all runs and times."""
    from scipy.linalg import cho_factor, cho_solve

    bases = [(g.basis.of_times(problem.taus), g.basis.of_runs(problem.places)) for g in groups]
    sizes = [t.shape[1] * r.shape[1] * (g.columns.stop - g.columns.start) for g, (t, r) in zip(groups, bases, strict=True)]
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
    factor = cho_factor(matrix)
    x = cho_solve(factor, right)
    parts = []
    for i, (group, (times, runs)) in enumerate(zip(groups, bases, strict=True)):
        k = group.columns.stop - group.columns.start
        parts.append(x[starts[i] : starts[i + 1]].reshape(times.shape[1], runs.shape[1], k))
    return Solution(tuple(groups), tuple(parts))


def _penalty(own: Float[np.ndarray, "n n"], group: Group, size: int) -> Float[np.ndarray, "n n"]:
    scale = np.trace(own) / size
    penalty = _RIDGE * scale * np.eye(size)
    if group.radial > 3:
        k = group.columns.stop - group.columns.start
        third = np.diff(np.eye(group.radial), 3, axis=0)
        rough = np.kron(np.eye(k // group.radial), third.T @ third)
        penalty += _ROUGHNESS * scale * np.kron(np.eye(size // k), rough)
    return penalty


def candidates(n_times: int, most: int, n_runs: int, n_parameters: int) -> list[Basis]:
    """Ways in which coefficients may depend on time and run, simple ones first.

    Args:
        n_times: saved ones that count.
        most: splines in time.
        n_runs: of the training.
        n_parameters: of the runs.
    """
    splines = [1] + [n for n in (4, 6, 9, 14, 24, 40) if n <= min(most, n_times // 2)]
    between: list[Between] = ["the same"]
    if n_parameters and n_runs > 1:
        between += ["linear"] if n_runs > n_parameters + 1 else []
        between += ["own"]
    bases = [Basis(n, kind) for n, kind in itertools.product(splines, between)]
    return sorted(bases, key=lambda basis: basis.size(n_runs, n_parameters))


class Tried(NamedTuple):
    """One way, and what held-out configurations say of it.

    Attributes:
        groups: with their bases.
        training: the loss on the configurations that it was solved on.
        held_out: on others.
    """

    groups: tuple[Group, ...]
    training: float
    held_out: float


def chosen(halves: tuple[Problem, Problem], columns: Sequence[tuple[slice, int]], most: int) -> list[Tried]:
    """Ways that were tried, the best one last.

    Group after group takes the simplest way that does about as well as the best one, where the other groups have the
    richest one that was found so far.

    Args:
        halves: of the same runs, with independent configurations.
        columns: the coefficients of each group, and how many of them make one function of the distance.
        most: splines in time.
    """
    first = halves[0]
    n_runs, n_parameters = first.places.shape
    ways = candidates(int(np.count_nonzero(first.weights)), most, n_runs, n_parameters)
    rich = max((way for way in ways if way.n_times <= 9), key=lambda way: way.size(n_runs, n_parameters))
    groups = [Group(of, rich, radial) for of, radial in columns if of.stop > of.start]
    tried: list[Tried] = []
    # The pairs are first: what they are is simple most often, and the rest then is cheap.
    for i in reversed(range(len(groups))):
        found = []
        for way in ways:
            one = tuple(g._replace(basis=way) if j == i else g for j, g in enumerate(groups))
            found.append((way, *_crossed(halves, one)))
            tried.append(Tried(one, found[-1][1], float(np.sum(found[-1][2]))))
        best = min(found, key=lambda f: float(np.sum(f[2])))
        for way, _, held in found:
            excess = held - best[2]
            error = float(np.std(excess) * len(excess) ** 0.5)
            allowed = max(_STANDARD_ERRORS * error, _AS_GOOD * abs(float(np.sum(best[2]))))
            if float(np.sum(excess)) <= allowed:
                groups[i] = groups[i]._replace(basis=way)
                break
    training, held = _crossed(halves, tuple(groups))
    return [*tried, Tried(tuple(groups), training, float(np.sum(held)))]


def _crossed(halves: tuple[Problem, Problem], groups: tuple[Group, ...]) -> tuple[float, Float[np.ndarray, " R"]]:
    """The loss on each half of what the other half says, and on itself; per run."""
    own, other = 0.0, np.zeros(len(halves[0].places))
    for one, two in (halves, halves[::-1]):
        solution = solved(one, groups)
        own += float(np.mean(one.values(solution.at(one.taus, one.places)))) / 2
        other = other + two.values(solution.at(two.taus, two.places)) / (2 * len(other))
    return own, other

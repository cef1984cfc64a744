"""Coefficients of a potential of particles over time and runs: as simple as held-out configurations allow."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hoam_plugin.numerics.uniform_splines import Axis, matrices

# Polynomials of the parameters are up to this degree, which the interpolation between runs reproduces.
_HIGHEST = 3
# Relative to the diagonal: what keeps coefficients in bounds that no configuration speaks of, and what keeps splines of
# the distance, and of time, smooth: first, and what held-out configurations choose from.
_RIDGE, _ROUGHNESS, _UNREST = 1e-6, 1e-5, 1e-4
_UNRESTS, _ROUGHNESSES = (1e-1, 1e-2, 1e-3, 1e-4), (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# A simpler model is taken where it is worse by less than so many standard errors, or than round-off makes of it.
_STANDARD_ERRORS, _AS_GOOD = 1.0, 1e-6
# Of the differences of splines of the distance.
_ORDER = 3
# Of the systems that are tried.
_MOST_UNKNOWNS = 4000
# How often every group takes its turn.
_TURNS = 3


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
    """

    start: int
    stop: int
    basis: Basis
    radial: int
    roughness: float = _ROUGHNESS
    unrest: float = _UNREST

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


def _is_radial(group: Group) -> bool:
    """Whether it makes functions of the distance that can be rough."""
    return group.radial > _ORDER


def _changes(group: Group) -> bool:
    """Whether it depends on time."""
    return group.basis.n_times > 1


def _penalty(own: Float[np.ndarray, "n n"], group: Group, size: int) -> Float[np.ndarray, "n n"]:
    """What is added to the matrix of a group."""
    k, n_times = group.stop - group.start, group.basis.n_times
    n_runs = size // (k * n_times)
    penalty = np.zeros((size, size))
    if _is_radial(group):
        third = np.diff(np.eye(group.radial), _ORDER, axis=0)
        rough = np.kron(np.eye(k // group.radial), third.T @ third)
        penalty += group.roughness * np.trace(own) / size * np.kron(np.eye(size // k), rough)
    if _changes(group):
        second = np.diff(np.eye(n_times), 2, axis=0)
        of_coefficients = np.diag(own).reshape(n_times, n_runs * k).mean(axis=0)
        penalty += group.unrest * np.kron(second.T @ second, np.diag(of_coefficients))
    return penalty


class Ways(NamedTuple):
    """In which coefficients may depend on time and run, simple ones first.

    Attributes:
        n_times: see `Basis`.
        degrees: see `Basis`.
    """

    n_times: tuple[int, ...]
    degrees: tuple[int | None, ...]

    def besides(self, basis: Basis, *, in_time: bool) -> list[Basis]:
        """All that differ from a basis in time, or between the runs."""
        if in_time:
            return [dataclasses.replace(basis, n_times=n) for n in self.n_times]
        return [dataclasses.replace(basis, degree=degree) for degree in self.degrees]


def ways(n_times: int, most: int, n_runs: int, n_parameters: int) -> Ways:
    """Those that there are.

    Args:
        n_times: saved ones that count.
        most: splines in time.
        n_runs: of the training.
        n_parameters: of the runs.
    """
    splines = [1] + [n for n in (4, 8, 16, 32, 64) if n <= min(most, n_times // 2)]
    degrees: list[int | None] = [0]
    if n_parameters and n_runs > 1:
        degrees += [d for d in range(1, _HIGHEST + 1) if math.comb(n_parameters + d, d) < n_runs]
        degrees += [None]
    return Ways(tuple(splines), tuple(degrees))


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


class Part(NamedTuple):
    """Coefficients for which one way is sought.

    Attributes:
        columns: which they are.
        radial: how many of them make one function of the distance, or 0.
        n_times: splines in time, at most.
    """

    columns: slice
    radial: int
    n_times: int


def chosen(halves: tuple[Problem, Problem], parts: Sequence[Part]) -> list[Tried]:
    """Ways that were tried, the best one last.

    In turn, every group takes the simplest way in time, and then between the runs, that does about as well as the best
    one, until none changes.

    Args:
        halves: of the same runs, with independent configurations.
        parts: of the coefficients; empty ones are left out.
    """
    first = halves[0]
    n_runs, n_parameters = first.places.shape
    n_times = int(np.count_nonzero(first.weights))
    parts = [part for part in parts if part.columns.stop > part.columns.start]
    known = [ways(n_times, part.n_times, n_runs, n_parameters) for part in parts]
    groups = tuple(Group(of.columns.start, of.columns.stop, Basis(1, 0), of.radial) for of in parts)
    tried: dict[tuple[Group, ...], tuple[float, Float[np.ndarray, " R"]]] = {}

    def size_of(some: tuple[Group, ...]) -> int:
        return sum((g.stop - g.start) * g.basis.size(n_runs, n_parameters) for g in some)

    def best_of(options: Sequence[tuple[Group, ...]]) -> tuple[Group, ...]:
        for option in options:
            if option not in tried:
                tried[option] = _crossed(halves, option)
        return _simplest({option: tried[option][1] for option in options})

    for _ in range(_TURNS):
        before = groups
        for i, in_time in itertools.product(range(len(groups)), (True, False)):
            bases = known[i].besides(groups[i].basis, in_time=in_time)
            options = [(*groups[:i], groups[i]._replace(basis=basis), *groups[i + 1 :]) for basis in bases]
            options = [option for option in options if size_of(option) <= _MOST_UNKNOWNS]
            groups = best_of(options)
        if groups == before:
            break
    # The smoother, the simpler.
    for i in range(len(groups)):
        if _changes(groups[i]):
            made = [groups[i]._replace(unrest=factor) for factor in _UNRESTS]
            groups = best_of([(*groups[:i], group, *groups[i + 1 :]) for group in made])
        if _is_radial(groups[i]):
            made = [groups[i]._replace(roughness=factor) for factor in _ROUGHNESSES]
            groups = best_of([(*groups[:i], group, *groups[i + 1 :]) for group in made])
    order = [option for option in tried if option != groups] + [groups]
    return [Tried(option, tried[option][0], float(np.sum(tried[option][1]))) for option in order]


def _simplest(held: Mapping[tuple[Group, ...], Float[np.ndarray, " R"]]) -> tuple[Group, ...]:
    """The first of some ways that is hardly worse than the best one."""
    best = held[min(held, key=lambda option: float(np.sum(held[option])))]
    for option, values in held.items():
        excess = values - best
        error = float(np.std(excess) * len(excess) ** 0.5)
        if float(np.sum(excess)) <= max(_STANDARD_ERRORS * error, _AS_GOOD * abs(float(np.sum(best)))):
            return option
    raise AssertionError("the best one is hardly worse than itself")


def _crossed(halves: tuple[Problem, Problem], groups: tuple[Group, ...]) -> tuple[float, Float[np.ndarray, " R"]]:
    """The loss on each half of what the other half says, and on itself; per run."""
    own, other = 0.0, np.zeros(len(halves[0].places))
    for one, two in (halves, halves[::-1]):
        solution = solved(one, groups)
        own += float(np.mean(one.values(solution.at(one.taus, one.places)))) / 2
        other = other + two.values(solution.at(two.taus, two.places)) / (2 * len(other))
    return own, other

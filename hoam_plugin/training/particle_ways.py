"""In which ways coefficients depend on time and run: as simple ones as held-out configurations allow."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hoam_plugin.training.particle_solutions import Basis, Group, Problem, changes, is_radial, solved

# Polynomials of the parameters are up to this degree, which the interpolation between runs reproduces.
_HIGHEST = 3
# What held-out configurations choose from: see `Group`.
_UNRESTS, _ROUGHNESSES = (1e-1, 1e-2, 1e-3, 1e-4), (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
# For neighbourhoods, whose functions are many and much alike; first, and all.
_TETHER, _TETHERS = 1e-3, (1e2, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
# A simpler model is taken where it is worse by less than so many standard errors, or than round-off makes of it.
_STANDARD_ERRORS, _AS_GOOD = 1.0, 1e-6
# Of the systems that are tried.
_MOST_UNKNOWNS = 4000
# How often every group takes its turn.
_TURNS = 3


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
        tethered: whether held-out configurations say how large coefficients may be.
    """

    columns: slice
    radial: int
    n_times: int
    tethered: bool = False


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
    groups = tuple(
        Group(of.columns.start, of.columns.stop, Basis(1, 0), of.radial, tether=_TETHER if of.tethered else 0.0)
        for of in parts
    )
    tried: dict[tuple[Group, ...], tuple[float, Float[np.ndarray, " R"]]] = {}

    def size_of(some: tuple[Group, ...]) -> int:
        return sum((g.stop - g.start) * g.basis.size(n_runs, n_parameters) for g in some)

    def held_out(options: Sequence[tuple[Group, ...]]) -> dict[tuple[Group, ...], Float[np.ndarray, " R"]]:
        for option in options:
            if option not in tried:
                tried[option] = _crossed(halves, option)
        return {option: tried[option][1] for option in options}

    def best_of(options: Sequence[tuple[Group, ...]]) -> tuple[Group, ...]:
        return _simplest(held_out(options))

    for _ in range(_TURNS):
        before = groups
        for i, in_time in itertools.product(range(len(groups)), (True, False)):
            bases = known[i].besides(groups[i].basis, in_time=in_time)
            options = [(*groups[:i], groups[i]._replace(basis=basis), *groups[i + 1 :]) for basis in bases]
            options = [option for option in options if size_of(option) <= _MOST_UNKNOWNS]
            groups = best_of(options)
        if groups == before:
            break

    def with_each(i: int, made: Sequence[Group]) -> list[tuple[Group, ...]]:
        return [(*groups[:i], group, *groups[i + 1 :]) for group in made]

    def tethered(i: int) -> tuple[Group, ...]:
        # The best one, as none is simpler.
        held = held_out(with_each(i, [groups[i]._replace(tether=factor) for factor in _TETHERS]))
        return min(held, key=lambda option: float(np.sum(held[option])))

    many = [i for i, part in enumerate(parts) if part.tethered]
    # What is smooth is judged beside neighbourhoods of the right size.
    for i in many:
        groups = tethered(i)
    # The smoother, the simpler.
    for i in range(len(groups)):
        if changes(groups[i]):
            groups = best_of(with_each(i, [groups[i]._replace(unrest=factor) for factor in _UNRESTS]))
        if is_radial(groups[i]):
            groups = best_of(with_each(i, [groups[i]._replace(roughness=factor) for factor in _ROUGHNESSES]))
    for i in many:
        groups = tethered(i)
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

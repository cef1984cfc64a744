"""Potentials of particles, which are solved for: what configurations say, and the surrogate that comes of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin import ensembles
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._internal.threads import in_threads
from hoam_plugin._types import Key
from hoam_plugin.dynamics import Dynamics, Normalisation, conditions_of
from hoam_plugin.losses import Targets
from hoam_plugin.numerics.summation_by_parts import derivatives_by_parts, differences_of_pairs
from hoam_plugin.potentials import ParticleFunctions, ParticlePotential
from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training.choices import Choices
from hoam_plugin.training.coefficients import weights_of_steps
from hoam_plugin.training.particle_solutions import Problem, Solution, solved
from hoam_plugin.training.particle_statistics import Motion, sums_of
from hoam_plugin.training.particle_ways import Part, Tried, chosen

# Pairs of particles that are looked at in all runs, at most; and configurations of a time, at least.
_MOST_PAIRS, _LEAST_CONFIGURATIONS = 2.5e8, 16
# As how many a pair counts where there are functions of neighbourhoods, whose sums cost more.
_WITH_NEIGHBOURHOODS = 10
# Quantiles between which particles were: what few of them say of a force is no guide beyond.
_ENDS = (1e-3, 1 - 1e-3)
# Configurations whose sums are formed in single precision.
_SUMMED_AT_ONCE = 64
# Steps in time of the coefficients that are stored, per spline, and at least where anything depends on time.
_STEPS_PER_SPLINE, _LEAST_STEPS = 4, 32


def solve_particles(choices: Choices, *, key: Key, progress: bool) -> Surrogate:
    """The surrogate whose potential of particles is solved for.

    Args:
        choices: with a `ParticlePotential` that has its place.
        key: recorded; nothing is drawn at random.
        progress: whether a bar is shown.
    """
    potential = cast(ParticlePotential, choices.potential)
    begin = time.perf_counter()
    ds = choices.runs.ensemble
    nodes = np.flatnonzero(_used(choices))
    with progress_bar("fit", ds.sizes["run"] * len(nodes), show=progress) as advance:
        halves, ends = _halves(choices, nodes, lambda: advance(1))
    columns = potential.functions.groups
    singles, pairs, neighbourhoods = columns
    parts = [
        Part(singles, 0, potential.n_times),
        Part(pairs, potential.functions.radial.n, potential.n_pair_times),
        Part(neighbourhoods, 0, potential.n_pair_times, tethered=True),
    ]
    tried = chosen(halves, parts)
    both = halves[0]._replace(
        gram=(halves[0].gram + halves[1].gram) / 2, linear=(halves[0].linear + halves[1].linear) / 2
    )
    solution = solved(both, tried[-1].groups)
    n_times = max(group.basis.n_times for group in solution.groups)
    norm = choices.dynamics.normalisation
    varies = n_times > 1 or potential.functions.terms is not None or norm.clock is not None
    taus = np.linspace(0, 1, 1 + (max(_LEAST_STEPS, _STEPS_PER_SPLINE * n_times) if varies else 2))
    middles = (taus[1:] + taus[:-1]) / 2
    curves = list(solution.at(middles, both.places) * _pace(norm, middles)[None, :, None])
    if potential.functions.terms is not None:
        curves = [np.column_stack([of, _at(middles, both.taus, end)]) for of, end in zip(curves, ends, strict=True)]
    weights = weights_of_steps(ds, range(ds.sizes["run"]), norm, taus, curves)
    model = choices.surrogates(key)(weights, _history(tried, solution, columns, time.perf_counter() - begin))
    stepper, dt = choices.dynamics.stepper, model.options.dt
    # Particles collide within a step of theirs, not within a share of the horizon.
    return model.with_options(dt=dt if stepper is None else min(dt, float(stepper.dt)), integrator="heun")


def _used(choices: Choices) -> Float[np.ndarray, " T"]:
    """The weights of times; where means are differentiated, both ends take part."""
    used = choices.runs.node_weights.copy()
    if choices.runs.targets is None:
        used[[0, -1]] = np.maximum(used[[0, -1]], np.finfo(np.float64).tiny)
    return used


def _halves(
    choices: Choices, nodes: Int[np.ndarray, " n"], done: Callable[[], None]
) -> tuple[tuple[Problem, Problem], Float[np.ndarray, "R T ends"]]:
    """The problem of every second configuration, and that of the others; and where particles were."""
    runs, ds = choices.runs, choices.runs.ensemble
    potential, norm = cast(ParticlePotential, choices.potential), choices.dynamics.normalisation
    n = ds.sizes["sample"]
    if n < 2:
        raise ValueError(
            f"the ensemble has {n} configuration per run and time; ParticlePotential(...) needs at least 2, as one "
            "half of them judges the other"
        )
    each = potential.width * (1 if potential.neighbours is None else _WITH_NEIGHBOURHOODS)
    per_time = _MOST_PAIRS / (each * ds.sizes["run"] * len(nodes))
    wanted = int(min(n, max(per_time, _LEAST_CONFIGURATIONS)))
    rows = np.unique(np.linspace(0, n - 1, wanted).astype(int))

    made = np.dtype(norm.scale.dtype)

    def of_run(run: int) -> tuple[list[tuple[Means, Means]], list[np.ndarray]]:
        found, ends = [], []
        conditions = conditions_of(ds, norm, run)
        for i in nodes:
            # Shifted in double precision: far from 0, single precision leaves steps.
            z = norm.raw_samples(_rows(ds, run, int(i), rows), np.float64).astype(made)
            positions, motion = _motion(choices, _Slab(run, int(i), rows, z), conditions[int(i)])
            first, second = (_means(potential.functions, positions, motion, half) for half in (0, 1))
            found.append((first, second))
            ends.append(np.quantile(np.asarray(positions, np.float64), _ENDS, axis=(0, 1)).ravel())
            done()
        return found, ends

    of_runs = in_threads(of_run, range(ds.sizes["run"]))
    found = [of for of, _ in of_runs]
    taus = norm.tau_on_host(ds["time"].values.astype(np.float64))
    weights = runs.node_weights[nodes]
    columns = np.asarray([*ensembles.parameters(ds).values()], np.float64).reshape(-1, ds.sizes["run"])
    shift, scale = (np.asarray(v, np.float64)[:, None] for v in (norm.parameter_shift, norm.parameter_scale))
    places = ((columns - shift) / scale).T

    # What is constant in physical time is sought as such, whatever the clock of the population.
    pace = _pace(norm, taus[nodes])

    def problem(half: int) -> Problem:
        sums = [[both[half] for both in of] for of in found]
        gram = np.asarray([[s.gram for s in of] for of in sums]) * pace[None, :, None, None] ** 2
        linear = np.asarray([[s.known for s in of] for of in sums])
        if runs.targets is None:
            means = np.asarray([[s.means for s in of] for of in sums])
            differentiated = differences_of_pairs if runs.loss.compares_times else derivatives_by_parts
            indices, coefficients = differentiated(taus[nodes], weights)
            linear = linear + np.einsum("rtjk,tj->rtk", means[:, indices], coefficients)
        return Problem(gram, linear * pace[None, :, None], weights, taus[nodes], places)

    return (problem(0), problem(1)), np.asarray([ends for _, ends in of_runs])


def _pace(norm: Normalisation, taus: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    """Physical time per normalised time, relative to the mean."""
    times = norm.horizon[0] + norm.elapsed_on_host(taus)
    return np.broadcast_to(np.asarray(norm.time_unit_on_host(times)) / norm.duration, taus.shape)


def _at(
    taus: Float[np.ndarray, " S"], nodes: Float[np.ndarray, " T"], values: Float[np.ndarray, "T k"]
) -> Float[np.ndarray, "S k"]:
    """Interpolated in time."""
    return np.stack([np.interp(taus, nodes, column) for column in values.T], axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class _Slab:
    """Configurations of one run and time.

    Attributes:
        run: which.
        time: which.
        rows: which of the samples.
        z: normalised.
    """

    run: int
    time: int
    rows: np.ndarray
    z: Float[np.ndarray, "B D"]


def _rows(ds: xr.Dataset, run: int, i: int, rows: np.ndarray) -> Float[np.ndarray, "B D"]:
    return ensembles.samples(ds.isel(sample=rows), run, slice(i, i + 1))[0]


class Means(NamedTuple):
    """`Sums` over the number of configurations, in double precision."""

    gram: Float[np.ndarray, "k k"]
    means: Float[np.ndarray, " k"]
    known: Float[np.ndarray, " k"]


def _means(functions: ParticleFunctions, z: Float[Array, "B N d"], motion: Motion, half: int) -> Means:
    """Over every second configuration; a few at a time, which single precision can sum."""
    mine = z[half::2]
    total = [np.zeros(())] * 3
    for start in range(0, len(mine), _SUMMED_AT_ONCE):
        rows = slice(half + 2 * start, half + 2 * (start + _SUMMED_AT_ONCE), 2)
        part = Motion(*(None if of is None else of[rows] for of in motion))
        total = [a + np.asarray(b, np.float64) for a, b in zip(total, sums_of(functions, z[rows], part), strict=True)]
    return Means(*(of / len(mine) for of in total))


def _motion(choices: Choices, slab: _Slab, condition: Float[Array, " C"]) -> tuple[Float[Array, "B N d"], Motion]:
    """Positions, and what is known of their motion."""
    runs, dynamics, potential = choices.runs, choices.dynamics, cast(ParticlePotential, choices.potential)
    structure = dynamics.structure
    shape = (len(slab.z), potential.functions.n_particles, len(potential.functions.periods))
    positions = np.asarray([x for x, _ in structure.kinematics] or structure.driven)
    z = jnp.asarray(slab.z)
    at = z[:, positions].reshape(shape)
    if isinstance(runs.targets, Targets):
        times = slice(slab.time, slab.time + 1)
        told = runs.targets.of(slab.run, times, ensembles.samples(runs.ensemble, slab.run, times))[0, slab.rows]
        return at, Motion(targets=jnp.asarray(told.reshape(shape), z.dtype))
    drift, noise = _known(dynamics, z, condition.astype(z.dtype))
    if structure.kind == "kinetic":
        velocities = np.asarray(structure.driven)
        friction = drift[:, velocities].reshape(shape) if dynamics.has_driven_drift else None
        return at, Motion(
            velocities=z[:, velocities].reshape(shape), rates=drift[:, positions].reshape(shape), friction=friction
        )
    squares = noise[:, positions] ** 2 if structure.in_noise else jnp.full_like(z, runs.loss.noise**2)
    return at, Motion(diffusion=jnp.mean(squares.reshape(shape), axis=2) / 2)


@jax.jit
def _known(
    dynamics: Dynamics, z: Float[Array, "B D"], condition: Float[Array, " C"]
) -> tuple[Float[Array, "B D"], Float[Array, "B D"]]:
    drift, noise = dynamics.normalised(z, condition)
    return drift, jnp.broadcast_to(noise, z.shape)


def _history(tried: list[Tried], solution: Solution, groups: tuple[slice, slice, slice], seconds: float) -> xr.Dataset:
    n = len(tried)
    columns = {
        "loss": [one.training for one in tried],
        "validation": [one.held_out for one in tried],
        "seconds": np.full(n, seconds / n),
    }
    named = zip(("single particles", "pairs", "neighbourhoods"), groups, strict=True)
    names = {columns.start: name for name, columns in named if columns.stop > columns.start}
    ways = [f"{names[group.start]}: {group.basis}" for group in solution.groups]
    attributes = {
        "judged_on": "held-out configurations",
        "best_iteration": n,
        "converged": "converged",
        "verdict": "; ".join(ways),
        "an_iteration_is": "way in which coefficients depend on time and run",
    }
    dims = {name: ("iteration", np.asarray(values)) for name, values in columns.items()}
    return xr.Dataset(dims, {"iteration": np.arange(1, n + 1)}, attributes)

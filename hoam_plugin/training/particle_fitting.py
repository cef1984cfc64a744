"""Potentials of particles, which are solved for: what configurations say, and the surrogate that comes of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin import ensembles
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._internal.threads import in_threads
from hoam_plugin._types import Key
from hoam_plugin.dynamics import Dynamics, conditions_of
from hoam_plugin.losses import Targets
from hoam_plugin.numerics.summation_by_parts import derivatives_by_parts
from hoam_plugin.potentials import ParticlePotential
from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training.choices import Choices
from hoam_plugin.training.coefficients import weights_of_steps
from hoam_plugin.training.particle_solutions import Problem, Solution, Tried, chosen, solved
from hoam_plugin.training.particle_statistics import Motion, Sums, add_configurations

# Pairs of particles that are looked at in all runs, at most; and configurations of a time, at least.
_MOST_PAIRS, _LEAST_CONFIGURATIONS = 2e8, 16
# Steps per spline in time, of the coefficients that are stored.
_STEPS_PER_SPLINE = 4


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
        halves = _halves(choices, nodes, lambda: advance(1))
    columns = potential.groups
    tried = chosen(halves, [(columns[0], 0), (columns[1], potential.radial.n)], potential.n_times)
    both = halves[0]._replace(
        gram=(halves[0].gram + halves[1].gram) / 2, linear=(halves[0].linear + halves[1].linear) / 2
    )
    solution = solved(both, tried[-1].groups)
    n_times = max(group.basis.n_times for group in solution.groups)
    taus = np.linspace(0, 1, 1 + (_STEPS_PER_SPLINE * n_times if n_times > 1 else 2))
    curves = solution.at((taus[1:] + taus[:-1]) / 2, both.places)
    weights = weights_of_steps(ds, choices.dynamics.normalisation, taus, list(curves))
    return choices.surrogates(key)(weights, _history(tried, solution, time.perf_counter() - begin))


def _used(choices: Choices) -> Float[np.ndarray, " T"]:
    """The weights of times; where means are differentiated, both ends take part."""
    used = choices.runs.node_weights.copy()
    if choices.runs.targets is None:
        used[[0, -1]] = np.maximum(used[[0, -1]], np.finfo(np.float64).tiny)
    return used


def _halves(
    choices: Choices, nodes: Float[np.ndarray, " n"], done: Callable[[], None]
) -> tuple[Problem, Problem]:
    """The problem of every second configuration, and that of the others."""
    runs, ds = choices.runs, choices.runs.ensemble
    potential, norm = cast(ParticlePotential, choices.potential), choices.dynamics.normalisation
    n = ds.sizes["sample"]
    per_time = _MOST_PAIRS / (potential.width * ds.sizes["run"] * len(nodes))
    wanted = int(min(n, max(per_time, _LEAST_CONFIGURATIONS)))
    rows = np.unique(np.linspace(0, n - 1, wanted).astype(int))

    def of_run(run: int) -> list[tuple[Sums, Sums]]:
        found = []
        conditions = conditions_of(ds, norm, run)
        for i in nodes:
            z = norm.raw_samples(_rows(ds, run, int(i), rows), np.float64)
            parts = []
            for half in (slice(0, None, 2), slice(1, None, 2)):
                sums = Sums.none(potential.groups[1].stop)
                own = _Slab(run, int(i), rows[half], z[half])
                positions, motion = _motion(choices.dynamics, potential, own, conditions[int(i)], runs.targets, ds, runs.loss.noise)
                add_configurations(potential, sums, positions, motion)
                parts.append(sums)
            found.append((parts[0], parts[1]))
            done()
        return found

    found = in_threads(of_run, range(ds.sizes["run"]))
    taus = norm.tau_on_host(ds["time"].values.astype(np.float64))
    weights = runs.node_weights[nodes]
    columns = np.asarray([*ensembles.parameters(ds).values()], np.float64).reshape(-1, ds.sizes["run"])
    shift, scale = (np.asarray(v, np.float64)[:, None] for v in (norm.parameter_shift, norm.parameter_scale))
    places = ((columns - shift) / scale).T

    def problem(half: int) -> Problem:
        sums = [[both[half] for both in of] for of in found]
        gram = np.asarray([[s.gram / s.n for s in of] for of in sums])
        linear = np.asarray([[s.known / s.n for s in of] for of in sums])
        if runs.targets is None:
            means = np.asarray([[s.means / s.n for s in of] for of in sums])
            indices, coefficients = derivatives_by_parts(taus[nodes], weights)
            linear = linear + np.einsum("rtjk,tj->rtk", means[:, indices], coefficients)
        return Problem(gram, linear, weights, taus[nodes], places)

    return problem(0), problem(1)


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


def _motion(
    dynamics: Dynamics,
    potential: ParticlePotential,
    slab: _Slab,
    condition: Float[Array, " C"],
    targets: Targets | None,
    ds: xr.Dataset,
    epsilon: float,
) -> tuple[Float[np.ndarray, "B N d"], Motion]:
    """Positions, and what is known of their motion."""
    shape = (len(slab.z), potential.n_particles, len(potential.axis_periods))
    structure = dynamics.structure
    positions = np.asarray([x for x, _ in structure.kinematics] or structure.driven)
    z = slab.z[:, positions].reshape(shape)
    if targets is not None:
        times = slice(slab.time, slab.time + 1)
        told = targets.of(slab.run, times, ensembles.samples(ds, slab.run, times))[0, slab.rows]
        return z, Motion(targets=np.asarray(told, np.float64).reshape(shape))
    drift, noise = (np.asarray(of, np.float64) for of in _known(dynamics, jnp.asarray(slab.z, condition.dtype), condition))
    if structure.kind == "kinetic":
        velocities = np.asarray(structure.driven)
        friction = drift[:, velocities].reshape(shape) if dynamics.has_driven_drift else None
        return z, Motion(
            velocities=slab.z[:, velocities].reshape(shape), rates=drift[:, positions].reshape(shape), friction=friction
        )
    squares = noise[:, positions] ** 2 if structure.in_noise else np.full_like(z, epsilon**2)
    return z, Motion(diffusion=np.mean(squares.reshape(shape), axis=2) / 2)


@jax.jit
def _known(
    dynamics: Dynamics, z: Float[Array, "B D"], condition: Float[Array, " C"]
) -> tuple[Float[Array, "B D"], Float[Array, "B D"]]:
    drift, noise = dynamics.normalised(z, condition)
    return drift, jnp.broadcast_to(noise, z.shape)


def _history(tried: list[Tried], solution: Solution, seconds: float) -> xr.Dataset:
    n = len(tried)
    columns = {
        "loss": [one.training for one in tried],
        "validation": [one.held_out for one in tried],
        "seconds": np.full(n, seconds / n),
    }
    ways = [
        f"{'pairs' if group.radial else 'one body'}: {group.basis.n_times} splines in time, "
        f"{group.basis.between} for all runs"
        for group in solution.groups
    ]
    attributes = {
        "judged_on": "held-out configurations",
        "best_iteration": n,
        "converged": "converged",
        "verdict": "; ".join(ways),
        "an_iteration_is": "way in which coefficients depend on time and run",
    }
    dims = {name: ("iteration", np.asarray(values)) for name, values in columns.items()}
    return xr.Dataset(dims, {"iteration": np.arange(1, n + 1)}, attributes)

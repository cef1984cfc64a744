"""The particles of an ensemble of configurations, and where the functions of their distances lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin import ensembles
from hoam_plugin.dynamics import Normalisation, Structure, units_of_particles
from hoam_plugin.losses import AbstractLoss
from hoam_plugin.numerics.periodic import nearest_image_on_host
from hoam_plugin.potentials import (
    Neighbours,
    ParticleFunctions,
    ParticlePotential,
    RadialAxis,
    core_and_power,
    neighbour_moments,
    neighbourhood_of,
)
from hoam_plugin.steppers import SampleLayout, Stepper, abilities_of

# Pairs whose distances are looked at, and how many of them are closer than where functions begin.
_PAIRS, _CLOSEST = 2_000_000, 40
# At most one of so many pairs is closer.
_SHARE = 1000
# Particles pass through one another where the closest pairs are nearer than so many intervals of the splines.
_PASSING = 1.0


class OfParticles(NamedTuple):
    """What is learned of configurations, and in which units.

    Attributes:
        potential: with its place.
        normalisation: in which all particles have the same units.
        structure: of the dynamics.
    """

    potential: ParticlePotential
    normalisation: Normalisation
    structure: Structure

    def in_noise_of(self, stepper: Stepper | None, asked: AbstractLoss | None) -> OfParticles:
        """The same beside the noise of the stepper, where positions are driven and no other noise is asked for."""
        # An epsilon of its own says which noise is meant, none too.
        driven = self.structure.kind == "gradient" and getattr(asked, "epsilon", None) is None
        structure = dataclasses.replace(self.structure, in_noise=driven and abilities_of(stepper).noise is not None)
        return self._replace(structure=structure)


def of_particles(
    potential: ParticlePotential, ds: xr.Dataset, norm: Normalisation, structure: Structure, layout: SampleLayout
) -> OfParticles:
    """The potential with its particles and its splines where their distances are.

    Args:
        potential: of configurations.
        ds: the runs.
        norm: of the columns of their samples.
        structure: of the dynamics.
        layout: of the samples.

    Raises:
        ValueError: samples that are not configurations, species that are not those of the particles, or a cutoff beyond
            half of a period.
    """
    _require_configurations(potential, layout)
    units = units_of_particles(norm, layout)
    return OfParticles(_placed(potential, ds, units, structure, layout), units, structure)


def _require_configurations(potential: ParticlePotential, layout: SampleLayout) -> None:
    shapes = set(layout.shapes)
    if len(shapes) != 1 or len(layout.shapes[0]) != 2:
        shown = dict(zip(layout.names, layout.shapes, strict=True))
        raise ValueError(
            f"potential=ParticlePotential(...) takes configurations, variables of the shape (particles, axes), and the "
            f"samples have {shown!r}; make them with view='configuration', or use another potential"
        )
    n = layout.shapes[0][0]
    if potential.species is not None and len(potential.species) != n:
        raise ValueError(f"species of ParticlePotential(...) has {len(potential.species)} entries for {n} particles")


def _placed(
    potential: ParticlePotential, ds: xr.Dataset, norm: Normalisation, structure: Structure, layout: SampleLayout
) -> ParticlePotential:
    n, d = layout.shapes[0]
    positions = np.asarray([x for x, _ in structure.kinematics] or structure.driven)
    if len(positions) != n * d:
        raise ValueError(
            "potential=ParticlePotential(...) drives the positions of particles, or their velocities with "
            f"structure='kinetic', and the variables are {list(layout.names)!r}; select one, or use structure='kinetic'"
        )
    periods = tuple(norm.periods[column] for column in positions[:d])
    half = min((period / 2 for period in periods if period is not None), default=math.inf)
    scale = float(norm.scale[positions[0]])
    wanted = None if potential.cutoff is None else potential.cutoff / scale
    if wanted is not None and wanted > half * (1 + np.finfo(np.float32).eps):
        raise ValueError(
            f"cutoff={potential.cutoff!r} of ParticlePotential(...) is more than half of the period, {half * scale:g}, "
            "beyond which a pair would count with several images"
        )
    if n < 2:
        raise ValueError("potential=ParticlePotential(...) is for two particles or more, and a configuration has one")
    configurations = list(_configurations(ds, norm, positions, (n, d)))
    distances = _distances(configurations, periods)
    cutoff = min(half if wanted is None else wanted, half)
    vanishing = math.isfinite(cutoff)
    if not vanishing:
        cutoff = float(distances[-1])
    start = float(distances[min(_CLOSEST, len(distances) // _SHARE)])
    core, power = core_and_power(start, float(distances[0]))
    if core < _PASSING * cutoff / potential.n_radial or core >= cutoff:
        core = 0.0
    axis = RadialAxis(core, cutoff, potential.n_radial, vanishing, power)
    placed = dataclasses.replace(potential, n_particles=n, periods=periods, axis=axis)
    if potential.neighbours is None:
        return placed
    asked = Neighbours(*potential.neighbours)
    shells = neighbourhood_of(core, cutoff, asked.n_shells, asked.angular, asked.density_degree)
    of = dataclasses.replace(placed.functions, neighbourhood=shells)
    shells = shells._replace(ends=_densities(configurations, of, np.dtype(norm.scale.dtype)))
    return dataclasses.replace(placed, neighbours=asked._replace(placed=shells))


def _configurations(
    ds: xr.Dataset, norm: Normalisation, positions: np.ndarray, shape: tuple[int, int]
) -> Iterator[Float[np.ndarray, "_ N d"]]:
    """Some of all runs and times, from the middle of the normalisation."""
    n_runs, n_times, n_samples = (ds.sizes[dim] for dim in ("run", "time", "sample"))
    n_pairs = shape[0] * (shape[0] - 1) // 2
    per_time = int(np.clip(_PAIRS / (n_pairs * n_runs * n_times), 1, n_samples))
    step = max(1, n_samples // per_time)
    for run in range(n_runs):
        for _, slab in ensembles.slabs(ds, run, rows=slice(None, None, step)):
            yield norm.raw_samples(slab, np.float64)[..., positions].reshape(-1, *shape)


def _distances(
    configurations: Iterable[Float[np.ndarray, "_ N d"]], periods: tuple[float | None, ...]
) -> Float[np.ndarray, " P"]:
    """Of all pairs, in order."""
    found = []
    for z in configurations:
        one, other = np.triu_indices(z.shape[1], 1)
        apart = z[:, one] - z[:, other]
        for axis, period in enumerate(periods):
            if period is not None:
                apart[..., axis] = nearest_image_on_host(apart[..., axis], period)
        found.append(np.sqrt(np.sum(apart**2, axis=-1)).ravel())
    return np.sort(np.concatenate(found))


def _densities(
    configurations: Iterable[Float[np.ndarray, "_ N d"]], functions: ParticleFunctions, dtype: np.dtype
) -> tuple[tuple[float, float], ...]:
    """Of every shell the lowest and the highest density of neighbours."""
    shells = functions.neighbourhood
    assert shells is not None

    @jax.jit
    def ends(z: Float[Array, "B N d"]) -> Float[Array, "2 a"]:
        def of_one(z: Float[Array, "N d"]) -> Float[Array, "2 a"]:
            densities = neighbour_moments(shells, functions.distances(z)[0], ~np.eye(len(z), dtype=bool))[..., 0]
            return jnp.stack([densities.min(axis=0), densities.max(axis=0)])

        each = jax.lax.map(of_one, z)
        return jnp.stack([each[:, 0].min(axis=0), each[:, 1].max(axis=0)])

    found = np.asarray([ends(jnp.asarray(z, dtype)) for z in configurations], np.float64)
    low, high = found[:, 0].min(axis=0), found[:, 1].max(axis=0)
    return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))

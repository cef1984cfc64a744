"""Particle species of a plasma: their charge, mass, density and start, and which samples belong to which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import finite_float, positive_float, suggestion
from hoam_plugin._types import DTypeLike

from ..sampling import cosine_density_quantile
from . import distributions
from .distributions import Beam

MAXWELLIAN = (Beam(1.0, 0.0, 1.0),)


class Species(NamedTuple):
    """One kind of mobile particles, in plasma units (electrons: charge -1, mass 1, mean density 1).

    Attributes:
        name: what the species is called.
        charge: of a particle.
        mass: of a particle.
        density: mean number density.
        beams: distribution of the velocity along x: `Beam`s, a `Table`, or a callable density.
        amplitude: relative density perturbation; None stands for the stepper's in the first species, 0 in the others.
        transverse_beams: distribution of the velocity across x, where there is one; of the forms of `beams`.
        initial_density: any density in x instead of the cosine wave: a callable, or values on a grid that spans the
            box with both ends; or None.

    Example:
        >>> simulators.Species("ion", charge=1.0, mass=100.0).mass
        100.0
    """

    name: str
    charge: float = -1.0
    mass: float = 1.0
    density: float = 1.0
    beams: Any = MAXWELLIAN
    amplitude: float | None = None
    transverse_beams: Any = MAXWELLIAN
    initial_density: Any = None


def checked_species(
    species: Sequence[Species | Sequence[Any]], amplitude: float, length: float, bounds: tuple[float, float]
) -> tuple[Species, ...]:
    """Several species with everything normalised to numbers, tuples and tables.

    Args:
        species: `Species`, or their fields in order.
        amplitude: of the density perturbation of the first species, unless it has one of its own.
        length: of the box.
        bounds: range in which callable velocity densities are tabulated.

    Raises:
        TypeError: an entry that is no `Species`.
        ValueError: a name given twice, or a field out of its range.
    """
    checked: list[Species] = []
    for entry in species:
        if isinstance(entry, str) or not isinstance(entry, Sequence) or not isinstance(entry[0], str):
            raise TypeError(f"species holds {entry!r}; each must be a Species(name, charge, mass, density, beams, ...)")
        one = Species(*entry)
        if one.amplitude is None:
            one = one._replace(amplitude=0.0 if checked else amplitude)
        if one.name in [other.name for other in checked]:
            raise ValueError(f"species has the name {one.name!r} twice; give each its own")
        checked.append(_checked(one, length, bounds))
    return tuple(checked)


def _checked(one: Species, length: float, bounds: tuple[float, float]) -> Species:
    profile = one.initial_density
    of = f"of the species {one.name!r}"
    for field in ("mass", "density"):
        positive_float(field, getattr(one, field), of=of, wanted="a positive number")
    finite_float("charge", one.charge, of=of)
    return Species(
        name=one.name,
        charge=float(one.charge),
        mass=float(one.mass),
        density=float(one.density),
        beams=distributions.velocity_distribution(f"beams {of}", one.beams, bounds),
        amplitude=checked_amplitude(one.amplitude or 0.0),
        transverse_beams=distributions.velocity_distribution(f"transverse_beams {of}", one.transverse_beams, bounds),
        initial_density=None
        if profile is None
        else distributions.position_density(f"initial_density {of}", profile, length),
    )


def checked_amplitude(amplitude: float) -> float:
    """`amplitude` as a float.

    Raises:
        ValueError: the density would be negative somewhere.
    """
    if not abs(amplitude) < 1:
        raise ValueError(f"amplitude={amplitude!r} makes the density negative; it must lie in (-1, 1)")
    return float(amplitude)


def index_of_samples(n_samples: int, n_species: int) -> np.ndarray:
    """Number of the species of each sample: in turn, so that it follows from the sample's position alone.

    Any first or any contiguous samples of a population then hold all species in equal numbers, to within one.
    """
    return np.arange(n_samples) % n_species


def species_coordinate(species: tuple[Species, ...], n_samples: int) -> dict[str, xr.Variable]:
    """The coordinate `species` of an ensemble: a number per sample, explained by its attributes; {} for one."""
    if len(species) == 1:
        return {}
    attributes = {
        "long_name": "species",
        "flag_values": list(range(len(species))),
        "flag_meanings": " ".join(one.name.replace(" ", "_") for one in species),
    }
    return {"species": xr.Variable(("sample",), index_of_samples(n_samples, len(species)), attributes)}


def per_sample(values: Sequence[float], n_samples: int, dtype: DTypeLike) -> Float[Array, " sample"]:
    """One value per species, spread over the samples."""
    return jnp.asarray(values, dtype)[jnp.arange(n_samples, dtype=jnp.int32) % len(values)]


def amounts(
    species: tuple[Species, ...], values: Sequence[float], n_samples: int, dtype: DTypeLike
) -> float | Float[Array, " sample"]:
    """What samples stand for: amounts whose mean over the samples is the sum of density times value over species.

    Args:
        species: all species.
        values: of each species, such as its charges.
        n_samples: number of samples.
        dtype: of the amounts.

    Returns:
        one number where there is one species, else a number per sample.
    """
    if len(species) == 1:
        return values[0] * species[0].density
    return amounts_per_sample(species, values, n_samples, dtype)


def amounts_per_sample(
    species: tuple[Species, ...], values: Sequence[float], n_samples: int, dtype: DTypeLike
) -> Float[Array, " sample"]:
    """`amounts` of each sample, also of one species."""
    counts = np.bincount(index_of_samples(n_samples, len(species)))
    scaled = [value * one.density * n_samples / n for value, one, n in zip(values, species, counts, strict=True)]
    return per_sample(scaled, n_samples, dtype)


def samples_of(species: tuple[Species, ...], name: str, n_samples: int) -> Int[np.ndarray, " n"]:
    """Positions of the samples of one species in a population of `n_samples`.

    Raises:
        ValueError: an unknown name.
    """
    names = [one.name for one in species]
    if name not in names:
        raise ValueError(f"species has no {name!r}; {suggestion(name, names)}")
    return np.flatnonzero(index_of_samples(n_samples, len(names)) == names.index(name))


def draw_positions(u: Float[Array, " n"], one: Species, length: float, mode: int) -> Float[Array, " n"]:
    """Initial positions along x from uniform numbers."""
    if one.initial_density is None:
        return cosine_density_quantile(u, length, one.amplitude or 0.0, mode)
    return distributions.quantile(u, one.initial_density)


def relative_density(x: Float[Array, " n"], one: Species, length: float, mode: int) -> Float[Array, " n"]:
    """The initial density at given positions, relative to its mean."""
    if one.initial_density is None:
        return 1 + (one.amplitude or 0.0) * jnp.cos((2 * math.pi * mode / length) * x)
    return length * distributions.density(x, one.initial_density)

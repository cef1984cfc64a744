"""Ensembles of configurations of particles, shared by the tests of their scores and pictures."""

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.steppers import Variable

BOX = 4.0


def configurations(
    positions: np.ndarray, *, period: float | None = BOX, species: object = None, units: str = "1"
) -> xr.Dataset:
    """One run of positions (time, sample, particle, axis); `species` along the particles, if any."""
    times = np.linspace(0.0, 1.0, len(positions))
    variable = Variable("position", dims=("particle", "axis"), period=period, units=units)
    ds = ensembles.build(ensembles.frame(times, {"kT": [1.0]}), (variable,), {"position": positions[None]})
    return ds if species is None else ds.assign_coords(species=("particle", np.asarray(species)))


def independent(n: int = 12, d: int = 2, n_samples: int = 40, n_times: int = 3, seed: int = 0) -> np.ndarray:
    """Particles anywhere in the box."""
    return np.random.default_rng(seed).uniform(0, BOX, (n_times, n_samples, n, d))


def repelling(seed: int = 0, n_samples: int = 40, n_times: int = 3) -> np.ndarray:
    """Particles near the places of a square lattice of 3 x 3, anywhere as a whole."""
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid(*[np.arange(3) * BOX / 3] * 2, indexing="ij"), -1).reshape(-1, 2)
    shape = (n_times, n_samples, 9, 2)
    return lattice + 0.1 * rng.standard_normal(shape) + rng.uniform(0, BOX, (n_times, n_samples, 1, 2))

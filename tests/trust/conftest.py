"""A few runs of a small plasma, and a committee that hardly had the time to learn them."""

from typing import Any

import jax
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import simulators

TIMES = [0.0, 0.5, 1.0, 1.5, 2.0]
SMALL: dict[str, Any] = {
    "structure": "kinetic",
    "potential": hoam.VectorField(width=8, depth=2),
    "training": hoam.Training(iterations=20, n_samples=16, block=10),
    "progress": False,
}


@pytest.fixture(scope="session")
def runs() -> xr.Dataset:
    sim = simulators.two_stream(n_cells=32, dt=0.25, horizon=(0.0, 2.0))
    key = jax.random.key(0)
    return hoam.simulate(
        sim, {"mu": [1.2, 1.3, 1.4, 1.5, 1.6]}, TIMES, key=key, n_samples=64, rates=True, progress=False
    )


@pytest.fixture(scope="session")
def small() -> dict[str, Any]:
    return SMALL


@pytest.fixture(scope="session")
def committee(runs: xr.Dataset) -> hoam.Surrogate:
    return hoam.fit(runs, key=jax.random.key(1), members=3, **SMALL)


@pytest.fixture(scope="session")
def validation(runs: xr.Dataset) -> xr.Dataset:
    curves = ["electric_energy", "variance_v", "mode_1_x"]
    return hoam.cross_validate(runs, key=jax.random.key(2), curves=curves, effort=1.0, **SMALL)

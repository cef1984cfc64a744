"""Surrogates of a small plasma."""

from typing import Any

import jax
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam


@pytest.fixture(scope="module")
def plasma() -> xr.Dataset:
    return toy.small_plasma_ensemble()


@pytest.fixture(scope="module")
def model() -> hoam.Surrogate:
    return toy.plasma_surrogate()


@pytest.fixture(scope="module")
def noisy() -> hoam.Surrogate:
    return toy.plasma_surrogate(epsilon=0.1)


@pytest.fixture(scope="module")
def state(model: hoam.Surrogate) -> Any:
    return model.init(jax.random.key(2), 64, {"mu": 1.4})

"""Rollouts divided among host threads."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.dynamics import clock_through
from hoam_plugin.simulation import workers
from hoam_plugin.steppers import abilities_of
from hoam_plugin.surrogates import pieces, threads, with_learned

TIMES = np.asarray([0.0, 1.0, 2.5, 4.0])


@pytest.mark.long
@pytest.mark.parametrize("noise", [None, "stratified", "independent"])
def test_host_threads_share_a_step(
    noise: Any, model: hoam.Surrogate, noisy: hoam.Surrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three uneven parts in chunks of uneven size give what one piece gives."""
    chosen = model if noise is None else noisy.with_options(noise=noise)
    state = model.init(jax.random.key(2), 64, {"mu": 1.4})
    monkeypatch.setattr(pieces, "_ROWS", 10)
    monkeypatch.setattr(workers, "available_cores", lambda: 3)

    def run() -> xr.Dataset:
        key = jax.random.key(4)
        return hoam.simulate(chosen, {"mu": [1.4]}, TIMES, key=key, initial=state, n_samples=64, dt=0.4, progress=False)

    assert abilities_of(chosen).in_parts.number(64, 3) == 1
    whole = run()
    monkeypatch.setattr(threads, "_LEAST_WORK", 1)
    assert abilities_of(chosen).in_parts.number(64, 3) == 3
    divided = run()
    for name in ("x", "v", "electric_energy"):
        np.testing.assert_allclose(divided[name], whole[name], rtol=1e-4, atol=1e-4)
    assert not np.array_equal(divided["x"][:, -1], divided["x"][:, 0])


@pytest.mark.long
def test_host_threads_do_not_leave_the_trained_times(model: hoam.Surrogate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "available_cores", lambda: 3)
    monkeypatch.setattr(threads, "_LEAST_WORK", 1)
    early = dataclasses.replace(model.init(jax.random.key(2), 64, {"mu": 1.4}), time=jnp.asarray(-2.0))
    options: dict[str, Any] = {"key": jax.random.key(0), "initial": early, "n_samples": 64, "progress": False}
    with pytest.raises(ValueError, match="-2"):
        hoam.simulate(model, {"mu": [1.4]}, [1.0, 2.0], **options)
    ignored = hoam.simulate(model.with_options(on_extrapolation="ignore"), {"mu": [1.4]}, [1.0, 2.0], **options)
    assert np.isfinite(ignored["v"]).all()


@pytest.mark.long
@pytest.mark.parametrize("noise", ["stratified", "independent"])
def test_threads_take_the_steps_of_the_clock_of_the_population(
    noise: Any, noisy: hoam.Surrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = clock_through([0, 0.1, 0.3, 1], [0, 0.4, 0.8, 1])
    units = dataclasses.replace(noisy.learned.normalisation, clock=clock)
    chosen = with_learned(noisy, normalisation=units).with_options(noise=noise, dt=0.4)
    state = noisy.init(jax.random.key(2), 64, {"mu": 1.4})

    def run() -> xr.Dataset:
        key = jax.random.key(4)
        return hoam.simulate(chosen, {"mu": [1.4]}, TIMES, key=key, initial=state, n_samples=64, progress=False)

    whole = run()
    monkeypatch.setattr(workers, "available_cores", lambda: 3)
    monkeypatch.setattr(threads, "_LEAST_WORK", 1)
    divided = run()
    for name in ("x", "v"):
        np.testing.assert_allclose(divided[name], whole[name], rtol=1e-4, atol=1e-4)

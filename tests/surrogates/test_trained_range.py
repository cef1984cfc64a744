"""What is done outside the trained ranges."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin.surrogates import runs_at

TIMES = np.asarray([0.0, 1.0, 2.5, 4.0])


def test_concrete_extrapolation_raises_before_any_work(model: hoam.Surrogate, state: Any) -> None:
    outside_mu = r"parameter mu=2.5 is outside the trained range \[1.2, 1.8\]"
    with pytest.raises(ValueError, match=outside_mu):
        model.step(state, 0.1, {"mu": 2.5})
    with pytest.raises(ValueError, match=outside_mu):
        model.solve(state, TIMES, {"mu": 2.5})
    with pytest.raises(ValueError, match=outside_mu):
        hoam.simulate(model, {"mu": [1.3, 2.5]}, TIMES, key=jax.random.key(0), n_samples=8, progress=False)
    with pytest.raises(ValueError, match=r"time 5 is outside the trained horizon \[0, 4\]"):
        model.solve(state, [1.0, 5.0], {"mu": 1.4})
    with pytest.raises(ValueError, match=r"time 5 is outside the trained horizon"):
        hoam.simulate(model, {"mu": 1.3}, [0.0, 5.0], key=jax.random.key(0), n_samples=8, progress=False)


def test_traced_extrapolation_gives_nan(model: hoam.Surrogate, state: Any) -> None:
    final = jax.jit(lambda mu: model.solve(state, TIMES, {"mu": mu}, dt=1.0).v[-1])
    assert np.isnan(final(2.5)).all()
    assert np.isfinite(final(1.2)).all()
    assert np.isfinite(final(1.8)).all()


def test_warn_and_ignore(model: hoam.Surrogate, state: Any) -> None:
    with pytest.warns(UserWarning, match="mu=2.5 is outside"):
        warned = model.with_options(on_extrapolation="warn").step(state, 0.1, {"mu": 2.5})
    ignored = model.with_options(on_extrapolation="ignore").step(state, 0.1, {"mu": 2.5})
    np.testing.assert_array_equal(warned.v, ignored.v)
    assert np.isfinite(ignored.v).all()


@pytest.mark.long
def test_fallback_steps_with_the_simulator_outside_and_the_model_inside(model: hoam.Surrogate, state: Any) -> None:
    falling = model.with_options(on_extrapolation="fallback")
    simulator = toy.small_plasma()
    step = jax.jit(lambda mu: falling.step(state, 0.1, {"mu": mu}))
    for mu in (2.5, jnp.float32(0.9)):
        expected = simulator.step(simulator.refresh(state, {"mu": mu}), 0.1, {"mu": mu})
        np.testing.assert_allclose(step(mu).v, expected.v, atol=1e-6)
        np.testing.assert_allclose(falling.step(state, 0.1, {"mu": mu}).v, expected.v, atol=1e-6)
    np.testing.assert_allclose(step(1.4).v, model.step(state, 0.1, {"mu": 1.4}).v, atol=1e-6)
    beyond = hoam.simulate(falling, {"mu": 2.5}, [0.0, 1.0, 6.0], key=jax.random.key(0), n_samples=64, progress=False)
    truth = hoam.simulate(
        simulator, {"mu": 2.5}, [0.0, 1.0, 6.0], key=jax.random.key(0), n_samples=64, dt=falling.dt, progress=False
    )
    np.testing.assert_allclose(beyond["v"], truth["v"], atol=1e-3)


def test_fallback_steps_with_the_simulator_in_holes_among_the_runs(model: hoam.Surrogate, state: Any) -> None:
    runs = runs_at({"mu": np.asarray([1.2, 1.25, 1.3, 1.8])}, model.learned.normalisation)
    falling = dataclasses.replace(model, _runs=runs).with_options(on_extrapolation="fallback")
    simulator, hole = toy.small_plasma(), {"mu": 1.55}
    expected = simulator.step(simulator.refresh(state, hole), 0.1, hole)
    assert not np.allclose(model.step(state, 0.1, hole).v, expected.v, atol=1e-4)
    np.testing.assert_allclose(falling.step(state, 0.1, hole).v, expected.v, atol=1e-6)
    step = jax.jit(lambda mu: falling.step(state, 0.1, {"mu": mu}))
    np.testing.assert_allclose(step(1.55).v, expected.v, atol=1e-6)
    np.testing.assert_allclose(step(1.4).v, model.step(state, 0.1, {"mu": 1.4}).v, atol=1e-6)


@pytest.mark.usefixtures("as_installed")
def test_unknown_policy_and_missing_simulator(model: hoam.Surrogate) -> None:
    with pytest.raises(ValueError, match="on_extrapolation='retry' must be one of"):
        model.with_options(on_extrapolation="retry")  # type: ignore[arg-type]
    foreign = toy.gaussian_surrogate()
    with pytest.raises(ValueError, match="on_extrapolation='fallback' needs the simulator"):
        foreign.with_options(on_extrapolation="fallback")

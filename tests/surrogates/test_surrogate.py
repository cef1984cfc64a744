"""The surrogate as a Stepper: rollouts, gradients, noise, and the simulator whose place it takes."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.steppers import SampleLayout, Stepper
from hoam_plugin.surrogates import Provenance, provenance_of, trajectory, with_provenance

TIMES = np.asarray([0.0, 1.0, 2.5, 4.0])


def test_is_a_stepper_with_the_state_of_the_simulator(model: hoam.Surrogate, state: Any) -> None:
    assert isinstance(model, Stepper)
    simulator = toy.small_plasma()
    expected = simulator.init(jax.random.key(2), 64, {"mu": 1.4})
    assert type(state) is type(expected)
    np.testing.assert_array_equal(state.x, expected.x)
    moved = model.step(state, 0.1, {"mu": 1.4})
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(state), strict=True):
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
    np.testing.assert_array_equal(moved.aux.acceleration, state.aux.acceleration)
    back = simulator.step(model.refresh(moved, {"mu": 1.4}), 0.1, {"mu": 1.4})
    assert np.isfinite(back.x).all()


def test_velocity_is_the_gradient_of_one_potential(model: hoam.Surrogate) -> None:
    """In normalised units the Jacobian of the drift is symmetric."""
    scale, duration = model.learned.normalisation.scale, model.learned.normalisation.duration

    def drift(z: Any) -> Any:
        x = z * scale + model.learned.normalisation.shift
        return model.velocity(x, 1.3, {"mu": 1.4}) / scale * duration

    jacobian = jax.jacfwd(drift)(jnp.asarray([0.4, -0.8]))
    np.testing.assert_allclose(jacobian[0, 1], jacobian[1, 0], rtol=2e-3)
    assert jnp.abs(jacobian).max() > 1e-3


def test_velocity_keeps_the_shape_and_matches_rates(model: hoam.Surrogate, state: Any) -> None:
    x = SampleLayout.of(model.variables, state).flattened(state)
    velocity = model.velocity(x, state.time, {"mu": 1.4})
    rates = model.rates(state, {"mu": 1.4})
    np.testing.assert_allclose(velocity[:, 0], rates["x"])
    np.testing.assert_allclose(velocity[:, 1], rates["v"])
    grid = model.velocity(x.reshape(8, 8, 2), state.time, {"mu": 1.4})
    assert grid.shape == (8, 8, 2)
    assert model.velocity(x[0], state.time, {"mu": 1.4}).shape == (2,)


def test_step_moves_along_the_velocity(model: hoam.Surrogate, state: Any) -> None:
    dt = 1e-2
    moved = model.step(state, dt, {"mu": 1.4})
    middle = model.velocity(SampleLayout.of(model.variables, state).flattened(state), dt / 2, {"mu": 1.4})
    np.testing.assert_allclose(moved.v - state.v, dt * middle[:, 1], atol=2e-5)
    np.testing.assert_allclose(moved.time, dt)


@pytest.mark.long
def test_solve_equals_simulate(model: hoam.Surrogate, state: Any) -> None:
    solved = model.solve(state, TIMES, {"mu": 1.4}, dt=0.25)
    ensemble = hoam.simulate(
        model, {"mu": 1.4}, TIMES, key=jax.random.key(0), n_samples=64, initial=state, dt=0.25, progress=False
    )
    np.testing.assert_array_equal(solved.time, TIMES.astype(np.float32))
    np.testing.assert_allclose(solved.v, ensemble["v"].values[0], atol=1e-5)
    difference = np.abs(solved.x - ensemble["x"].values[0])
    assert np.minimum(difference, 50 - difference).max() < 1e-4
    np.testing.assert_array_equal(solved.x[0], state.x)


@pytest.mark.long
def test_diagnostics_ride_along(model: hoam.Surrogate) -> None:
    ds = hoam.simulate(model, {"mu": [1.3, 1.6]}, TIMES, key=jax.random.key(0), n_samples=256, progress=False)
    assert ds["electric_energy"].dims == ("run", "time")
    simulator = toy.small_plasma()
    samples = {"x": ds["x"].values[1, 2], "v": ds["v"].values[1, 2]}
    from hoam_plugin.steppers import state_from_samples

    parameters = {"mu": jnp.float32(1.6)}
    rebuilt = state_from_samples(simulator, samples, 2.5, parameters, jax.random.key(0))
    expected = simulator.diagnostics(rebuilt, parameters)["electric_energy"]
    np.testing.assert_allclose(ds["electric_energy"].values[1, 2], expected, rtol=1e-4)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_gradients_through_solve_equal_central_differences() -> None:
    model = toy.small_surrogate(toy.small_plasma_ensemble(n_samples=128))
    assert model.learned.weights["layers"][0]["W"].dtype == jnp.float64
    state = model.init(jax.random.key(2), 16, {"mu": 1.4})
    times = jnp.asarray(TIMES)

    def qoi(mu: Any, x: Any, v: Any) -> Any:
        start = dataclasses.replace(state, x=x, v=v)
        solved = model.solve(start, times, {"mu": mu}, dt=0.5)
        return jnp.mean(solved.v**2 * jnp.asarray([0.0, 1.0, 2.0, 3.0])[:, None]) + jnp.mean(jnp.cos(solved.x[-1]))

    compiled = jax.jit(qoi)
    by_mu, by_x, by_v = jax.jit(jax.grad(qoi, argnums=(0, 1, 2)))(1.4, state.x, state.v)
    h = 1e-5
    difference = (compiled(1.4 + h, state.x, state.v) - compiled(1.4 - h, state.x, state.v)) / (2 * h)
    np.testing.assert_allclose(by_mu, difference, rtol=1e-6)
    for i in (0, 7):
        bump = h * jnp.eye(16)[i]
        difference = (compiled(1.4, state.x + bump, state.v) - compiled(1.4, state.x - bump, state.v)) / (2 * h)
        np.testing.assert_allclose(by_x[i], difference, rtol=1e-6, atol=1e-11)
        difference = (compiled(1.4, state.x, state.v + bump) - compiled(1.4, state.x, state.v - bump)) / (2 * h)
        np.testing.assert_allclose(by_v[i], difference, rtol=1e-6, atol=1e-11)


@pytest.mark.long
def test_solve_under_jit_vmap_and_scan(model: hoam.Surrogate, state: Any) -> None:
    def final(mu: Any) -> Any:
        return model.solve(state, TIMES, {"mu": mu}, dt=0.5).v[-1]

    mus = jnp.asarray([1.3, 1.5, 1.7])
    one_by_one = jnp.stack([final(mu) for mu in mus])
    np.testing.assert_allclose(jax.vmap(final)(mus), one_by_one, atol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.vmap(final))(mus), one_by_one, atol=1e-5)
    _, scanned = jax.lax.scan(lambda carry, mu: (carry, final(mu)), 0, mus)
    np.testing.assert_allclose(scanned, one_by_one, atol=1e-5)
    traced_times = jax.jit(lambda times: model.solve(state, times, {"mu": 1.3}, dt=0.5).v[-1])(jnp.asarray(TIMES))
    np.testing.assert_allclose(traced_times, one_by_one[0], atol=1e-5)
    _, stepped = jax.lax.scan(lambda s, _: (model.step(s, 0.5, {"mu": 1.3}), None), state, length=8)[::-1]
    np.testing.assert_allclose(stepped.v, one_by_one[0], atol=1e-4)


def test_surrogate_passes_through_jit_as_an_argument(model: hoam.Surrogate, state: Any) -> None:
    stepped = jax.jit(lambda stepper, s: stepper.step(s, 0.1, {"mu": 1.4}))(model, state)
    np.testing.assert_allclose(stepped.v, model.step(state, 0.1, {"mu": 1.4}).v, atol=1e-6)


def test_new_parameters_do_not_recompile(model: hoam.Surrogate, state: Any) -> None:
    model.solve(state, TIMES, {"mu": 1.3}, dt=0.5)
    before = trajectory.solved._cache_size()
    model.solve(state, TIMES, {"mu": 1.61}, dt=0.5)
    model.solve(state, TIMES, {"mu": 1.77}, dt=0.5)
    assert trajectory.solved._cache_size() == before


def test_the_account_of_a_training_stays_out_of_compiled_code(
    model: hoam.Surrogate, state: Any, tmp_path: Path
) -> None:
    model.solve(state, TIMES, {"mu": 1.3}, dt=0.5)
    before = trajectory.solved._cache_size()
    other = with_provenance(model, Provenance('{"seed": [0, 7]}'))
    assert jax.tree.structure(other) == jax.tree.structure(model)
    other.solve(state, TIMES, {"mu": 1.3}, dt=0.5)
    assert trajectory.solved._cache_size() == before
    # What comes out of it says that nothing is known; its stepper is found all the same.
    for passed in (jax.tree.map(lambda leaf: leaf, model), jax.jit(lambda passing: passing)(model)):
        assert passed.history is None
        assert "trained             unknown" in repr(passed)
        loaded = hoam.load(passed.save(tmp_path / "m.hoam", overwrite=True))
        assert loaded.history is None
        assert provenance_of(loaded).configuration == "{}"
        assert loaded.learned.replaces == toy.small_plasma()


def test_noise_needs_a_key_and_is_reproducible(noisy: hoam.Surrogate, state: Any) -> None:
    with pytest.raises(ValueError, match="key=None"):
        noisy.step(state, 0.1, {"mu": 1.4})
    with pytest.raises(ValueError, match="key=None"):
        noisy.solve(state, TIMES, {"mu": 1.4})
    a, b, c = (noisy.solve(state, TIMES, {"mu": 1.4}, key=jax.random.key(k)).v for k in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


@pytest.mark.long
def test_noise_has_the_amplitude_that_epsilon_says(noisy: hoam.Surrogate) -> None:
    state = noisy.init(jax.random.key(0), 20_000, {"mu": 1.4})
    dt = 1e-3
    moved = noisy.step(state, dt, {"mu": 1.4}, key=jax.random.key(5))
    drift = noisy.velocity(SampleLayout.of(noisy.variables, state).flattened(state), 0.0, {"mu": 1.4})[:, 1] * dt
    expected = float(noisy.learned.normalisation.scale[1]) * 0.1 * (dt / 4.0) ** 0.5
    np.testing.assert_allclose(np.std(moved.v - state.v - drift), expected, rtol=0.03)


@pytest.mark.long
def test_integrators(model: hoam.Surrogate, noisy: hoam.Surrogate, state: Any, tmp_path: Path) -> None:
    def end(integrator: Any, dt: float) -> Any:
        return model.with_options(integrator=integrator).solve(state, TIMES, {"mu": 1.3}, dt=dt).v[-1]

    exact = end("rk4", 0.05)
    np.testing.assert_array_equal(end("rk4", 0.5), model.solve(state, TIMES, {"mu": 1.3}, dt=0.5).v[-1])
    errors = [float(jnp.abs(end(name, 0.5) - exact).max()) for name in ("euler", "heun", "rk4")]
    assert errors[2] < errors[1] < errors[0]
    with pytest.raises(ValueError, match=r"integrator='rk4' must be one of 'euler', 'heun' for epsilon=0\.1"):
        noisy.with_options(integrator="rk4")
    with pytest.raises(Exception, match="integrator"):
        model.with_options(integrator="leapfrog")  # type: ignore[arg-type]
    noisy.with_options(integrator="euler").save(tmp_path / "m.hoam")
    assert hoam.load(tmp_path / "m.hoam").options.integrator == "euler"


def test_foreign_ensemble_has_no_init_but_runs_from_its_own_samples() -> None:
    ds, model = toy.moving_gaussian(), toy.gaussian_surrogate()
    with pytest.raises(ValueError, match=r"replaces=.*initial="):
        model.init(jax.random.key(0), 10, {"mu": 2.0})
    with pytest.raises(ValueError, match=r"replaces=.*initial="):
        hoam.simulate(model, {"mu": 2.0}, [0.0, 1.0], key=jax.random.key(0), n_samples=10, progress=False)
    out = hoam.simulate(
        model, {"mu": [1.0, 2.0, 3.0]}, [0.0, 1.0], key=jax.random.key(0), n_samples=100, initial=ds, progress=False
    )
    assert dict(out.sizes) == {"run": 3, "time": 2, "sample": 100}


@pytest.mark.long
def test_surrogate_of_fewer_variables_has_its_own_state(plasma: xr.Dataset) -> None:
    model = toy.small_surrogate(plasma[["v", "quadrature_weight"]])
    state = model.init(jax.random.key(2), 32, {"mu": 1.4})
    assert [f.name for f in dataclasses.fields(state)] == ["time", "v", "aux", "remainder"]
    np.testing.assert_array_equal(state.v, toy.small_plasma().init(jax.random.key(2), 32, {"mu": 1.4}).v)
    out = hoam.simulate(model, {"mu": 1.4}, [0.0, 1.0], key=jax.random.key(0), n_samples=32, progress=False)
    assert list(out.data_vars) == ["v"]


def test_initial_ensemble_with_other_variables_is_refused(model: hoam.Surrogate, plasma: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"initial has the variables \['v'\] but the stepper has \['x', 'v'\]"):
        hoam.simulate(
            model, {"mu": 1.4}, TIMES, key=jax.random.key(0), n_samples=8, initial=plasma[["v"]], progress=False
        )


def test_solve_refuses_unordered_and_earlier_times(model: hoam.Surrogate, state: Any) -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        model.solve(state, [1.0, 0.5], {"mu": 1.4})
    later = dataclasses.replace(state, time=jnp.float32(2.0))
    with pytest.raises(ValueError, match=r"times start at 1, before state.time=2"):
        model.solve(later, [1.0, 3.0], {"mu": 1.4})
    with pytest.raises(ValueError, match=r"dt=-0\.1"):
        model.solve(state, TIMES, {"mu": 1.4}, dt=-0.1)

"""The surrogate as a Stepper: rollouts, gradients, files, ranges, and the simulator whose place it takes."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.simulation import run as simulation_run
from hoam_plugin.steppers import SampleLayout, Stepper, abilities_of
from hoam_plugin.surrogates import provenance_of, threads, trajectory

TIMES = np.asarray([0.0, 1.0, 2.5, 4.0])


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


def test_noise_needs_a_key_and_is_reproducible(noisy: hoam.Surrogate, state: Any) -> None:
    with pytest.raises(ValueError, match="key=None"):
        noisy.step(state, 0.1, {"mu": 1.4})
    with pytest.raises(ValueError, match="key=None"):
        noisy.solve(state, TIMES, {"mu": 1.4})
    a, b, c = (noisy.solve(state, TIMES, {"mu": 1.4}, key=jax.random.key(k)).v for k in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_noise_has_the_amplitude_that_epsilon_says(noisy: hoam.Surrogate) -> None:
    state = noisy.init(jax.random.key(0), 20_000, {"mu": 1.4})
    dt = 1e-3
    moved = noisy.step(state, dt, {"mu": 1.4}, key=jax.random.key(5))
    drift = noisy.velocity(SampleLayout.of(noisy.variables, state).flattened(state), 0.0, {"mu": 1.4})[:, 1] * dt
    expected = float(noisy.learned.normalisation.scale[1]) * 0.1 * (dt / 4.0) ** 0.5
    np.testing.assert_allclose(np.std(moved.v - state.v - drift), expected, rtol=0.03)


@pytest.mark.parametrize("noise", [None, "stratified", "independent"])
def test_host_threads_share_a_step(
    noise: Any, model: hoam.Surrogate, noisy: hoam.Surrogate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three uneven parts in chunks of uneven size give what one piece gives."""
    chosen = model if noise is None else noisy.with_options(noise=noise)
    state = model.init(jax.random.key(2), 64, {"mu": 1.4})
    monkeypatch.setattr(threads, "_ROWS", 10)
    monkeypatch.setattr(simulation_run, "available_cores", lambda: 3)

    def run() -> xr.Dataset:
        key = jax.random.key(4)
        return hoam.simulate(chosen, {"mu": [1.4]}, TIMES, key=key, initial=state, n_samples=64, dt=0.4, progress=False)

    assert abilities_of(chosen).parts(64, 3) == 1
    whole = run()
    monkeypatch.setattr(threads, "_LEAST_WORK", 1)
    assert abilities_of(chosen).parts(64, 3) == 3
    divided = run()
    for name in ("x", "v", "electric_energy"):
        np.testing.assert_allclose(divided[name], whole[name], rtol=1e-4, atol=1e-4)
    assert not np.array_equal(divided["x"][:, -1], divided["x"][:, 0])


def test_host_threads_do_not_leave_the_trained_times(model: hoam.Surrogate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation_run, "available_cores", lambda: 3)
    monkeypatch.setattr(threads, "_LEAST_WORK", 1)
    early = dataclasses.replace(model.init(jax.random.key(2), 64, {"mu": 1.4}), time=jnp.asarray(-2.0))
    options: dict[str, Any] = {"key": jax.random.key(0), "initial": early, "n_samples": 64, "progress": False}
    with pytest.raises(ValueError, match="-2"):
        hoam.simulate(model, {"mu": [1.4]}, [1.0, 2.0], **options)
    ignored = hoam.simulate(model.with_options(on_extrapolation="ignore"), {"mu": [1.4]}, [1.0, 2.0], **options)
    assert np.isfinite(ignored["v"]).all()


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


def test_saved_and_loaded_in_a_new_process_gives_the_same_bits(
    noisy: hoam.Surrogate, tmp_path: Path, plasma: xr.Dataset
) -> None:
    noisy.save(tmp_path / "m.hoam")
    hoam.ensemble.save(plasma, tmp_path / "initial.zarr")
    program = """
import sys, jax, numpy as np, hoam_plugin as hoam
folder = sys.argv[1]
initial = hoam.ensemble.load(folder + "/initial.zarr")
model = hoam.load(folder + "/m.hoam")
row, times = {"mu": [1.2, 1.5, 1.8]}, [0.0, 1.0, 4.0]
ds = hoam.simulate(model, row, times, key=jax.random.key(3), n_samples=512, initial=initial, progress=False)
hoam.ensemble.save(ds, folder + f"/{sys.argv[2]}.zarr")
assert model.history.sizes["iteration"] == 40
"""
    for name in ("first", "second"):
        subprocess.run([sys.executable, "-c", program, str(tmp_path), name], check=True)
    here = hoam.simulate(
        noisy,
        {"mu": [1.2, 1.5, 1.8]},
        [0.0, 1.0, 4.0],
        key=jax.random.key(3),
        n_samples=512,
        initial=plasma,
        progress=False,
    )
    first, second = (hoam.ensemble.load(tmp_path / f"{name}.zarr") for name in ("first", "second"))
    for name in ("x", "v", "electric_energy"):
        np.testing.assert_array_equal(first[name], second[name])
        np.testing.assert_array_equal(first[name], here[name])


def test_loaded_surrogate_is_complete(model: hoam.Surrogate, tmp_path: Path) -> None:
    loaded = hoam.load(model.save(tmp_path / "m.hoam"))
    assert loaded.learned.replaces == model.learned.replaces == toy.small_plasma()
    for field in ("trained", "options", "variables", "dt", "horizon", "ranges"):
        assert getattr(loaded, field) == getattr(model, field)
    for field in ("layout", "epsilon", "potential", "structure", "known_noise", "known_drift", "stepper_attribute"):
        assert getattr(loaded.learned, field) == getattr(model.learned, field)
    assert provenance_of(loaded).configuration == provenance_of(model).configuration
    xr.testing.assert_identical(loaded.history, model.history)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(tmp_path / "m.hoam")
    model.save(tmp_path / "m.hoam", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m.hoam"]


def test_damaged_and_foreign_files_are_refused(model: hoam.Surrogate, tmp_path: Path) -> None:
    path = model.save(tmp_path / "m.hoam")
    content = path.read_bytes()
    for name, wrong in {
        "truncated": content[: len(content) // 2],
        "text": b"not a model",
        "empty": b"",
        "flipped": content[:600] + bytes([content[600] ^ 0xFF]) + content[601:],
    }.items():
        bad = tmp_path / f"{name}.hoam"
        bad.write_bytes(wrong)
        with pytest.raises(ValueError, match=f"{name}.hoam' is not a surrogate file, or is truncated") as caught:
            hoam.load(bad)
        assert "\n" not in str(caught.value)
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="is not a surrogate file"):
        hoam.load(tmp_path / "foreign.npz")
    with pytest.raises(FileNotFoundError, match="no such surrogate file"):
        hoam.load(tmp_path / "missing.hoam")


# Outside the trained ranges.


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


@pytest.mark.usefixtures("as_installed")
def test_unknown_policy_and_missing_simulator(model: hoam.Surrogate) -> None:
    with pytest.raises(ValueError, match="on_extrapolation='retry' must be one of"):
        model.with_options(on_extrapolation="retry")  # type: ignore[arg-type]
    foreign = toy.gaussian_surrogate()
    with pytest.raises(ValueError, match="on_extrapolation='fallback' needs the simulator"):
        foreign.with_options(on_extrapolation="fallback")


# Foreign ensembles and fewer variables.


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


@pytest.mark.parametrize(
    "potential",
    [
        pytest.param(hoam.FiLM(width=8, depth=2, hyper_width=5), marks=pytest.mark.slow),
        hoam.MLP(width=8, depth=2),
    ],
)
def test_other_potentials_are_trained_and_kept(potential: Any, tmp_path: Path) -> None:
    training = hoam.Training(iterations=200, n_samples=64, block=100, learning_rate=2e-2, warmup=10)
    ds = toy.moving_gaussian()
    model = hoam.fit(ds, key=jax.random.key(0), potential=potential, training=training, progress=False)
    # The optimum is -q; zero is no motion at all.
    assert float(model.history["loss"][-50:].mean()) < -0.3
    loaded = hoam.load(model.save(tmp_path / "m.hoam"))
    assert loaded.learned.potential == potential
    x = jnp.linspace(-1.0, 1.0, 4)[:, None]
    np.testing.assert_array_equal(loaded.velocity(x, 1.0, {"mu": 1.5}), model.velocity(x, 1.0, {"mu": 1.5}))

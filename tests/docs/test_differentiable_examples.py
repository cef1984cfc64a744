"""The examples of differentiable use, at small size, with their answers checked against the truth."""

import dataclasses
import functools
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from repository import ROOT

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.simulation.observables import diagnostic_over_time

KEY = jax.random.key(0)
N = 1_000
TIMES = np.linspace(0.0, 4.0, 9)


def plasma() -> simulators.VlasovPoissonPIC:
    return simulators.two_stream(n_cells=64, dt=0.1, horizon=(0.0, 4.0))


@pytest.fixture(autouse=True)
def small_problem(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The name of the examples gives a coarse simulator over a short time."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    hoam.register("two_stream", plasma())
    yield
    hoam.registry.unregister("two_stream")


@pytest.fixture
def infer_mu(small_problem: Any) -> ModuleType:
    import infer_mu

    return infer_mu


@functools.cache
def learned() -> hoam.Surrogate:
    """The force of the small plasma."""
    truth = hoam.simulate(
        plasma(),
        {"mu": np.linspace(1.2, 1.9, 8)},
        hoam.quadrature.gauss_legendre(24),
        key=KEY,
        n_samples=N,
        rates=True,
        progress=False,
    )
    potential = hoam.VectorField(width=16, depth=3, harmonics=2)
    training = dataclasses.replace(hoam.recipes.velocity_training(400), n_times=24)
    return hoam.fit(truth, key=KEY, structure="kinetic", potential=potential, training=training, progress=False)


@pytest.mark.long
def test_mu_is_recovered_through_the_surrogate_and_through_the_simulator(infer_mu: ModuleType) -> None:
    data = infer_mu.observed(1.37, TIMES, key=jax.random.key(1), n_samples=4 * N, noise=0.01)
    # A small training leaves a few per cent; `benchmarks/results/inference.md` has the full size.
    for stepper, dt, tolerance in ((learned(), 0.25, 0.05), (plasma(), None, 0.02)):
        with jax.numpy_dtype_promotion("standard"):  # for optax
            found = infer_mu.infer(stepper, data, TIMES, key=jax.random.key(2), n_samples=4 * N, dt=dt, iterations=40)
        assert found.path.shape == (41, 1)
        assert found.path[0, 0] == pytest.approx(1.8)
        assert found.loss[-1] < 0.1 * found.loss[0]
        assert found.path[-1, 0] == pytest.approx(1.37, rel=tolerance)


@pytest.mark.long
def test_sensitivities_agree_in_both_modes_and_with_the_simulator(infer_mu: ModuleType) -> None:
    import sensitivity

    start = infer_mu.population(jax.random.key(2), N)
    forward = sensitivity.jacobian(learned(), 1.5, start, TIMES, dt=0.1)
    reverse = sensitivity.jacobian(learned(), 1.5, start, TIMES, mode="reverse", dt=0.1)
    np.testing.assert_allclose(reverse, forward, rtol=1e-2, atol=1e-2)
    truth = sensitivity.finite_differences(plasma(), 1.5, start, TIMES, dt=0.1)
    assert sensitivity.error(sensitivity.jacobian(plasma(), 1.5, start, TIMES, dt=0.1), truth) < 0.1
    assert sensitivity.error(forward, truth) < 0.4
    assert np.abs(truth[1:]).max() > 1


@pytest.mark.long
def test_the_start_is_a_differentiable_function_of_its_parameters(infer_mu: ModuleType) -> None:
    import calibrate_start

    points = simulators.sampling.quiet_points(KEY, 4_000)

    def moments(theta: Any) -> Any:
        state = calibrate_start.start(plasma(), theta, points)
        wave = jnp.mean(jnp.cos(2 * jnp.pi / 50 * state.x))
        return jnp.stack([wave, jnp.mean(state.v**2)])

    theta = jnp.asarray([0.06, 1.1])
    # The amplitude of the wave is half of the perturbation; the beams stand at +-3.
    np.testing.assert_allclose(moments(theta), [0.03, 9 + 1.1**2], rtol=2e-2)
    np.testing.assert_allclose(jax.jacfwd(moments)(theta), [[0.5, 0.0], [0.0, 2.2]], atol=2e-2)


@pytest.fixture(scope="module")
def runs() -> xr.Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        import calibrate_start

        patch.setattr(calibrate_start, "END", 4.0)
        hoam.register("two_stream", plasma())
        try:
            return calibrate_start.training_runs(key=KEY, n_samples=N, n_nodes=16, n_side=3)
        finally:
            hoam.registry.unregister("two_stream")


@pytest.mark.long
def test_the_start_is_calibrated(infer_mu: ModuleType, runs: xr.Dataset) -> None:
    import calibrate_start

    assert hoam.ensemble.parameter_names(runs) == ["mu", "amplitude", "width"]
    potential = hoam.VectorField(width=16, depth=3, harmonics=2)
    training = dataclasses.replace(hoam.recipes.velocity_training(400), n_times=16)
    model = hoam.fit(runs, key=KEY, structure="kinetic", potential=potential, training=training, progress=False)
    truth = (0.04, 1.1)
    data = calibrate_start.observed(truth, TIMES, key=jax.random.key(1), n_samples=N, noise=0.01)
    with jax.numpy_dtype_promotion("standard"):  # for optax
        found = calibrate_start.calibrate(model, data, TIMES, key=jax.random.key(2), n_samples=N, iterations=60)
    np.testing.assert_allclose(found.path[-1], truth, rtol=0.1)
    assert found.loss[-1] < 0.1 * found.loss[0]


def test_diagnostics_of_a_simulator_are_those_of_its_ensemble() -> None:
    sim, times = plasma(), [0.0, 0.3, 1.0]
    state = sim.init(KEY, N, {"mu": jnp.asarray(1.4)})
    ds = hoam.simulate(sim, {"mu": 1.4}, times, key=KEY, n_samples=N, initial=state, dt=0.05, progress=False)
    energy = jax.jit(lambda mu: diagnostic_over_time(sim, state, times, {"mu": mu}, dt=0.05))(1.4)
    np.testing.assert_allclose(energy, ds["electric_energy"][0], rtol=1e-3)
    later = diagnostic_over_time(sim, state, times[1:], {"mu": jnp.asarray(1.4)}, "electric_field", dt=0.05)
    np.testing.assert_allclose(later, ds["electric_field"][0, 1:], atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "heat"}, r"name='heat' is not a diagnostic of VlasovPoissonPIC, which has \['electric_energy'"),
        ({"times": [1.0, 0.5]}, "times must be strictly increasing"),
        ({"dt": 0.0}, "dt=0.0 must be a finite number above 0"),
    ],
)
def test_wrong_arguments_of_diagnostics(changes: dict[str, Any], message: str) -> None:
    state = plasma().init(KEY, 8, {"mu": jnp.asarray(1.4)})
    arguments = {"times": [0.0, 1.0], **changes}
    with pytest.raises(ValueError, match=message):
        diagnostic_over_time(plasma(), state, parameters={"mu": 1.4}, **arguments)

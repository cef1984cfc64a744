"""Several surrogates of one name: the one whose trained range covers the request moves the samples."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import registry
from hoam_plugin.cli.app import main as command
from hoam_plugin.registry.selection import SurrogateSelection
from hoam_plugin.steppers import Stepper
from hoam_plugin.surrogates import provenance_of, runs_at, with_learned, with_provenance

NAME = "my_plasma"
KEY = jax.random.key(5)
N = 64


def trained_on(low: float, high: float, factor: float = 1.0, **changes: Any) -> hoam.Surrogate:
    """The toy surrogate as if trained on [low, high], its weights multiplied so that it can be told from others.

    One evaluation per step, so that what is compiled here is small.
    """
    model = toy.plasma_surrogate().with_options(integrator="euler")
    weights = jax.tree.map(lambda leaf: factor * leaf, model.learned.weights)
    model = with_learned(model, weights=weights, **changes)
    return dataclasses.replace(model, trained=dataclasses.replace(model.trained, ranges=(("mu", low, high),)))


@pytest.fixture(scope="module")
def low() -> hoam.Surrogate:
    return trained_on(1.2, 1.5)


@pytest.fixture(scope="module")
def high() -> hoam.Surrogate:
    return trained_on(1.5, 1.8, 1.1)


@pytest.fixture
def both(low: hoam.Surrogate, high: hoam.Surrogate) -> Any:
    hoam.register(NAME, toy.small_plasma())
    hoam.register(NAME, low)
    hoam.register(NAME, high)
    return hoam.stepper(NAME, surrogate=True)


def start() -> Any:
    return toy.small_plasma().init(KEY, N, {"mu": jnp.asarray(1.4)})


def test_a_step_is_taken_by_the_surrogate_that_covers_it(both: Any, low: Any, high: Any) -> None:
    assert isinstance(both, SurrogateSelection)
    assert isinstance(both, Stepper)
    state, at = start(), jax.jit(lambda stepper, state, mu: stepper.step(state, 0.1, {"mu": mu}))
    for mu, model in ((1.3, low), (1.5, high), (1.7, high)):
        expected = model.step(state, 0.1, {"mu": mu}).v
        np.testing.assert_array_equal(both.step(state, 0.1, {"mu": mu}).v, expected)
        np.testing.assert_allclose(at(both, state, jnp.asarray(mu)).v, expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(low.step(state, 0.1, {"mu": 1.5}).v, high.step(state, 0.1, {"mu": 1.5}).v, atol=1e-5)


def test_one_vmapped_step_uses_several_surrogates_and_has_gradients(both: Any, low: Any, high: Any) -> None:
    state, mu = start(), jnp.asarray([1.3, 1.7])
    moved = jax.vmap(lambda mu: both.step(state, 0.1, {"mu": mu}).v)(mu)
    for row, value, model in zip(moved, mu, (low, high), strict=True):
        np.testing.assert_allclose(row, model.step(state, 0.1, {"mu": value}).v, rtol=1e-5, atol=1e-6)
    slope = jax.grad(lambda mu: jnp.sum(both.step(state, 0.1, {"mu": mu}).v ** 2))(1.7)
    expected = jax.grad(lambda mu: jnp.sum(high.step(state, 0.1, {"mu": mu}).v ** 2))(1.7)
    assert slope == pytest.approx(float(expected), rel=1e-3)


def test_every_run_of_simulate_goes_to_its_surrogate_or_falls_back_to_the_simulator(both: Any) -> None:
    low, high = reversed(both.candidates)
    simulator, mu, options = toy.small_plasma(), [1.3, 1.7, 2.5], {"key": KEY, "n_samples": N, "progress": False}
    initial = hoam.simulate(simulator, {"mu": mu}, [0.0], **options)

    def run(stepper: Any) -> xr.Dataset:
        return hoam.simulate(stepper, {"mu": mu}, [0.0, 1.0], initial=initial, dt=0.1, **options)

    with pytest.raises(ValueError, match=r"none of the 2 surrogates of name='my_plasma' covers mu=2.5, times 0 to 1"):
        run(both)
    with hoam.use_surrogate(NAME, fallback=True):
        mixed = run(hoam.stepper(NAME))
    alone = [run(model.with_options(on_extrapolation="ignore")) for model in (low, high)] + [run(simulator)]
    for i, expected in enumerate(alone):
        for name in ("x", "v", "electric_energy"):
            np.testing.assert_allclose(mixed[name].isel(run=i), expected[name].isel(run=i), rtol=1e-3, atol=1e-3)
        assert not np.allclose(mixed["v"].isel(run=i), alone[i - 1]["v"].isel(run=i), atol=1e-3)


def test_a_hole_among_the_runs_is_left_to_another_surrogate_and_to_the_simulator() -> None:
    model = trained_on(1.2, 1.75, 1.1)
    runs = runs_at({"mu": np.asarray([1.2, 1.25, 1.3, 1.75])}, model.learned.normalisation)
    gap, around = dataclasses.replace(model, _runs=runs), trained_on(1.4, 1.8)
    hoam.register(NAME, toy.small_plasma())
    for surrogate in (around, gap):
        hoam.register(NAME, surrogate)
    choice, state, hole = hoam.stepper(NAME, surrogate=True, fallback=True), start(), {"mu": 1.52}
    assert choice.covering({"mu": 1.25}, ()) is gap
    assert choice.covering(hole, ()) is around
    assert hoam.stepper(NAME, surrogate=True).covering(hole, ()) is gap
    traced = jax.jit(lambda mu: choice.step(state, 0.1, {"mu": mu}))(1.52)
    np.testing.assert_allclose(traced.v, around.step(state, 0.1, hole).v, atol=1e-6)
    alone = dataclasses.replace(choice, candidates=(gap,))
    assert alone.for_parameters(hole) == toy.small_plasma()


@pytest.mark.long
def test_the_simulator_falls_back_at_its_own_step() -> None:
    hoam.register(NAME, trained_on(1.2, 1.5).with_options(dt=0.4))
    hoam.register(NAME, trained_on(1.5, 1.8).with_options(dt=0.4))
    choice, state, simulator = hoam.stepper(NAME, surrogate=True, fallback=True), start(), toy.small_plasma()
    expected = state
    for _ in range(4):
        expected = simulator.step(simulator.refresh(expected, {"mu": 2.5}), 0.1, {"mu": 2.5})
    moved = choice.step(state, 0.4, {"mu": 2.5})
    np.testing.assert_allclose(moved.v, expected.v, atol=1e-3)
    np.testing.assert_allclose(moved.time, 0.4, rtol=1e-6)
    slope = jax.grad(lambda mu: jnp.sum(choice.step(state, 0.4, {"mu": mu}).v ** 2))(2.5)
    assert np.isfinite(slope)
    assert slope != 0


@pytest.mark.parametrize("policy", ["raise", "warn", "ignore"])
def test_outside_all_ranges_the_policy_decides(low: Any, high: Any, policy: Any) -> None:
    newest = high.with_options(on_extrapolation=policy)
    hoam.register(NAME, low)
    hoam.register(NAME, newest)
    choice, state = hoam.stepper(NAME, surrogate=True), start()
    traced = jax.jit(lambda mu: choice.step(state, 0.1, {"mu": mu}).v)(2.5)
    if policy == "raise":
        with pytest.raises(ValueError, match=r"trained on mu in \[1.5, 1.8\], times in \[0, 4\]; mu in \[1.2, 1.5\]"):
            choice.step(state, 0.1, {"mu": 2.5})
        assert np.isnan(traced).all()
        return
    expected = high.with_options(on_extrapolation="ignore").step(state, 0.1, {"mu": 2.5}).v
    if policy == "warn":
        with pytest.warns(UserWarning, match="none of the 2 surrogates"):
            choice.step(state, 0.1, {"mu": 2.5})
    else:
        np.testing.assert_allclose(choice.step(state, 0.1, {"mu": 2.5}).v, expected, rtol=1e-5)
    np.testing.assert_allclose(traced, expected, rtol=1e-5)


@pytest.mark.long
def test_a_solution_is_one_request(both: Any, low: Any, high: Any) -> None:
    state, times = start(), np.asarray([0.5, 1.0])
    solve = jax.jit(lambda stepper, mu: stepper.solve(state, times, {"mu": mu}, dt=0.1))
    for mu, model in ((1.3, low), (1.7, high)):
        expected = model.solve(state, times, {"mu": mu}, dt=0.1)
        np.testing.assert_array_equal(both.solve(state, times, {"mu": mu}, dt=0.1).v, expected.v)
        traced = solve(both, mu)
        np.testing.assert_allclose(traced.v, expected.v, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(traced.time, expected.time)
    assert np.isnan(solve(both, 2.5).v).all()
    with pytest.raises(ValueError, match="none of the 2"):
        both.solve(state, times, {"mu": 2.5})
    outside = hoam.stepper(NAME, surrogate=True, fallback=True).solve(state, times, {"mu": 2.5}, dt=0.1)
    expected = hoam.simulate(
        toy.small_plasma(), {"mu": 2.5}, times, key=KEY, n_samples=N, initial=state, dt=0.1, progress=False
    )
    np.testing.assert_allclose(outside.v, expected["v"][0], atol=2e-3)


def test_a_run_is_handed_over_where_the_horizon_of_the_newest_ends(low: Any) -> None:
    brief = trained_on(1.2, 1.5, 1.1, normalisation=dataclasses.replace(low.learned.normalisation, horizon=(0.0, 1.0)))
    hoam.register(NAME, low)
    hoam.register(NAME, brief)
    choice, state = hoam.stepper(NAME, surrogate=True), start()
    assert choice.horizon == low.horizon
    np.testing.assert_array_equal(choice.step(state, 0.5, {"mu": 1.3}).v, brief.step(state, 0.5, {"mu": 1.3}).v)
    later = dataclasses.replace(state, time=jnp.asarray(2.0))
    np.testing.assert_array_equal(choice.step(later, 0.5, {"mu": 1.3}).v, low.step(later, 0.5, {"mu": 1.3}).v)


def test_parameters_name_the_one_surrogate_that_covers_them(both: Any, low: Any, high: Any) -> None:
    assert hoam.stepper(NAME, surrogate=True, parameters={"mu": 1.3}) is low
    assert hoam.stepper(NAME, surrogate=True, parameters={"mu": [1.55, 1.7]}) is high
    assert hoam.stepper(NAME, parameters={"mu": 1.3}) == toy.small_plasma()
    with hoam.use_surrogate(NAME):
        assert hoam.stepper(NAME, parameters={"mu": 1.3}) is low
        with pytest.raises(ValueError, match=r"covers mu=\[1.3, 1.7\]: they were trained on"):
            hoam.stepper(NAME, parameters={"mu": [1.3, 1.7]})
        with pytest.raises(ValueError, match="unknown name 'nu'"):
            hoam.stepper(NAME, parameters={"nu": 1.3})
    assert hoam.stepper(NAME, surrogate=True, parameters={"mu": 2.5}, fallback=True) == toy.small_plasma()
    with pytest.raises(ValueError, match=r"mu=1\.7 is outside the trained range"):
        hoam.stepper(NAME, surrogate=low, parameters={"mu": 1.7})


def test_several_defaults_share_the_name(low: Any, high: Any) -> None:
    hoam.register(NAME, toy.small_plasma())
    hoam.register(NAME, trained_on(1.0, 3.0))
    hoam.register(NAME, low, default=True)
    assert hoam.stepper(NAME) is low
    hoam.register(NAME, high, default=True)
    assert hoam.stepper(NAME, parameters={"mu": 1.3}) is low
    assert hoam.stepper(NAME, parameters={"mu": 1.7}) is high
    with pytest.raises(ValueError, match="none of the 2"):
        hoam.stepper(NAME, parameters={"mu": 2.5})


def test_a_newer_surrogate_of_a_wider_range_stands_alone_and_a_narrower_one_does_not(low: Any) -> None:
    wide = trained_on(1.0, 2.0, 1.1)
    hoam.register(NAME, low)
    hoam.register(NAME, wide)
    assert hoam.stepper(NAME, surrogate=True) is wide
    narrow = trained_on(1.3, 1.4, 1.2)
    hoam.register(NAME, narrow)
    choice = hoam.stepper(NAME, surrogate=True)
    assert choice.candidates == (narrow, wide)
    assert choice.for_parameters({"mu": 1.35}) is narrow
    assert choice.for_parameters({"mu": 1.25}) is wide


def test_surrogates_of_other_variables_do_not_mix(low: Any) -> None:
    variables = tuple(dataclasses.replace(v, name=v.name * 2, velocity_of=None) for v in low.variables)
    other = with_learned(low, layout=dataclasses.replace(low.learned.layout, variables=variables), replaces=None)
    hoam.register(NAME, low)
    hoam.register(NAME, other)
    assert hoam.stepper(NAME, surrogate=True) is other
    with pytest.raises(
        ValueError, match=r"fallback=True: name='my_plasma' has no simulator with the variables \['xx', 'vv'\]"
    ):
        hoam.stepper(NAME, surrogate=True, fallback=True)


def test_surrogates_of_foreign_data_choose_too(both: Any) -> None:
    low, high = (with_learned(model, replaces=None) for model in reversed(both.candidates))
    for model in (low, high):
        hoam.register("foreign", model)
    choice, mu = hoam.stepper("foreign", surrogate=True), [1.3, 1.7]
    initial = toy.small_plasma_ensemble(n_samples=N, nodes=2).isel(run=[0, 1]).drop_vars("mu")
    options = {"initial": initial, "key": KEY, "n_samples": N, "dt": 0.1, "progress": False}
    moved = hoam.simulate(choice, {"mu": mu}, [0.0, 1.0], **options)
    alone = hoam.simulate(high.with_options(on_extrapolation="ignore"), {"mu": mu}, [0.0, 1.0], **options)
    np.testing.assert_allclose(moved["v"][1], alone["v"][1], rtol=1e-5, atol=1e-5)
    assert not np.allclose(moved["v"][0], alone["v"][0], atol=1e-4)
    with pytest.raises(ValueError, match="names no known stepper"):
        choice.init(KEY, N, {"mu": 1.3})


def test_velocity_and_rates_are_those_of_the_surrogate_that_covers_them(both: Any, low: Any, high: Any) -> None:
    state = start()
    x = jnp.stack([state.x, state.v], axis=-1)
    for mu, model in ((1.3, low), (1.7, high)):
        parameters = {"mu": jnp.asarray(mu)}
        np.testing.assert_allclose(both.velocity(x, 1.0, parameters), model.velocity(x, 1.0, parameters), rtol=1e-5)
        np.testing.assert_allclose(both.rates(state, parameters)["v"], model.rates(state, parameters)["v"], rtol=1e-5)
    assert np.isnan(both.velocity(x, 1.0, {"mu": jnp.asarray(2.5)})).all()


def test_noise_needs_a_key(low: Any) -> None:
    noisy = with_learned(trained_on(1.5, 1.8), epsilon=0.1)
    hoam.register(NAME, low)
    hoam.register(NAME, noisy)
    choice, state = hoam.stepper(NAME, surrogate=True), start()
    with pytest.raises(ValueError, match="key=None"):
        choice.step(state, 0.1, {"mu": 1.3})
    moved = choice.step(state, 0.1, {"mu": 1.7}, key=KEY).v
    np.testing.assert_array_equal(moved, noisy.step(state, 0.1, {"mu": 1.7}, key=KEY).v)


def test_a_choice_is_not_registered_as_a_whole(both: Any) -> None:
    with pytest.raises(TypeError, match="register these one by one"):
        hoam.register("other", both)
    assert "other" not in registry.names()


def test_list_shows_ranges_scores_and_origins(low: Any, high: Any, capsys: pytest.CaptureFixture[str]) -> None:
    scores = xr.Dataset(
        {
            "histogram_l1": (("reference", "run"), [[0.1, 0.3], [0.5, 0.5]]),
            "histogram_l1_spread": (("reference", "run"), [[0.0, 0.0], [0.0, 0.0]]),
        },
        {"reference": ["surrogate", "frozen"]},
    )
    hoam.register(NAME, toy.small_plasma())
    hoam.register(NAME, low, scores=scores)
    hoam.register(NAME, high, default=True, scores={"energy": 0.0123})
    assert command(["list"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.split()[0] == NAME]
    assert [" ".join(line.split()) for line in lines] == [
        "my_plasma mu x, v 0 to 4 0.1 simulator registered here",
        "my_plasma mu 1.2 to 1.5 x, v 0 to 4 0.032 surrogate histogram_l1 0.2 registered here",
        "my_plasma mu 1.5 to 1.8 x, v 0 to 4 0.032 surrogate, default energy 0.0123 registered here",
    ]


def test_the_validation_loss_of_a_training_is_a_score(low: Any) -> None:
    history = xr.Dataset({"validation": ("iteration", [np.nan, 0.4, 0.3, 0.35])}, {"iteration": [1, 2, 3, 4]})
    hoam.register(NAME, with_provenance(low, dataclasses.replace(provenance_of(low), history=history)))
    (listing,) = [listing for listing in registry.catalogue() if listing.name == NAME]
    assert listing.scores == {"validation": 0.3}


def test_samples_of_the_training_runs_are_no_validation(low: Any) -> None:
    history = xr.Dataset({"validation": ("iteration", [0.4])}, {"iteration": [1]}, {"judged_on": "held-out samples"})
    hoam.register(NAME, with_provenance(low, dataclasses.replace(provenance_of(low), history=history)))
    (listing,) = [listing for listing in registry.catalogue() if listing.name == NAME]
    assert not listing.scores


@pytest.mark.usefixtures("as_installed")
def test_scores_of_the_wrong_kind(low: Any) -> None:
    with pytest.raises(TypeError, match=r"scores=0.3 must be a Dataset of compare or a dict"):
        hoam.register(NAME, low, scores=0.3)
    with pytest.raises(ValueError, match="scores describe a surrogate"):
        hoam.register(NAME, toy.small_plasma(), scores={"energy": 0.1})
    assert NAME not in registry.names()

"""Weights of saved times in physical time and in the clock of a population; what `simulate` and `fit` do with both."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.dynamics import clock_through, recorded_clock
from hoam_plugin.quadrature import trapezoid_weights
from hoam_plugin.steppers import clock as time_of
from hoam_plugin.steppers import state_type
from hoam_plugin.training.choices import resolve
from hoam_plugin.training.time_weights import weights_of_rule

CLOCK = clock_through([0, 0.05, 0.12, 0.3, 0.6, 1], np.linspace(0, 1, 6))
GAUSS = hoam.quadrature.gauss_legendre(12)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class FastStart:
    """A cloud that dashes off and then crawls."""

    dt: float = 0.1
    horizon: tuple[float, float] = (10.0, 14.0)
    variables = (hoam.Variable("x"),)
    parameters = ("mu",)

    def init(self, key: Any, n_samples: int, parameters: Any) -> Any:
        return state_type(("x",))(**time_of.at(10.0, jnp.float32), x=jax.random.normal(key, (n_samples,)))

    def step(self, state: Any, dt: Any, parameters: Any, key: Any = None) -> Any:
        begin = time_of.elapsed(state, 10.0)
        way = 8 * parameters["mu"] * (jnp.exp(-begin / 0.2) - jnp.exp(-(begin + dt) / 0.2))
        return time_of.advanced(dataclasses.replace(state, x=state.x + way + 0.2 * dt), dt)

    def refresh(self, state: Any, parameters: Any) -> Any:
        return state


def spread(rule: Any = GAUSS, clock: Any = "population") -> xr.Dataset:
    return hoam.simulate(
        FastStart(),
        {"mu": [1.0, 1.2]},
        rule,
        key=jax.random.key(0),
        n_samples=200,
        clock=clock,
        progress=False,
    )


def frame(times: Any, **data: Any) -> xr.Dataset:
    return xr.Dataset(data, {"time": np.asarray(times, float)})


def test_weights_of_a_rule_in_time_integrate_over_the_clock_as_well() -> None:
    rule = hoam.quadrature.gauss_legendre(40)
    nodes, weights = rule.nodes_and_weights()
    ends = np.concatenate([[0.0], nodes, [1.0]])
    ds = frame(3 + 2 * ends, quadrature_weight=("time", np.concatenate([[0.0], weights, [0.0]])))
    tau = CLOCK.tau_on_host(ends)
    for found in (weights_of_rule(None, ds, CLOCK), weights_of_rule(rule, ds.drop_vars("quadrature_weight"), CLOCK)):
        assert found.sum() == pytest.approx(1)
        assert found @ np.cos(3 * tau) == pytest.approx(np.sin(3) / 3, abs=1e-4)


def test_a_rule_on_nodes_of_the_clock_is_found_again() -> None:
    nodes, weights = GAUSS.nodes_and_weights()
    ds = frame(np.concatenate([[0.0], CLOCK.fraction_on_host(nodes), [1.0]]))
    np.testing.assert_array_equal(weights_of_rule(GAUSS, ds, CLOCK)[1:-1], weights)
    with pytest.raises(ValueError, match="does not match"):
        weights_of_rule(GAUSS, ds)
    with pytest.raises(ValueError, match="does not match"):
        weights_of_rule(hoam.quadrature.gauss_legendre(10), ds, CLOCK)


def test_without_a_rule_the_times_decide() -> None:
    even = np.linspace(0, 1, 9)
    simpson = hoam.quadrature.simpson(9).nodes_and_weights()[1]
    np.testing.assert_array_equal(weights_of_rule(None, frame(CLOCK.fraction_on_host(even)), CLOCK), simpson)
    in_time = weights_of_rule(None, frame(even), CLOCK)
    np.testing.assert_allclose(in_time, simpson * CLOCK.rate_on_host(even) / (simpson @ CLOCK.rate_on_host(even)))
    uneven = np.asarray([0.0, 0.1, 0.5, 1.0])
    np.testing.assert_array_equal(
        weights_of_rule(None, frame(uneven), CLOCK), trapezoid_weights(CLOCK.tau_on_host(uneven))
    )


@pytest.mark.parametrize("rule", [hoam.quadrature.gauss_legendre(48), hoam.quadrature.simpson(129)])
def test_simulate_spreads_nodes_over_the_clock_and_keeps_integrals_over_time(rule: Any) -> None:
    ds = spread(rule)
    clock = recorded_clock(ds)
    assert clock is not None
    t, weights = ds["time"].values - 10, ds["quadrature_weight"].values
    assert np.mean(t < 0.6) > 0.35  # of all times, in 15 % of the horizon
    for function, integral in ((np.cos, np.sin(4) / 4), (np.square, 16 / 3), (np.ones_like, 1.0)):
        assert weights @ function(t) == pytest.approx(integral, abs=2e-4, rel=2e-4)
    own = rule.nodes_and_weights()[1]
    np.testing.assert_allclose(weights_of_rule(None, ds, clock)[weights > 0], own, rtol=1e-12)
    np.testing.assert_allclose(weights_of_rule(rule, ds, clock)[weights > 0], own, rtol=1e-12)


def test_random_rules_are_spread_too_and_fixed_times_are_refused() -> None:
    ds = spread(hoam.quadrature.low_discrepancy(100))
    assert np.mean(ds["time"].values < 10.6) > 0.35
    assert float(ds["quadrature_weight"].sum()) == pytest.approx(1)
    with pytest.raises(ValueError, match="spreads the nodes of a rule"):
        spread([10.0, 14.0])


def test_an_even_pace_leaves_the_nodes_where_they_are() -> None:
    def even(clock: Any) -> xr.Dataset:
        return hoam.simulate(
            FastStart(), {"mu": [0.0]}, GAUSS, key=jax.random.key(0), n_samples=100, clock=clock, progress=False
        )

    xr.testing.assert_equal(even("population"), even("physical"))
    assert recorded_clock(even("population")) is None


@pytest.mark.long
def test_fit_takes_the_clock_that_it_is_asked_for(tmp_path: Any) -> None:
    ds, plain = spread(), spread(clock="physical")
    potential, training = hoam.CoLoRA(width=4, depth=2), hoam.Training(iterations=2, n_samples=8, block=1)

    def clock_of(ds: xr.Dataset, clock: Any = None) -> Any:
        """What `fit` takes, without the training."""
        others = dict.fromkeys(("structure", "loss", "replaces", "validate", "base"))
        choices = resolve(ds, potential=potential, training=training, clock=clock, **others)
        return choices.dynamics.normalisation.clock

    def fitted(clock: Any = None, **options: Any) -> hoam.Surrogate:
        settings = {"potential": potential, "training": training, "clock": clock, "progress": False}
        return hoam.fit(ds, key=jax.random.key(0), **settings, **options)

    own = recorded_clock(ds)
    assert own is not None
    model = fitted(checkpoint=tmp_path / "c.hoam")
    assert model.learned.normalisation.clock.fields() == clock_of(ds).fields() == own.fields()
    assert clock_of(ds, "physical") is None
    # This cloud is fast at first, so that the clock helps where nothing is said; an even one needs none.
    assert clock_of(plain).fields() == clock_of(plain, "population").fields()
    assert clock_of(toy.moving_gaussian()) is None
    tau = np.linspace(0, 1, 9)
    found = clock_of(plain, "population")
    np.testing.assert_allclose(found.fraction_on_host(tau), own.fraction_on_host(tau), atol=0.1)
    with pytest.raises(ValueError, match=r"begun with clock='population', not 'physical'"):
        fitted("physical", resume=tmp_path / "c.hoam")

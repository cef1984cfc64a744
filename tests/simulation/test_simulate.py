"""`simulate`: where it lands, what it keeps and what it recompiles; with toys of known answers."""

import dataclasses
import json
import logging
import os
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_steppers import Decay, OrnsteinUhlenbeck, run

from hoam_plugin import ensembles, quadrature
from hoam_plugin.simulation import advancing
from hoam_plugin.simulators import two_stream
from hoam_plugin.steppers import Stepper


def test_the_toys_are_steppers():
    assert isinstance(OrnsteinUhlenbeck(), Stepper)
    assert isinstance(Decay(), Stepper)


# What comes out


def test_moments_of_an_sde_are_the_analytic_ones():
    times = np.array([0.0, 0.3, 1.0, 2.0])
    ds = run(times=times, n_samples=40_000, parameters={"theta": [0.5, 2.0], "sigma": [0.3, 1.0]})
    for i, (theta, sigma) in enumerate(((0.5, 0.3), (2.0, 1.0))):
        q = ds["q"].values[i].astype(np.float64)
        variance = sigma**2 / (2 * theta) * (1 - np.exp(-2 * theta * times))
        np.testing.assert_allclose(q.mean(-1), np.exp(-theta * times), atol=4 * sigma / np.sqrt(40_000 * 2 * theta))
        np.testing.assert_allclose(q.var(-1), variance, rtol=0.04)
    # Noise is drawn anew in every step and for every run.
    assert abs(np.corrcoef(ds["q"].values[0, 1], ds["q"].values[1, 1])[0, 1]) < 0.03
    increments = ds["q"].values[0, 2] - np.exp(-0.35) * ds["q"].values[0, 1]
    assert abs(np.corrcoef(increments, ds["q"].values[0, 1])[0, 1]) < 0.03


def test_schema_and_attributes():
    ds = run(times=[0.5, 1.0])
    assert ds["q"].dims == ("run", "time", "sample")
    assert ds["q"].attrs["units"] == "m"
    assert ds["mean"].dims == ("run", "time")
    assert ds["seen"].dims == ("run", "time", "pair")
    assert ds["pair"].values.tolist() == [1.0, 2.0]
    assert ensembles.parameters(ds)["theta"].tolist() == [1.0, 2.0]
    assert ensembles.parameters(ds)["sigma"].tolist() == [0.5, 0.5]
    assert json.loads(ds.attrs["seed"]) == [0, 0]
    assert ds.attrs["dt"] == 0.1
    assert "stepper" not in ds.attrs
    described = json.loads(run(two_stream(n_cells=16), {"mu": 1.3}, [0.0], n_samples=4).attrs["stepper"])
    assert described["name"] == "vlasov_poisson_pic"


def test_a_stepper_without_parameters_or_optional_members_makes_one_run():
    ds = run(Decay(), {}, [1.0, 2.0, 3.0])
    assert dict(ds.sizes) == {"run": 1, "time": 3, "sample": 50, "axis": 2}
    assert ensembles.parameters(ds) == {}
    np.testing.assert_allclose(ds["q"][0, 2], ds["q"][0, 0] * (1 - 0.01) ** 200, rtol=1e-4)


@pytest.mark.parametrize(
    ("parameters", "columns"),
    [
        ({"theta": 1.0, "sigma": 0.5}, ([1.0], [0.5])),
        ({"theta": (1.0, 2.0), "sigma": 0.5}, ([1.0, 2.0], [0.5, 0.5])),
        ({"sigma": np.array([0.1, 0.2]), "theta": jnp.asarray([1, 2])}, ([1.0, 2.0], [0.1, 0.2])),
        ({"theta": [3.0], "sigma": np.float32(0.5)}, ([3.0], [0.5])),
    ],
)
def test_parameters_broadcast(parameters, columns):
    ds = run(parameters=parameters, times=[0.0])
    assert (ds["theta"].values.tolist(), ds["sigma"].values.tolist()) == columns
    np.testing.assert_allclose(ds["seen"].values[:, 0, 1], columns[0])


def test_rates_are_recorded_on_request():
    ds = run(rates=True)
    np.testing.assert_allclose(ds["q_rate"], -ds["theta"] * ds["q"], rtol=1e-6)
    assert ds["q_rate"].attrs["rate_of"] == "q"
    assert ensembles.variable_names(ds) == ["q"]
    pic = run(two_stream(n_cells=16), {"mu": [1.3]}, [0.0, 0.1], n_samples=20, rates=True)
    np.testing.assert_array_equal(pic["x_rate"], pic["v"])
    with pytest.raises(ValueError, match="rates=True: Decay does not declare the rates of its variables"):
        run(Decay(), {}, [1.0], rates=True)


# Times


@pytest.mark.parametrize("times", [[0.0, 0.1 + 0.2, 0.7, 1.9], np.linspace(0, 2, 21), [1 / 3], jnp.asarray([0.0, 0.5])])
def test_the_saved_times_are_hit_exactly(times):
    ds = run(times=times)
    np.testing.assert_array_equal(ds["time"].values, np.asarray(times, np.float64))
    np.testing.assert_array_equal(ds["seen"].values[0, :, 0], np.asarray(times, np.float32))


def test_substeps_are_equal_and_no_longer_than_dt():
    times = np.array([0.0, 0.05, 0.1, 0.3, 0.55, 1.55, 1.5501])
    ds = run(times=times, dt=0.1)
    # A gap of a whole number of steps takes that many; any other takes the next whole number.
    np.testing.assert_array_equal(np.diff(ds["steps"].values[0]), [1, 1, 2, 3, 10, 1])
    euler = run(Decay(), {}, [1.0, 1.25], dt=0.1)["q"].values[0]
    np.testing.assert_allclose(euler[1], euler[0] * (1 - 0.25 / 3) ** 3, rtol=1e-5)


def test_the_first_time_may_come_later_than_the_start():
    late = run(Decay(), {}, [2.0, 3.0])["q"].values
    np.testing.assert_allclose(late, run(Decay(), {}, [1.0, 2.0, 3.0])["q"].values[:, 1:], rtol=1e-5)
    assert run(times=[1.0])["steps"].values.tolist() == [[10], [10]]


@pytest.mark.parametrize("rule", [quadrature.gauss_legendre(5), quadrature.simpson(5), quadrature.low_discrepancy(4)])
def test_rules_are_scaled_to_the_horizon_with_both_ends(rule):
    stepper = Decay(horizon=(1.0, 3.0))
    ds = run(stepper, {}, rule)
    weight, times = ds["quadrature_weight"].values, ds["time"].values
    assert (times[0], times[-1]) == (1.0, 3.0)
    assert weight.sum() == pytest.approx(1, abs=1e-14)
    if rule.kind == "simpson":
        assert len(times) == 5
    else:
        assert len(times) == rule.n + 2
        assert weight[0] == weight[-1] == 0
    if not rule.random:
        assert 2 * weight @ times**3 == pytest.approx((3**4 - 1) / 4, rel=1e-13)
    assert json.loads(ds.attrs["configuration"])["quadrature"] == str(rule)


def test_plain_times_have_no_weights():
    assert "quadrature_weight" not in run()


# Reproducibility and compilation


def test_the_key_decides_everything():
    np.testing.assert_array_equal(run()["q"], run()["q"])
    assert (run()["q"].values[:, 1:] != run(key=jax.random.key(1))["q"].values[:, 1:]).all()
    np.testing.assert_array_equal(run()["q"], run(key=jax.random.PRNGKey(0))["q"])


@pytest.fixture
def compilations_logged():
    # Not by the context manager jax.log_compiles, which covers only its own thread.
    jax.config.update("jax_log_compiles", True)
    yield
    jax.config.update("jax_log_compiles", False)


@pytest.mark.parametrize("stepper", [OrnsteinUhlenbeck(), two_stream(n_cells=32)])
def test_nothing_is_compiled_for_new_values_of_the_same_shape(stepper, caplog, compilations_logged):
    def compiled(values, times, **options):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            run(dataclasses.replace(stepper), dict.fromkeys(stepper.parameters, values), times, **options)
        return [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()]

    assert compiled([1.25, 1.5], [0.0, 0.5, 1.0], n_samples=33)
    assert compiled([1.3, 1.7], [0.0, 0.5, 1.0], n_samples=33) == []
    assert compiled([1.3, 1.7], [0.0, 0.1, 7.0], n_samples=33, key=jax.random.key(9)) == []
    assert compiled([1.3, 1.7], [0.0, 0.2, 0.3, 0.7, 0.9], n_samples=33, dt=0.3) == []


def test_many_runs_compile_the_step_once():
    advancing.advance_whole.clear_cache()
    counted = []

    class Counting(OrnsteinUhlenbeck):
        def step(self, state, dt, parameters, key=None):
            counted.append(threading.get_ident())
            return super().step(state, dt, parameters, key)

    jax.tree_util.register_dataclass(Counting, [], ["dt", "horizon"])
    run(Counting(), {"theta": np.linspace(1, 2, 2 * os.cpu_count()), "sigma": 1.0}, np.linspace(0, 1, 5))
    assert advancing.advance_whole._cache_size() == 1
    assert len(set(counted)) == 1

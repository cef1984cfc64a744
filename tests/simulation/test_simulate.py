"""`simulate`: where it lands, what it keeps, what it recompiles, and what it refuses; with toys of known answers."""

import dataclasses
import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from hoam_plugin import ensembles, quadrature
from hoam_plugin.simulation import advancing
from hoam_plugin.simulation.run import simulate
from hoam_plugin.simulators import two_stream
from hoam_plugin.steppers import Stepper, Variable, state_type

KEY = jax.random.key(0)
Point = state_type(("q",))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OrnsteinUhlenbeck:
    """dq = -theta q dt + sigma dW from q = 1, each step drawn from its exact law; aux counts the steps."""

    dt: float = dataclasses.field(default=0.1, metadata={"static": True})
    horizon: tuple[float, float] = dataclasses.field(default=(0.0, 2.0), metadata={"static": True})

    variables = (Variable("q", units="m"),)
    parameters = ("theta", "sigma")
    diagnostic_variables = (Variable("mean"), Variable("steps"), Variable("seen", dims=("pair",)))
    coordinates = {"pair": np.array([1.0, 2.0])}  # noqa: RUF012

    def init(self, key, n_samples, parameters):
        start = jnp.ones(n_samples)
        return Point(time=jnp.asarray(self.horizon[0], start.dtype), q=start, aux=jnp.zeros((), jnp.int32))

    def step(self, state, dt, parameters, key=None):
        theta, sigma = parameters["theta"], parameters["sigma"]
        decay = jnp.exp(-theta * dt)
        spread = sigma * jnp.sqrt((1 - decay**2) / (2 * theta))
        q = decay * state.q + spread * jax.random.normal(key, state.q.shape, state.q.dtype)
        return dataclasses.replace(state, time=state.time + dt, q=q, aux=state.aux + 1)

    def refresh(self, state, parameters):
        return dataclasses.replace(state, aux=jnp.zeros((), jnp.int32))

    def rates(self, state, parameters):
        return {"q": -parameters["theta"] * state.q}

    def diagnostics(self, state, parameters):
        return {"mean": state.q.mean(), "steps": state.aux, "seen": jnp.stack([state.time, parameters["theta"]])}


class Dividing(OrnsteinUhlenbeck):
    """Not finite where theta is 0."""

    def step(self, state, dt, parameters, key=None):
        return dataclasses.replace(state, time=state.time + dt, q=state.q / parameters["theta"])


jax.tree_util.register_dataclass(Dividing, [], ["dt", "horizon"])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Decay:
    """dq/dt = -q by explicit Euler steps, without parameters or optional members."""

    dt: float = dataclasses.field(default=0.01, metadata={"static": True})
    horizon: tuple[float, float] = dataclasses.field(default=(1.0, 3.0), metadata={"static": True})

    variables = (Variable("q", dims=("axis",)),)
    parameters = ()

    def init(self, key, n_samples, parameters):
        return Point(time=jnp.asarray(self.horizon[0]), q=jax.random.normal(key, (n_samples, 2)))

    def step(self, state, dt, parameters, key=None):
        return dataclasses.replace(state, time=state.time + dt, q=state.q - dt * state.q)

    def refresh(self, state, parameters):
        return state


def run(stepper: Any = None, parameters: Any = None, times: Any = (0.0, 0.25, 1.0), **options: Any) -> xr.Dataset:
    stepper = OrnsteinUhlenbeck() if stepper is None else stepper
    parameters = {"theta": [1.0, 2.0], "sigma": 0.5} if parameters is None else parameters
    return simulate(stepper, parameters, times, **({"key": KEY, "n_samples": 50, "progress": False} | options))


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


# Starting points


def test_a_run_goes_on_from_an_ensemble_run_by_run():
    whole = run(Decay(), {}, [1.0, 2.0, 3.0])
    rest = run(Decay(), {}, [2.0, 3.0], initial=whole.isel(time=[1]))
    np.testing.assert_allclose(rest["q"], whole["q"][:, 1:], rtol=1e-5)
    first = run()
    ds = run(initial=first, times=[0.0, 0.5], n_samples=20)
    np.testing.assert_array_equal(ds["q"][:, 0], first["q"][:, 0, :20])
    shared = run(initial=first.isel(run=[1], time=[2]), times=[1.0, 1.5])
    for i in range(2):
        np.testing.assert_array_equal(shared["q"][i, 0], first["q"][1, 2])


def test_a_selection_of_a_rules_times_is_a_start():
    truth = run(times=quadrature.gauss_legendre(3))
    ds = run(times=[1.5, 2.0], initial=truth.isel(time=slice(2, None)).assign_coords(time=truth["time"].values[2:]))
    np.testing.assert_allclose(ds["time"], [1.5, 2.0])


def test_a_run_goes_on_from_a_state():
    stepper = two_stream(n_cells=32)
    state = jax.jit(stepper.init, static_argnums=1)(KEY, 30, {"mu": 1.3})
    ds = run(stepper, {"mu": [1.3, 1.5]}, [0.0, 0.1], n_samples=30, initial=state)
    for i in range(2):
        np.testing.assert_array_equal(ds["x"][i, 0], state.x)
    # The field is rebuilt for each run's own mu.
    np.testing.assert_allclose(ds["electric_field"][0, 0] * 1.3**2, ds["electric_field"][1, 0] * 1.5**2, atol=1e-5)


def test_a_simulation_split_in_two_is_the_whole_one(x64):
    stepper = two_stream(n_cells=32)
    whole = run(stepper, {"mu": [1.2, 1.9]}, [0.0, 1.0, 2.0])
    rest = run(stepper, {"mu": [1.2, 1.9]}, [1.0, 2.0], initial=whole.isel(time=slice(1, 2)))
    for name in ("x", "v", "electric_energy"):
        np.testing.assert_allclose(rest[name], whole[name][:, 1:], atol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_precision_of_the_start_is_kept(x64, dtype):
    stepper = two_stream(n_cells=32)
    start = run(stepper, {"mu": [1.3]}, [0.0])
    start = start.assign(x=start["x"].astype(dtype), v=start["v"].astype(dtype))
    assert run(stepper, {"mu": [1.3]}, [0.0, 0.1], initial=start)["v"].dtype == dtype


# Threads


def test_settings_of_the_calling_thread_hold_for_every_run():
    with jax.enable_x64(True):
        ds = run(two_stream(n_cells=16), {"mu": [1.3, 1.4]}, [0.0, 0.1])
    assert ds["x"].dtype == np.float64


def test_a_failing_run_stops_the_others():
    calls = []

    class Blowing(Dividing):
        def diagnostics(self, state, parameters):
            jax.debug.callback(lambda t: (calls.append(t), time.sleep(0.01)), state.time)
            return {}

    jax.tree_util.register_dataclass(Blowing, [], ["dt", "horizon"])
    with pytest.raises(FloatingPointError, match=r"variable 'q' became non-finite at time .*'theta': 0.0"):
        run(Blowing(), {"theta": [0.0, 1.0], "sigma": 1.0}, np.linspace(0, 100, 500), dt=1.0)
    assert len(calls) < 100


# Files and memory


@pytest.mark.parametrize("times", [(0.0, 0.25, 1.0), quadrature.gauss_legendre(4)])
def test_streaming_to_a_file_gives_the_same_ensemble(tmp_path, times):
    in_memory = run(times=times, rates=True)
    streamed = run(times=times, rates=True, store=tmp_path / "e.zarr")
    for ds in (streamed, ensembles.load(tmp_path / "e.zarr")):
        assert list(ds.data_vars) == list(in_memory.data_vars)
        xr.testing.assert_identical(ds.load().assign_attrs(created_at=""), in_memory.assign_attrs(created_at=""))
        assert all(ds[name].dtype == in_memory[name].dtype for name in ds.variables)
    assert os.listdir(tmp_path) == ["e.zarr"]


def test_streaming_never_touches_what_exists_and_leaves_nothing_half_written(tmp_path):
    (tmp_path / "e.zarr").mkdir()
    with pytest.raises(FileExistsError, match=r"store='.*e\.zarr' exists"):
        run(store=tmp_path / "e.zarr")
    assert os.listdir(tmp_path / "e.zarr") == []
    with pytest.raises(FloatingPointError):
        run(Dividing(), {"theta": [0.0], "sigma": 1.0}, [0.0, 5.0], dt=1.0, store=tmp_path / "f.zarr")
    with pytest.raises(FileNotFoundError, match=r"store='.*g\.zarr' cannot be written"):
        run(store=tmp_path / "absent" / "g.zarr")
    assert os.listdir(tmp_path) == ["e.zarr"]


def test_memory_is_bounded_by_what_is_saved():
    run(n_samples=100_000, times=[0.0, 0.1])
    tracemalloc.start()
    ds = run(n_samples=100_000, times=np.linspace(0, 2, 20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.5 * ds.nbytes


def test_streaming_holds_a_few_snapshots_at_a_time(tmp_path):
    run(n_samples=100_000, times=[0.0, 0.1], store=tmp_path / "warm.zarr")
    tracemalloc.start()
    ds = run(n_samples=100_000, times=np.linspace(0, 2, 40), store=tmp_path / "e.zarr")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * ds.nbytes


@pytest.mark.slow
def test_streaming_leaves_resident_memory_small(tmp_path):
    code = """
import resource, jax, numpy as np
import hoam_plugin as hoam
from hoam_plugin.simulators import two_stream
def go(n, name):
    return hoam.simulate(two_stream(n_cells=64), {"mu": [1.3]}, np.linspace(0, 1, n), key=jax.random.key(0),
                         n_samples=200_000, dt=1.0, progress=False, store=name)
def resident():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
go(3, "warm.zarr")
before = resident()
print(resident() - before, go(400, "e.zarr").nbytes, resident() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    _, saved, grown = map(int, done.stdout.split())
    assert grown < 0.25 * saved


# Progress


def test_progress_goes_to_standard_error(capfd):
    run(progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "simulate" in err
    assert "100%" in err
    run(progress=False)
    assert capfd.readouterr() == ("", "")


# Refusals


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"n_samples": 0}, "n_samples=0 must be a whole number of at least 1"),
        ({"n_samples": 2.5}, "n_samples=2.5 must be a whole number"),
        ({"dt": -0.1}, "dt=-0.1 must be a finite number above 0"),
        ({"dt": math.inf}, "dt=inf must be"),
        ({"dt": "fast"}, "dt='fast' must be a finite number above 0"),
        ({"times": [0.0, 1.0, 0.5]}, r"times must be strictly increasing, but times\[2\]=0.5 follows times\[1\]=1.0"),
        ({"times": [0.0, 0.0]}, r"times\[1\]=0.0 follows times\[0\]=0.0"),
        ({"times": []}, r"times has shape \(0,\); it must be a one-dimensional, non-empty list"),
        ({"times": 1.0}, r"times has shape \(\)"),
        ({"times": "gauss"}, "times='gauss' must be a number or a list of numbers"),
        ({"times": [0.0, math.nan]}, "times holds .*nan.*; every time must be finite"),
        ({"times": [-1.0, 0.0]}, "times start at -1, before the initial population's time 0; start later"),
        ({"parameters": {"theta": [1.0]}}, r"parameters={'theta': \[1.0\]} lacks \['sigma'\]; this stepper needs"),
        ({"parameters": {"theta": 1.0, "sigmma": 1.0}}, "unknown name 'sigmma'; did you mean 'sigma'?"),
        ({"parameters": {"theta": [1.0, 2.0], "sigma": [1.0, 2.0, 3.0]}}, "unequal lengths {'theta': 2, 'sigma': 3}"),
        ({"parameters": {"theta": [], "sigma": 1.0}}, r"parameters\['theta'\]=\[\] must be a non-empty list"),
        ({"parameters": {"theta": [math.nan], "sigma": 1.0}}, r"parameters\['theta'\]=\[nan\] must be"),
        ({"parameters": {"theta": "hot", "sigma": 1.0}}, r"parameters\['theta'\]='hot' must be a number or a list"),
    ],
)
def test_wrong_arguments_are_named_before_anything_runs(as_installed, options, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        run(**options, store=tmp_path / "e.zarr")
    assert os.listdir(tmp_path) == []


def test_parameters_must_be_a_mapping(as_installed):
    with pytest.raises(TypeError, match=r"parameters=\[1.0\] must be a dict of name to values, such as {'mu': "):
        run(parameters=[1.0])


def test_initial_populations_that_do_not_fit_are_explained():
    first = run()
    with pytest.raises(ValueError, match="n_samples=51 exceeds the 50 samples of the initial ensemble"):
        run(initial=first, n_samples=51)
    with pytest.raises(ValueError, match=r"initial has the variables \['p'\] but the stepper has \['q'\]"):
        run(initial=first.rename(q="p"))
    with pytest.raises(ValueError, match="initial has 2 runs but parameters has 3"):
        run(initial=first, parameters={"theta": [1.0, 2.0, 3.0], "sigma": 0.5})
    with pytest.raises(ValueError, match=r"initial has theta=\[1.0, 2.0\] but parameters has \[1.0, 2.5\]"):
        run(initial=first, parameters={"theta": [1.0, 2.5], "sigma": 0.5})
    with pytest.raises(ValueError, match="the ensemble lacks the dim 'time'"):
        run(initial=first.isel(time=0))
    state = OrnsteinUhlenbeck().init(KEY, 50, {})
    with pytest.raises(ValueError, match="n_samples=10 but the initial state holds 50 samples"):
        run(initial=state, n_samples=10)
    with pytest.raises(ValueError, match=r"initial State_q lacks the variable 'x'; the stepper has \['x', 'v'\]"):
        run(two_stream(), {"mu": 1.3}, initial=state)


def test_double_precision_samples_are_never_rounded_silently():
    first = run()
    with pytest.raises(
        TypeError, match=r"initial variable 'q' is float64 .* jax.config.update\('jax_enable_x64', True\)"
    ):
        run(initial=first.assign(q=first["q"].astype(np.float64)))
    state = dataclasses.replace(OrnsteinUhlenbeck().init(KEY, 50, {}), q=np.ones(50))
    with pytest.raises(TypeError, match="initial variable 'q' is float64"):
        run(initial=state)
    # Times and parameters are only numbers: double precision is welcome there.
    run(times=np.array([0.0, 1.0]), parameters={"theta": np.array([1.0]), "sigma": np.float64(0.5)})


def test_state_types_are_one_per_set_of_names_and_reserve_two():
    assert state_type(("q",)) is Point
    with pytest.raises(ValueError, match=r"the variable name 'aux' cannot be a field of a State"):
        state_type(("q", "aux"))

"""All runs at once, as on an accelerator, beside the same runs on threads: the same keys, the same numbers."""

import dataclasses
import os
import threading
import time

import jax
import numpy as np
import pytest
import toy
from jax_md_traps import gas
from repository import ROOT
from small_steppers import KEY, Decay, Dividing, OrnsteinUhlenbeck, run

import hoam_plugin as hoam
from hoam_plugin import quadrature
from hoam_plugin.simulation import runs_together, workers
from hoam_plugin.simulation.advancing import Runs
from hoam_plugin.simulation.starts import start_of_runs
from hoam_plugin.simulators import lorenz9, two_stream

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")


@pytest.fixture
def together(monkeypatch):
    """`run` as on an accelerator."""

    def simulated(*arguments, **options):
        with monkeypatch.context() as patched:
            patched.setattr(workers, "have_accelerator", lambda: True)
            return run(*arguments, **options)

    return simulated


def require_same(one, other, rtol=1e-5):
    """The same ensemble, but for the order in which sums are taken."""
    assert list(one.data_vars) == list(other.data_vars)
    assert set(one.coords) == set(other.coords)
    drop = ["created_at"]
    assert {k: v for k, v in one.attrs.items() if k not in drop} == {
        k: v for k, v in other.attrs.items() if k not in drop
    }
    for name in one.variables:
        assert one[name].dtype == other[name].dtype
        assert one[name].attrs == other[name].attrs
        values = np.asarray(one[name])
        if values.dtype.kind == "f":
            np.testing.assert_allclose(other[name], values, rtol=rtol, atol=rtol * np.abs(values).max(), err_msg=name)
        else:
            np.testing.assert_array_equal(other[name], values)


def saved(name):
    """Trained surrogates that are at hand."""
    return lambda: hoam.load(ROOT / "tests" / "fixtures" / "version_0_1" / f"{name}.hoam")


CASES = {
    "particle-in-cell": (
        lambda: two_stream(n_cells=32, horizon=(0.0, 2.0), dt=0.1),
        {"mu": [1.2, 1.5, 1.8]},
        quadrature.gauss_legendre(3),
        {"rates": True},
    ),
    "SDE": (lambda: lorenz9(dt=0.02), {"r": [13.6, 14.0]}, [0.0, 0.1, 0.11, 0.3], {"rates": True}),
    "its exact law": (OrnsteinUhlenbeck, {"theta": [0.5, 1.0, 2.0], "sigma": 0.3}, [0.5, 0.7, 2.0], {"rates": True}),
    "no parameters": (Decay, {}, [1.0, 2.0], {}),
    "potential with noise": (saved("gradient"), {"mu": [1.3, 1.7]}, [0.0, 0.3, 1.5], {"rates": True}),
    "learned force": (saved("kinetic"), {"mu": [1.3, 1.7]}, [0.0, 0.3, 1.5], {}),
}


@pytest.mark.parametrize("case", CASES)
def test_runs_together_are_the_runs_one_by_one(together, case):
    make, parameters, times, options = CASES[case]
    stepper = make()
    apart = run(stepper, parameters, times, **options)
    require_same(apart, together(stepper, parameters, times, **options))
    if len(apart["time"]) > 1 and apart.sizes["run"] > 1:
        # Noise and starts differ between runs.
        name = stepper.variables[0].name
        assert (apart[name].values[0, -1] != apart[name].values[1, -1]).any()


def test_a_start_without_steps_is_the_same_to_the_bit(together):
    stepper, parameters = two_stream(n_cells=32), {"mu": [1.2, 1.5]}
    for name in ("x", "v"):
        np.testing.assert_array_equal(run(stepper, parameters, [0.0])[name], together(stepper, parameters, [0.0])[name])


@pytest.mark.long
def test_runs_go_on_from_an_ensemble_and_from_a_state(together):
    stepper = two_stream(n_cells=32)
    parameters, times = {"mu": [1.2, 1.9]}, [1.0, 1.2]
    first = run(stepper, parameters, [0.0, 1.0]).isel(time=slice(1, 2))
    require_same(*(f(stepper, parameters, times, initial=first, n_samples=20) for f in (run, together)))
    state = jax.jit(stepper.init, static_argnums=1)(KEY, 20, {"mu": 1.3})
    require_same(*(f(stepper, parameters, [0.0, 0.2], initial=state, n_samples=20) for f in (run, together)))
    with pytest.raises(ValueError, match=r"times start at 0\.5, before the initial population's time 1; start later"):
        together(stepper, parameters, [0.5, 1.2], initial=first)


def test_a_surrogate_without_a_simulator_starts_from_an_ensemble(together):
    start = toy.moving_gaussian(speeds=(1.5, 2.5)).isel(time=slice(1))
    start["y"] = (start["y"].dims, np.mod(start["y"].values, 3.0), {"period": 3.0})
    model, parameters = saved("field")(), {"mu": [1.5, 2.5]}
    require_same(*(f(model, parameters, [0.0, 0.7, 2.0], initial=start) for f in (run, together)))
    with pytest.raises(ValueError, match=r"mu.*9\.5"):
        together(model, {"mu": [1.5, 9.5]}, [0.0, 1.0], initial=start.assign_coords(mu=("run", [1.5, 9.5])))


def test_streaming_to_a_file_gives_the_same_ensemble(together, tmp_path):
    streamed = together(rates=True, store=tmp_path / "e.zarr")
    require_same(run(rates=True), streamed.load())
    assert os.listdir(tmp_path) == ["e.zarr"]
    with pytest.raises(FloatingPointError, match=r"variable 'q' became non-finite at time 5 in the run with .*0.0"):
        together(Dividing(), {"theta": [1.0, 0.0], "sigma": 1.0}, [0.0, 5.0, 9.0], dt=1.0, store=tmp_path / "f.zarr")
    assert sorted(os.listdir(tmp_path)) == ["e.zarr", "f.zarr.unfinished"]


def test_settings_of_the_calling_thread_hold(together):
    with jax.enable_x64(True):
        ds = together(two_stream(n_cells=16), {"mu": [1.3, 1.4]}, [0.0, 0.1])
    assert ds["x"].dtype == np.float64


def test_progress_counts_the_steps_of_all_runs(together, capfd, monkeypatch):
    # Without a terminal it is lines, every half a minute.
    monkeypatch.setattr("hoam_plugin._internal.progress_lines.EVERY", 0.0)
    together(progress=True)
    err = capfd.readouterr().err
    assert "simulate" in err
    assert "100 %" in err


# Runs of different forms


@pytest.mark.long
def test_neighbour_lists_that_overflow_are_made_larger_run_by_run(together):
    """The hot run needs more room than the cold one, from another time on; nothing wrong is recorded: it is what the
    same runs do without lists."""
    parameters, times = {"kT": [0.02, 1.5]}, [0.0, 0.2, 0.8]
    ours = together(gas(neighbors=True), parameters, times, n_samples=18)
    without = run(gas(), parameters, times, n_samples=18)
    assert list(ours.data_vars) == list(without.data_vars)
    for name, values in without.data_vars.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-4, atol=1e-4 * float(abs(values).max()), err_msg=name)
    assert float(ours["potential_energy"].isel(run=1, time=-1)) > 1e-3


@dataclasses.dataclass(frozen=True)
class Calling(OrnsteinUhlenbeck):
    """Calls the host in every step, in a way that `vmap` refuses."""

    def step(self, state, dt, parameters, key=None):
        state = super().step(state, dt, parameters, key)
        q = jax.pure_callback(np.copy, jax.ShapeDtypeStruct(state.q.shape, state.q.dtype), state.q)
        return dataclasses.replace(state, q=q)


jax.tree_util.register_static(Calling)


def test_what_cannot_be_batched_runs_one_by_one_and_says_why(together):
    apart = run(Calling())
    with pytest.warns(UserWarning, match="the runs of Calling advance one after the other, since jax.vmap .*callback"):
        ours = together(Calling())
    require_same(apart, ours)


# Memory and waiting


@pytest.mark.parametrize("room", [1, 2, 3, 7])
def test_batches_that_fit_the_device_give_the_same(together, monkeypatch, room):
    sizes = []
    compiled = runs_together._side_by_side

    class Counted:
        lower = compiled.lower

        def __call__(self, stepper, states, *rest, **options):
            if not isinstance(states.q, jax.core.Tracer):
                sizes.append(states.q.shape[0])
            return compiled(stepper, states, *rest, **options)

    monkeypatch.setattr(runs_together, "free_bytes", lambda state: room)
    monkeypatch.setattr(runs_together, "_bytes_of", lambda lowered: lowered.in_avals[0][1].q.shape[0])
    monkeypatch.setattr(runs_together, "_side_by_side", Counted())
    many = {"theta": np.linspace(1, 2, 7), "sigma": 0.5}
    require_same(run(parameters=many), together(parameters=many))
    assert max(sizes) <= room
    assert sum(sizes) == 7 * 3


def test_the_number_of_runs_at_a_time_is_what_fits():
    assert runs_together.most_runs(8, lambda n: 10 * n, 1000) == 8
    assert runs_together.most_runs(8, lambda n: 10 * n, 35) == 3
    # Not quite proportional: asked again until it fits.
    assert runs_together.most_runs(8, lambda n: 100 + 10 * n, 135) == 3
    assert runs_together.most_runs(8, lambda n: 10 * n, 0) == 1


def runs_of(stepper, n_runs, times):
    table = {"theta": np.linspace(1, 2, n_runs), "sigma": np.ones(n_runs)}
    start = start_of_runs(stepper, None, table, n_runs, 20)
    return Runs(stepper, table, start, 20, np.asarray(times), 0.1, False)


@pytest.fixture
def dispatched(monkeypatch):
    """The saved times whose computation has been asked for."""
    asked = []
    compiled = runs_together._side_by_side

    class Noted:
        lower = compiled.lower

        def __call__(self, *arguments, **options):
            if not isinstance(arguments[-1], jax.core.Tracer):
                asked.append(int(arguments[-1]))
            return compiled(*arguments, **options)

    monkeypatch.setattr(runs_together, "_side_by_side", Noted())
    return asked


def test_later_times_are_asked_for_while_a_record_is_put_away(dispatched):
    seen = threading.Event()
    put = []

    def slow(run, index, steps, record):
        if index == 0:
            deadline = time.monotonic() + 60
            while 7 not in dispatched and time.monotonic() < deadline:
                time.sleep(0.001)
            if 7 in dispatched:
                seen.set()
        put.append((run, index, steps))

    runs = runs_of(OrnsteinUhlenbeck(), 2, np.linspace(0.0, 0.7, 8))
    runs_together.record_together(runs, jax.random.split(KEY, 2), slow)
    assert seen.is_set()
    assert sorted(put) == [(run, index, 1) for run in range(2) for index in range(8)]


def test_no_more_records_wait_than_memory_allows(dispatched, monkeypatch):
    monkeypatch.setattr(runs_together, "_MOST_BYTES", 1)
    most, done = [], []

    def slow(run, index, steps, record):
        time.sleep(0.002)
        most.append(len(dispatched) - len(done) // 2)
        done.append(index)

    runs_together.record_together(
        runs_of(OrnsteinUhlenbeck(), 2, np.linspace(0, 1, 20)), jax.random.split(KEY, 2), slow
    )
    assert len(done) == 40
    assert max(most) <= 5


def test_a_failing_record_ends_the_computation_early(dispatched, monkeypatch):
    monkeypatch.setattr(runs_together, "_MOST_BYTES", 1)

    def failing(run, index, steps, record):
        raise OSError("disk full")

    runs = runs_of(OrnsteinUhlenbeck(), 2, np.linspace(0, 1, 100))
    with pytest.raises(OSError, match="disk full"):
        runs_together.record_together(runs, jax.random.split(KEY, 2), failing)
    assert len(dispatched) < 10

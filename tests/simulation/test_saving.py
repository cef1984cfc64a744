"""What `simulate` keeps in memory and streams to files; threads and progress."""

import os
import subprocess
import sys
import time
import tracemalloc

import jax
import numpy as np
import pytest
import xarray as xr
from small_steppers import Dividing, run

from hoam_plugin import ensembles, quadrature
from hoam_plugin.simulators import two_stream

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


def test_progress_goes_to_standard_error(capfd, monkeypatch):
    # Without a terminal it is lines, every half a minute.
    monkeypatch.setattr("hoam_plugin._internal.progress_lines.EVERY", 0.0)
    run(progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "simulate" in err
    assert "100 %" in err
    run(progress=False)
    assert capfd.readouterr() == ("", "")

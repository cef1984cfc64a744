"""Runs on a cluster of processes: the numbers of the threads, and nothing lost where a process is killed."""

import os
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
import xarray as xr
from command_line import hoam_command
from repository import ROOT
from small_steppers import Dividing, OrnsteinUhlenbeck, Slow, run

from hoam_plugin import ensembles
from hoam_plugin.simulators import two_stream

distributed = pytest.importorskip("distributed")
# Processes that are killed close their connections without a word.
pytestmark = pytest.mark.filterwarnings("default")

PARAMETERS = {"theta": [0.5, 1.0, 1.5, 2.0], "sigma": 0.5}
TIMES = [0.0, 0.25, 0.5, 0.75, 1.0]


@pytest.fixture(scope="module")
def client():
    """Two workers of one thread each, which import what this process does."""
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": 0}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


def require_equal(one: xr.Dataset, other: xr.Dataset) -> None:
    one, other = (ds.load().drop_attrs(deep=False) for ds in (one, other))
    xr.testing.assert_identical(one, other)


def complete(store) -> list[str]:
    folder = store.with_name(f"{store.name}.unfinished") / "complete"
    return os.listdir(folder) if folder.exists() else []


def wait_for(condition, seconds=60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.long
def test_runs_on_workers_are_the_runs_of_this_process(client, tmp_path):
    farmed = run(OrnsteinUhlenbeck(), PARAMETERS, rates=True, store=tmp_path / "e.zarr", client=client)
    require_equal(farmed, run(OrnsteinUhlenbeck(), PARAMETERS, rates=True))
    assert os.listdir(tmp_path) == ["e.zarr"]
    start = run(OrnsteinUhlenbeck(), PARAMETERS)
    options = {"initial": start, "n_samples": 20, "times": [0.0, 0.1]}
    require_equal(
        run(OrnsteinUhlenbeck(), PARAMETERS, store=tmp_path / "f.zarr", client=client, **options),
        run(OrnsteinUhlenbeck(), PARAMETERS, **options),
    )


@pytest.mark.long
def test_double_precision_reaches_the_workers(client, tmp_path):
    with jax.enable_x64(True):
        farmed = run(two_stream(n_cells=16), {"mu": [1.3, 1.4]}, [0.0, 0.1], store=tmp_path / "e.zarr", client=client)
        require_equal(farmed, run(two_stream(n_cells=16), {"mu": [1.3, 1.4]}, [0.0, 0.1]))
    assert farmed["x"].dtype == np.float64


def test_failed_runs_are_named_and_the_others_kept(client, tmp_path):
    options = {"dt": 1.0, "times": [0.0, 1.0], "store": tmp_path / "e.zarr", "client": client}
    with pytest.raises(
        FloatingPointError, match=r"1 of 3 runs failed, run 1 \(theta=0, sigma=1\): variable 'q' became"
    ):
        run(Dividing(), {"theta": [1.0, 0.0, 2.0], "sigma": 1.0}, **options)
    assert sorted(complete(tmp_path / "e.zarr")) == ["0", "2"]
    with pytest.raises(FloatingPointError, match="variable 'q' became non-finite at time 1 in the run with"):
        run(Dividing(), {"theta": [0.0], "sigma": 1.0}, **(options | {"store": tmp_path / "f.zarr"}))
    assert os.listdir(tmp_path) == ["e.zarr.unfinished"]


def test_a_worker_that_is_killed_loses_nothing(client, tmp_path):
    store, killed = tmp_path / "e.zarr", []

    def kill() -> None:
        wait_for(lambda: complete(store))
        killed.append(next(iter(client.run(os.getpid).values())))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    farmed = run(Slow(), PARAMETERS, TIMES, store=store, client=client)
    thread.join()
    assert killed[0] not in client.run(os.getpid).values()
    require_equal(farmed, run(OrnsteinUhlenbeck(), PARAMETERS, TIMES))


CHILD = """
import sys
sys.path[:0] = [{helpers!r}]
import distributed
from small_steppers import Slow, run
with distributed.Client({address!r}) as client:
    run(Slow(), {parameters!r}, {times!r}, store={store!r}, client=client)
"""


@pytest.mark.long
def test_a_client_that_is_killed_loses_nothing(client, tmp_path):
    store, helpers = tmp_path / "e.zarr", str(ROOT / "tests" / "helpers")
    address = client.scheduler_info()["address"]
    code = CHILD.format(helpers=helpers, address=address, parameters=PARAMETERS, times=TIMES, store=str(store))
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as child:
        wait_for(lambda: child.poll() is not None or complete(store))
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert 1 <= len(complete(store)) < 4
    with pytest.raises(FileExistsError, match="has an unfinished campaign; pass resume=True"):
        run(Slow(), PARAMETERS, TIMES, store=store, client=client)
    resumed = run(Slow(), PARAMETERS, TIMES, store=store, client=client, resume=True)
    require_equal(resumed, run(OrnsteinUhlenbeck(), PARAMETERS, TIMES))
    assert os.listdir(tmp_path) == ["e.zarr"]


def test_what_a_cluster_is_asked_for(client, tmp_path):
    with pytest.raises(ValueError, match="client= has workers write into one store; name it"):
        run(client=client)
    with pytest.raises(ValueError, match="client= keeps what is complete, and overwrite=True begins anew"):
        run(client=client, store=tmp_path / "e.zarr", overwrite=True)

    class Here(OrnsteinUhlenbeck):
        lock = threading.Lock()

        def __reduce__(self):
            raise TypeError("it holds a lock")

    jax.tree_util.register_static(Here)
    with pytest.raises(
        TypeError, match=r"Here cannot be sent to .* neither be pickled \(it holds a lock\) nor described"
    ):
        run(Here(), client=client, store=tmp_path / "e.zarr")


@pytest.mark.long
def test_the_command_line_has_runs_done_by_a_scheduler(client, tmp_path, capsys):
    words = ("simulate", "duffing", "-p", "mu=0.1,0.3", "--times", "0,0.1", "--samples", 20, "--no-progress")
    address = client.scheduler_info()["address"]
    assert hoam_command(*words, "--scheduler", address, "-o", tmp_path / "e.zarr") == 0
    assert hoam_command(*words, "-o", tmp_path / "f.zarr") == 0
    require_equal(*(ensembles.load(tmp_path / name) for name in ("e.zarr", "f.zarr")))
    assert hoam_command(*words, "--scheduler", address, "-o", tmp_path / "e.nc") != 0
    assert "--scheduler needs a Zarr folder" in " ".join(capsys.readouterr().err.split())

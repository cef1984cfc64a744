"""Stores that are written run by run: their files, and what is left of them where runs fail or processes die."""

import os
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr
from command_line import hoam_command
from repository import ROOT
from small_steppers import Decay, Dividing, OrnsteinUhlenbeck, run

from hoam_plugin import ensembles
from hoam_plugin._internal import leftovers
from hoam_plugin.ensembles.chunking import cut
from hoam_plugin.simulation import sinks
from hoam_plugin.simulation.campaigns import Campaign
from hoam_plugin.steppers import Variable

PARAMETERS = {"theta": [0.5, 1.0, 1.5, 2.0], "sigma": 0.5}


def arrays_of(store: Path) -> dict[str, bytes]:
    """All files of a store but those that hold the time of its creation."""
    files = (path for path in store.rglob("*") if path.is_file())
    return {str(p.relative_to(store)): p.read_bytes() for p in files if p != store / "zarr.json"}


# Files


@pytest.mark.parametrize(
    ("n_times", "shape", "n_buffered", "files"),
    [
        (258, (1_000_000,), 16, 26),
        (258, (1_000_000,), 4, 26),
        (66, (25_000,), 16, 4),
        (258, (3125,), 16, 2),
        (9, (), 3, 1),
    ],
)
def test_files_are_few_and_hold_whole_pieces(n_times, shape, n_buffered, files):
    chunks, shards = cut(n_times, shape, 4, n_buffered)
    assert -(-n_times // shards[1]) == files
    assert all(whole % piece == 0 for piece, whole in zip(chunks, shards, strict=True))
    assert np.prod(chunks) * 4 <= max(1 << 23, 4 * np.prod(shape))
    assert np.prod(shards) * 4 * n_buffered <= 700e6


def test_samples_beyond_a_piece_are_divided():
    chunks, shards = cut(100, (30_000_001, 3), 8, 2)
    assert chunks[1] == shards[1] == 1
    assert np.prod(chunks) * 8 <= 1 << 23
    assert 30_000_001 <= shards[2] < 30_000_001 + chunks[2]


def test_a_million_samples_at_256_times_in_eight_runs_are_fewer_than_500_files():
    of_a_run = sum(-(-256 // cut(256, shape, 4, 16).shards[1]) for shape in ((1_000_000,), (1_000_000,), ()))
    assert 8 * of_a_run < 480


@pytest.mark.parametrize("n_samples", [3, 5000])
def test_samples_come_back_from_several_files_and_pieces(tmp_path, monkeypatch, n_samples):
    from hoam_plugin.ensembles import chunking

    for name, value in {"_LEAST_PIECE": 100, "_LARGEST_PIECE": 8_000, "_FILE_BYTES": 30_000, "_FEW": 3}.items():
        monkeypatch.setattr(chunking, name, value)
    times = np.arange(11.0)
    values = np.random.default_rng(0).normal(size=(2, 11, n_samples, 2)).astype(np.float32)
    frame = ensembles.frame(times, {"mu": [1.0, 2.0]})
    with sinks.ZarrSink(tmp_path / "e.zarr", frame, (Variable("q", dims=("axis",)),), ()) as sink:
        for index in range(11):
            for number in (1, 0):
                sink.put(number, index, {"q": values[number, index]})
        sink.finish()
    np.testing.assert_array_equal(sink.result()["q"].values, values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(xr.open_zarr(tmp_path / "e.zarr", chunks=None)["q"][1, 3:7], values[1, 3:7])
    assert sum(path.is_file() for path in (tmp_path / "e.zarr" / "q" / "c").rglob("*")) > 4


# Failures


class Failing(Dividing):
    """Raises where theta is 0, as a solver does that does not converge."""

    def init(self, key, n_samples, parameters):
        state = super().init(key, n_samples, parameters)
        jax.debug.callback(self._complain, parameters["theta"])
        return state

    def _complain(self, theta):
        if theta == 0:
            raise ArithmeticError("no convergence")


jax.tree_util.register_static(Failing)


def test_failed_runs_are_named_and_the_others_kept(tmp_path):
    store, parameters = tmp_path / "e.zarr", {"theta": [1.0, 0.0, 2.0, 0.0], "sigma": 1.0}
    options = {"dt": 1.0, "times": [0.0, 1.0, 2.0], "store": store}
    said = r"2 of 4 runs failed, run 1 \(theta=0, sigma=1\): .*'theta': 0.0.*; run 3 .*the others are kept in '.*unfin"
    with pytest.raises(FloatingPointError, match=said):
        run(Dividing(), parameters, **options)
    assert os.listdir(tmp_path) == ["e.zarr.unfinished"]
    with pytest.raises(FileExistsError, match=r"store='.*e\.zarr' has an unfinished campaign; pass resume=True"):
        run(Dividing(), parameters, **options)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "e.zarr.unfinished" / "e.zarr" / "q" / "c").iterdir()}
    with pytest.raises(FloatingPointError, match="2 of 4 runs failed"):
        run(Dividing(), parameters, **options, resume=True)
    again = {p: p.stat().st_mtime_ns for p in kept}
    assert sum(kept[path] == again[path] for path in kept) >= 2


def test_errors_of_other_kinds_do_not_lose_the_others_either(tmp_path):
    with pytest.raises(RuntimeError, match=r"1 of 2 runs failed, run 0 \(theta=0, sigma=1\): .*no convergence"):
        run(Failing(), {"theta": [0.0, 1.0], "sigma": 1.0}, dt=1.0, store=tmp_path / "e.zarr")
    assert os.listdir(tmp_path / "e.zarr.unfinished" / "complete") == ["1"]


def test_where_all_runs_fail_nothing_is_kept(tmp_path):
    for resume in (False, True):
        with pytest.raises(FloatingPointError, match="variable 'q' became non-finite"):
            run(Dividing(), {"theta": [0.0, 0.0], "sigma": 1.0}, dt=1.0, store=tmp_path / "e.zarr", resume=resume)
        assert os.listdir(tmp_path) == []


# Going on


def stopped_after(store: Path, n_records: int, monkeypatch: pytest.MonkeyPatch, **options) -> None:
    """Begin a campaign, which ends in the middle."""
    count, put = [0], sinks.ZarrSink.put

    def some(self, number, index, record):
        count[0] += 1
        if count[0] > n_records:
            raise KeyboardInterrupt
        put(self, number, index, record)

    with monkeypatch.context() as patched:
        patched.setattr(sinks.ZarrSink, "put", some)
        with pytest.raises(KeyboardInterrupt):
            run(OrnsteinUhlenbeck(), PARAMETERS, store=store, resume=True, **options)


def test_a_resumed_store_is_the_undisturbed_one_to_the_bit(tmp_path, monkeypatch):
    run(OrnsteinUhlenbeck(), PARAMETERS, store=tmp_path / "whole.zarr", rates=True)
    stopped_after(tmp_path / "e.zarr", 7, monkeypatch, rates=True)
    done = os.listdir(tmp_path / "e.zarr.unfinished" / "complete")
    assert 1 <= len(done) < 4
    begun, record = [], sinks.ZarrSink.put
    monkeypatch.setattr(sinks.ZarrSink, "put", lambda self, r, i, x: (begun.append(r), record(self, r, i, x))[1])
    resumed = run(OrnsteinUhlenbeck(), PARAMETERS, store=tmp_path / "e.zarr", rates=True, resume=True)
    assert set(begun) == set(range(4)) - set(map(int, done))
    assert arrays_of(tmp_path / "e.zarr") == arrays_of(tmp_path / "whole.zarr")
    in_memory = run(OrnsteinUhlenbeck(), PARAMETERS, rates=True)
    xr.testing.assert_identical(resumed.load().assign_attrs(created_at=""), in_memory.assign_attrs(created_at=""))
    assert sorted(os.listdir(tmp_path)) == ["e.zarr", "whole.zarr"]
    # What is finished is only read.
    again = run(OrnsteinUhlenbeck(), PARAMETERS, store=tmp_path / "e.zarr", rates=True, resume=True)
    xr.testing.assert_identical(again.load(), resumed)
    with pytest.raises(ValueError, match=r"store='.*e\.zarr' is finished, with another n_samples: 50, not 60; choose"):
        run(OrnsteinUhlenbeck(), PARAMETERS, store=tmp_path / "e.zarr", rates=True, resume=True, n_samples=60)


def test_other_runs_are_not_mixed(tmp_path, monkeypatch):
    stopped_after(tmp_path / "e.zarr", 4, monkeypatch)

    def says(match, stepper=None, parameters=PARAMETERS, **options):
        with pytest.raises(ValueError, match=r"store='.*e\.zarr' was begun with another " + match):
            run(stepper or OrnsteinUhlenbeck(), parameters, store=tmp_path / "e.zarr", resume=True, **options)

    says(
        "n_samples: 50, not 60; resume with what it was begun with, or remove '.*unfinished' to begin anew",
        n_samples=60,
    )
    says("stepper", stepper=Dividing())
    says("stepper", stepper=OrnsteinUhlenbeck(horizon=(0.0, 3.0)))
    says(r"parameters", parameters={"theta": [0.5, 1.0, 1.5, 2.5], "sigma": 0.5})
    says(r"times: \[0.0, 0.25, 1.0\], not \[0.0, 0.5\]", times=[0.0, 0.5])
    says(r"key: \[0, 0\], not \[0, 1\]", key=jax.random.key(1))
    says("dt: 0.1, not 0.05", dt=0.05)
    says("rates: false, not true", rates=True)
    start = run(OrnsteinUhlenbeck(), PARAMETERS, times=[0.0])
    says("initial", initial=start)
    assert len(arrays_of(tmp_path / "e.zarr.unfinished")) > 3


def test_resume_needs_a_store_and_does_not_overwrite(tmp_path):
    with pytest.raises(ValueError, match="resume=True goes on with the runs of a store; name it"):
        run(resume=True)
    with pytest.raises(ValueError, match="resume=True goes on with what is there, and overwrite=True begins anew"):
        run(store=tmp_path / "e.zarr", resume=True, overwrite=True)


def test_overwriting_replaces_once_complete(tmp_path):
    run(Decay(), {}, [1.0, 2.0], store=tmp_path / "e.zarr")
    with pytest.raises(FloatingPointError):
        run(Dividing(), {"theta": [0.0], "sigma": 1.0}, dt=1.0, store=tmp_path / "e.zarr", overwrite=True)
    assert ensembles.load(tmp_path / "e.zarr").sizes["axis"] == 2
    run(store=tmp_path / "e.zarr", overwrite=True)
    assert "theta" in ensembles.load(tmp_path / "e.zarr").coords
    assert os.listdir(tmp_path) == ["e.zarr"]


CHILD = """
import sys, time, jax
sys.path[:0] = [{helpers!r}]
from small_steppers import OrnsteinUhlenbeck, run
from hoam_plugin.simulation import sinks
put = sinks.ZarrSink.put
sinks.ZarrSink.put = lambda self, r, i, x: (time.sleep(0.2), put(self, r, i, x))[1]
print("begun", flush=True)
run(OrnsteinUhlenbeck(), {parameters!r}, store={store!r}, resume=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_a_killed_process_has_completed_is_kept(tmp_path, number):
    store = tmp_path / "e.zarr"
    code = CHILD.format(helpers=str(ROOT / "tests" / "helpers"), parameters=PARAMETERS, store=str(store))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        complete = tmp_path / "e.zarr.unfinished" / "complete"
        while child.poll() is None and not (complete.exists() and os.listdir(complete)):
            time.sleep(0.01)
        child.send_signal(number)
    assert child.returncode == -number
    assert 1 <= len(os.listdir(complete)) < 4
    resumed = run(OrnsteinUhlenbeck(), PARAMETERS, store=store, resume=True)
    xr.testing.assert_equal(resumed.load(), run(OrnsteinUhlenbeck(), PARAMETERS))
    assert os.listdir(tmp_path) == ["e.zarr"]


def test_stores_of_the_version_before_load(tmp_path):
    import zarr

    ds = run(OrnsteinUhlenbeck(), PARAMETERS)
    group = zarr.open_group(tmp_path / "old.zarr", mode="w")
    for name in ("q", "mean", "steps", "seen"):
        array, dims = ds[name].values, ds[name].dims
        chunks = (1, 1, *array.shape[2:])
        stored = group.create_array(name, shape=array.shape, chunks=chunks, dtype=array.dtype, dimension_names=dims)
        stored[...] = array
        stored.attrs.update(ds[name].attrs)
    ensembles.write_zarr(ds.drop_vars(["q", "mean", "steps", "seen"]), tmp_path / "old.zarr", mode="a")
    xr.testing.assert_equal(ensembles.load(tmp_path / "old.zarr"), ds)


def test_two_do_not_work_in_one_store(tmp_path):
    store = tmp_path / "e.zarr"
    refused = pytest.raises(FileExistsError, match=r"e\.zarr' is being written by another process or thread, in ")
    with Campaign(store).held(), refused:
        run(OrnsteinUhlenbeck(), PARAMETERS, store=store, resume=True)
    run(OrnsteinUhlenbeck(), PARAMETERS, store=store, resume=True)
    assert os.listdir(tmp_path) == ["e.zarr"]


def test_what_a_killed_process_left_of_another_request_is_not_taken(tmp_path):
    store = tmp_path / "e.zarr"
    campaign = Campaign(store)
    with campaign.held():
        campaign.begin({"stepper": "another"})
        for number in range(4):
            campaign.mark_complete(number)
    (campaign.folder / "request.json").unlink()  # as a removal that was killed
    resumed = run(OrnsteinUhlenbeck(), PARAMETERS, store=store, resume=True)
    xr.testing.assert_equal(resumed.load(), run(OrnsteinUhlenbeck(), PARAMETERS))
    # Killed between the completion of the store and the removal of the folder.
    with campaign.held():
        campaign.begin({"stepper": "any"})
    run(OrnsteinUhlenbeck(), PARAMETERS, store=store, resume=True)
    assert os.listdir(tmp_path) == ["e.zarr"]


# The command line


def test_what_was_killed_after_the_store_was_complete_goes_at_the_next_call(tmp_path):
    path = tmp_path / "e.zarr"
    run(store=path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = leftovers.name_aside(path, "gone").name.replace(f"-{os.getpid()}-", f"-{ended.pid}-")
    (tmp_path / left).mkdir()
    run(store=path, resume=True)
    assert os.listdir(tmp_path) == ["e.zarr"]


def test_the_command_line_resumes(tmp_path, capsys):
    words = ("simulate", "duffing", "-p", "mu=0.1,1e30", "--times", "0,1", "--samples", 20, "--no-progress")
    for _ in range(2):
        assert hoam_command(*words, "--resume", "-o", tmp_path / "e.zarr") == 2
        assert "1 of 2 runs failed, run 1 (mu=1e+30)" in " ".join(capsys.readouterr().err.split())
        assert os.listdir(tmp_path / "e.zarr.unfinished" / "complete") == ["0"]
    assert hoam_command(*words, "--resume", "--seed", 1, "-o", tmp_path / "e.zarr") == 2
    assert "was begun with another key" in " ".join(capsys.readouterr().err.split())
    good = (*words[:3], "mu=0.1,0.2", *words[4:])
    for _ in range(2):
        assert hoam_command(*good, "--resume", "-o", tmp_path / "f.zarr") == 0
    assert "2 runs x 2 times x 20 samples" in capsys.readouterr().err
    for more in (("-o", tmp_path / "f.nc"), ("--overwrite", "-o", tmp_path / "f.zarr")):
        assert hoam_command(*good, "--resume", *more) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--resume needs a Zarr folder" in said
    assert "--overwrite begins anew; give one of them" in said

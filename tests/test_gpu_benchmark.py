"""`python -m benchmarks.gpu` at toy size: no row is lost, none is measured twice, the time is kept."""

import dataclasses
import threading

import pytest
import toy
from repository import ROOT


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import gpu

    return gpu


TINY = {"nodes": 4, "per_node": 8, "larger": 8, "n_samples": 64, "many": 64, "n_runs": 2, "n_times": 3}


@pytest.fixture
def bench(gpu, tmp_path):
    def made(resume=False, seconds=1000.0):
        table = gpu.Table(tmp_path, resume=resume, heading="# Toy")
        return gpu.Bench(gpu.SMALL._replace(most_iterations=3, dimensions=(2,), **TINY), table, seconds, tmp_path)

    return made


@pytest.mark.long
def test_all_parts_leave_rows_and_are_not_repeated(gpu, bench, tmp_path, monkeypatch):
    lorenz9 = gpu.PROBLEMS["lorenz9"]
    short = lorenz9._replace(make=lambda: dataclasses.replace(lorenz9.make(), horizon=(0.0, 0.2), dt=0.05))
    monkeypatch.setitem(gpu.PROBLEMS, "lorenz9", short)
    monkeypatch.setattr(gpu, "seconds_per_iteration", lambda setup, data: 1e-3)
    gpu.measure(bench(), ["lorenz9"])
    text = (tmp_path / "gpu.md").read_text()
    assert text.startswith("# Toy\n\n## Step\n\n")
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("| ")]
    assert ["2", "4 x 8", "float32", "1.00"] in [row[:4] for row in rows]
    own = next(row for row in rows if row[0] == "lorenz9")
    assert own[1:3] == ["3", "50000"]
    assert own[6] == "surrogate"
    assert {row[6] for row in rows if row[0] == "lorenz9"} >= {"surrogate", "noise_floor", "frozen"}
    rolled = {(row[0], row[2]): row for row in rows if row[1] == "lorenz9"}
    assert ("simulate, truth", "2 x 64") in rolled
    assert ("solve, surrogate", "1 x 64") in rolled
    assert int(rolled["simulate, truth", "1 x 64"][3]) == 4
    assert len(rolled) == 5

    # Taken up again, with no time: nothing is lost, and nothing runs.
    for name in ("truth_of", "simulated", "synthetic_data"):
        monkeypatch.setattr(gpu, name, None)
    gpu.measure(bench(resume=True), ["lorenz9"])
    assert (tmp_path / "gpu.md").read_text() == text


def test_rows_are_on_disk_before_the_next_is_measured(gpu, bench, tmp_path):
    table = bench().table
    table.add("step", "a", ["2", "4 x 8", *["-"] * 6])
    assert "| 2 | 4 x 8 |" in (tmp_path / "gpu.md").read_text()
    assert bench(resume=True).table.has("step", "a")
    assert not bench(resume=False).table.has("step", "a")
    assert table.plan("iterations", lambda: 7) == 7
    assert bench(resume=True).table.plan("iterations", lambda: 9) == 7


def test_without_time_nothing_is_begun(gpu, bench, tmp_path):
    gpu.measure(bench(seconds=0.0))
    assert not (tmp_path / "gpu.md").exists()


def test_iterations_fill_the_time_and_no_more(gpu, bench, monkeypatch):
    monkeypatch.setattr(gpu, "seconds_per_iteration", lambda setup, data: 0.01)
    own = bench()
    sizes = own.sizes._replace(most_iterations=None)
    own = dataclasses.replace(own, sizes=sizes)
    assert gpu.iterations_for(own, "two_stream", 100.0) == 8000
    assert gpu.iterations_for(own, "two_stream", 1e6) == 25_000
    assert gpu.iterations_for(own, "lorenz9", 1e-9) == 1


@pytest.mark.long
def test_a_training_that_takes_too_long_is_stopped_and_leaves_its_model(gpu, bench, tmp_path, capsys, monkeypatch):
    path = tmp_path / "gpu_toy.hoam"

    class Soon(threading.Timer):
        """Its time is over when another checkpoint has been written."""

        def run(self):
            before = written()
            while written() == before and not self.finished.wait(0.01):
                pass
            pause = 0.0  # An interrupt that reaches the main thread in a destructor is lost.
            while not self.finished.wait(pause):
                self.function()
                pause = 5.0

    def written():
        return path.stat().st_mtime_ns if path.exists() else 0

    settings = dataclasses.replace(bench(), sizes=gpu.SMALL).recipe(10_000_000)
    options = {"n_samples": 8, "n_end_samples": 8, "block": 5, "checkpoint_seconds": 0.0}
    settings["training"] = dataclasses.replace(settings["training"], **options)
    monkeypatch.setattr(gpu.threading, "Timer", Soon)
    ds = toy.moving_gaussian(n_samples=64, n_times=5)
    # The second is of other samples, so that the first one's checkpoint is of no use.
    for training, says in ((ds, ""), (ds.assign(y=2 * ds["y"]), "begins anew")):
        model = gpu.trained(training, path, settings, limit=1.0)
        said = capsys.readouterr().out
        assert says in said
        assert "training was interrupted" in said
        assert 0 < model.history.sizes["iteration"] < 10_000_000


def test_peaks_are_those_of_the_card_and_the_precision(gpu):
    assert gpu.peak("NVIDIA H100 80GB HBM3", None) == gpu.peak("NVIDIA H100 80GB HBM3", "tensorfloat32") == 494.5
    assert gpu.peak("NVIDIA H100 80GB HBM3", "float32") == 67.0
    assert gpu.peak("NVIDIA H100 PCIe", "BF16_BF16_F32") == 756.5
    assert gpu.peak("NVIDIA A100-SXM4-80GB", None) == 156.0
    assert gpu.peak("cpu", None) is None


def test_the_two_counts_of_operations_agree_in_size(gpu, bench):
    """XLA also counts what is not a product of square matrices; both grow with samples and nodes alike."""
    own = bench()
    wide = dataclasses.replace(own.sizes.potential, width=64, depth=4)
    setup, data = gpu.step_of(dataclasses.replace(own, sizes=own.sizes._replace(potential=wide)), 2, 64, None)
    products, counted = gpu.analytic_flops(setup, data), gpu.counted_flops(setup, data)
    assert products < counted < 2 * products
    assert products == 2 * 3 * 4 * 64 * 5 * 64**2 * 2

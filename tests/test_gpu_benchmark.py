"""`python -m benchmarks.gpu` at toy size: no row is lost, none is measured twice, the time is kept."""

import dataclasses

import pytest
from repository import ROOT


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import gpu

    return gpu


TINY = {"nodes": 4, "per_node": 8, "larger": 16, "n_samples": 64, "many": 80, "n_runs": 2, "n_times": 3}


@pytest.fixture
def bench(gpu, tmp_path):
    def made(resume=False, seconds=1000.0):
        table = gpu.Table(tmp_path, resume=resume, heading="# Toy")
        return gpu.Bench(gpu.SMALL._replace(most_iterations=3, dimensions=(2,), **TINY), table, seconds, tmp_path)

    return made


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
    assert ("solve, surrogate", "1 x 80") in rolled
    assert int(rolled["simulate, truth", "1 x 80"][3]) == 4
    assert len(rolled) == 6

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
    assert gpu.iterations_for(own, "two_stream", 100.0) == 9000
    assert gpu.iterations_for(own, "two_stream", 1e6) == 25_000
    assert gpu.iterations_for(own, "lorenz9", 1e-9) == 1


def test_peaks_are_those_of_the_card_and_the_precision(gpu):
    assert gpu.peak("NVIDIA H100 80GB HBM3", None) == gpu.peak("NVIDIA H100 80GB HBM3", "tensorfloat32") == 494.5
    assert gpu.peak("NVIDIA H100 80GB HBM3", "float32") == 67.0
    assert gpu.peak("NVIDIA H100 PCIe", "BF16_BF16_F32") == 756.5
    assert gpu.peak("NVIDIA A100-SXM4-80GB", None) == 156.0
    assert gpu.peak("cpu", None) is None


def test_the_two_counts_of_operations_agree_in_size(gpu, bench):
    """XLA also counts what is not a product of square matrices; both grow with samples and nodes alike."""
    own = bench()
    wide = dataclasses.replace(own, sizes=own.sizes._replace(potential=None))
    setup, data = gpu.step_of(wide, 2, 64, None)
    products, counted = gpu.analytic_flops(setup, data), gpu.counted_flops(setup, data)
    assert products < counted < 2 * products
    assert products == 2 * 3 * 4 * 64 * 5 * 64**2 * 5

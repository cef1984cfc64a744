"""The commands that fill tables of learning, at toy size: a row is computed, kept, and not computed again."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import xarray as xr
from repository import ROOT

import hoam_plugin as hoam


@pytest.fixture(autouse=True)
def _checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture
def rows(tmp_path):
    from benchmarks.resumable import Rows

    columns = {"problem": "problem", "SW": "sw", "nobody's": "other"}
    return Rows(tmp_path / "toy.jsonl", ("problem", "seed"), columns, "# Toy", lambda row: row["sw"])


@pytest.fixture
def tiny(monkeypatch):
    """Problems of two runs and few samples over a short time, with a network that compiles fast."""
    from benchmarks import learning, samples_alone

    def shrink(name):
        task = learning.TASKS[name]

        def made():
            return dataclasses.replace(task.case.stepper(), horizon=(0.0, 0.2), dt=0.1)

        training = {name: values[:2] for name, values in task.case.training.items()}
        held_out = {name: [float(np.mean(values))] for name, values in training.items()}
        sizes = {"n_samples": 64, "n_times": 3, "training": training, "held_out": held_out, "dt": None}
        return task._replace(case=task.case._replace(stepper=made, **sizes), nodes=4)

    for name in ("oscillator", "lorenz9"):
        monkeypatch.setitem(learning.TASKS, name, shrink(name))
    potential = hoam.CoLoRA(width=4, depth=2, rank=1, hyper_width=3, hyper_depth=2)

    def fit(task, ds, key, training):
        training = dataclasses.replace(training, n_samples=8, n_end_samples=8, held_out=0)
        return hoam.fit(ds, key=key, potential=potential, training=training, progress=False)

    own = samples_alone.METHODS["default"]._replace(fit=fit)
    monkeypatch.setitem(samples_alone.METHODS, "default", own)
    monkeypatch.setattr(learning, "iterations_in", lambda *_: 2)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_are_appended_at_once_and_not_computed_again(rows, tmp_path):
    asked = []

    def compute(problem, seed):
        asked.append((problem, seed))
        if (problem, seed) == ("a", 1):
            raise RuntimeError("not this one")
        if seed == 2:
            assert [row["seed"] for row in lines(tmp_path / "toy.jsonl")] == [0]
        return {"sw": [0.12345, None], "other": None} if seed == 0 else {"sw": [0.01, 2000.0]}

    units = [{"problem": "a", "seed": seed} for seed in (0, 1, 2)]
    assert rows.complete(units, compute) == 1
    assert asked == [("a", 0), ("a", 1), ("a", 2)]
    assert (tmp_path / "toy.md").read_text() == (
        "# Toy\n\n| problem | SW |\n| --- | --- |\n| a | 0.01 / 2000 |\n| a | 0.123 / - |\n"
    )
    asked.clear()
    assert rows.complete(units, compute) == 1
    assert asked == [("a", 1)]


def test_a_line_that_was_cut_off_is_no_row(rows, tmp_path):
    rows.add({"problem": "a", "seed": 0}, {"sw": 1.0})
    whole = (tmp_path / "toy.jsonl").read_text()
    (tmp_path / "toy.jsonl").write_text(whole + '{"problem": "a", "seed": 1, "s')
    assert not rows.has({"problem": "a", "seed": 1})
    rows.add({"problem": "a", "seed": 1}, {"sw": 2.0})
    assert [row["sw"] for row in rows.read()] == [1.0, 2.0]


def test_the_later_of_two_rows_of_a_unit_counts(rows):
    for sw in (1.0, 2.0):
        rows.add({"problem": "a", "seed": 0}, {"sw": sw})
    assert [row["sw"] for row in rows.read()] == [2.0]


def test_cells_are_text_of_one_column():
    from benchmarks.resumable import cell

    assert [cell(value) for value in (None, "", [], 3, "a|b\nc", 0.00012345)] == ["-"] * 3 + ["3", "a/b c", "0.000123"]


@pytest.mark.long
def test_samples_alone_computes_a_row_once_and_simulates_once(tiny, tmp_path, monkeypatch):
    from benchmarks import learning, samples_alone

    words = ["--problems", "oscillator", "--methods", "default", "floor", "--minutes", "0"]
    words += ["--out", str(tmp_path), "--cache", str(tmp_path / "cache"), "--models", str(tmp_path / "models")]
    assert samples_alone.main(words) == 0
    floor, own = lines(tmp_path / "samples_alone.jsonl")
    assert (floor["method"], floor["seed"], floor["scored_on"]) == ("floor", None, "64 x 2")
    assert (own["method"], own["clock"], own["seed"], own["model"]) == ("default", "population", 0, "yes")
    assert 0 < floor["sliced_wasserstein"][0] < own["sliced_wasserstein"][0]
    assert own["rollout_s"] > 0
    assert (own["iterations"], own["verdict"], own["warnings"]) == (2, "still improving", [])
    assert own["validation_best"] <= own["validation_last"]
    text = (tmp_path / "samples_alone.md").read_text()
    assert "| oscillator | default | population | 0 | 0 | 64 x 2 | " in text
    assert " e.e. |" not in text  # no field in this problem
    (model,) = (tmp_path / "models").iterdir()
    assert [v.name for v in hoam.load(model).variables] == ["x"]

    # Taken up again, nothing is simulated or learned, but for what is new.
    monkeypatch.setattr(learning, "outcome", None)
    monkeypatch.setattr(learning.problems, "simulated", None)
    words[words.index("floor")] = "frozen"
    assert samples_alone.main(words) == 0
    assert [row["method"] for row in lines(tmp_path / "samples_alone.jsonl")] == ["floor", "default", "frozen"]
    assert text.splitlines()[-1] in (tmp_path / "samples_alone.md").read_text()


def test_no_kinetic_row_without_velocities():
    from benchmarks import samples_alone

    units = list(samples_alone.units(["oscillator", "duffing", "trap"], ["kinetic", "frozen"], [0, 1], 1.0, "physical"))
    assert [(u["problem"], u["seed"]) for u in units if u["method"] == "kinetic"] == [("duffing", 0), ("duffing", 1)]
    assert [u["problem"] for u in units if u["method"] == "frozen"] == ["oscillator", "duffing", "trap"]


def test_stability_trains_with_what_its_row_says(tiny, tmp_path, monkeypatch):
    from benchmarks import learning, stability

    seen = []

    def outcome(train, held, case, *, seed):
        train()
        return learning.Outcome({"model": "yes", "sliced_wasserstein": [0.5]}, None)

    monkeypatch.setattr(stability.hoam, "fit", lambda ds, **options: seen.append((ds, options)))
    monkeypatch.setattr(learning, "outcome", outcome)
    words = ["--problems", "lorenz9", "--nodes", "16", "60 equal", "--factors", "3", "--iterations", "2"]
    words += ["--out", str(tmp_path), "--cache", str(tmp_path)]
    for _ in range(2):
        assert stability.main(words) == 0
    (gauss, _), (equal, options) = seen
    assert np.count_nonzero(gauss["quadrature_weight"]) == 16
    assert equal["time"].values == pytest.approx(np.linspace(0, 0.2, 60))
    expected = dataclasses.replace(hoam.Training(), learning_rate=3 * hoam.Training().learning_rate, iterations=2)
    assert options["training"] == expected
    assert [row["nodes"] for row in lines(tmp_path / "stability.jsonl")] == ["floor", "16", "60 equal"]
    assert "| lorenz9 | 60 equal | physical | 3 | 0 | yes | 2 | - | 0.5 |" in (tmp_path / "stability.md").read_text()
    plain = [*words[:4], "--factors", "1", *words[-4:]]
    assert stability.main(plain) == 0
    assert "training" not in seen[-1][1]


def test_leads_are_sorted_by_their_score(tmp_path):
    from benchmarks import leads

    rows = leads.rows_in(tmp_path, "lorenz9")
    for name, sw in (("default", [0.2, 0.2]), ("epsilon 0", None), ("adam 2e-3", [0.1, 0.2])):
        unit = {"problem": "lorenz9", "lead": name, "seconds": 1.0, "seed": 0}
        rows.add(unit, {} if sw is None else {"sliced_wasserstein": sw})
    table = [line.split(" | ") for line in (tmp_path / "leads_lorenz9.md").read_text().splitlines()]
    assert [row[0] for row in table if len(row) > 3][2:] == ["| adam 2e-3", "| default", "| epsilon 0"]


def test_every_lead_is_trained_as_it_says(tmp_path, monkeypatch):
    """All options are known to what takes them, and reach `fit`; the training has the iterations of its time."""
    from benchmarks import leads, learning

    asked = []

    def gauss(self, name, nodes, clock):
        return xr.Dataset(attrs={"nodes": nodes, "clock": clock})

    def fit(ds, *, key, training, structure, progress, **options):
        asked.append((ds.attrs, structure, training, options))

    monkeypatch.setattr(leads.hoam, "fit", fit)
    monkeypatch.setattr(learning.Data, "gauss", gauss)
    monkeypatch.setattr(learning.Data, "held_out", lambda self, name, seed=1: None)
    monkeypatch.setattr(learning, "iterations_in", lambda seconds, train, training: round(10 * seconds))
    monkeypatch.setattr(learning, "outcome", lambda train, *_, seed: learning.Outcome({"x": train()}, None))
    study = leads.Study(learning.Data(tmp_path))
    for name in leads.LEADS:
        study.row("lorenz9", name, 3.0, 0)
    by_name = dict(zip(leads.LEADS, asked, strict=True))
    assert all(training.iterations == 30 for _, _, training, _ in asked)
    assert by_name["default"][0] == {"nodes": 256, "clock": "population"}
    assert by_name["512 nodes x 4 samples"][0]["nodes"] == 512
    assert by_name["512 nodes x 4 samples"][2].n_samples == 4
    assert by_name["epsilon 0.3"][3]["loss"].epsilon == 0.3
    assert by_name["lion 6e-4"][2].optimiser == "lion"
    assert by_name["clock physical"][0]["clock"] == by_name["clock physical"][3]["clock"] == "physical"
    field = by_name["MomentMatching, field"]
    assert (field[1], field[2].n_samples) == ("field", hoam.MomentMatching().default_training()["n_samples"])


@pytest.mark.parametrize("has_seconds", [True, False])
def test_iterations_follow_from_the_pace_of_the_first(has_seconds, monkeypatch):
    from benchmarks import learning

    clock = [0.0]
    monkeypatch.setattr(learning.time, "perf_counter", lambda: clock[0])

    class Model:
        history = xr.Dataset({"seconds": ("iteration", [1.0] * 20 + [0.01] * 80)} if has_seconds else {})

    def train(training):
        clock[0] += 5.0 + 0.01 * training.iterations
        return Model()

    n = learning.iterations_in(26.0, train, hoam.Training())
    assert n == pytest.approx(21.0 / 0.01 / 1.05, rel=1e-3)
    assert learning.iterations_in(26.0, train, hoam.Training(), most=7) == 7
    assert learning.iterations_in(0.0, train, hoam.Training()) == 1


def test_a_training_that_diverges_leaves_a_row(tmp_path):
    from benchmarks import learning

    def train(*_):
        raise hoam.TrainingDivergedError("the loss became nan")

    row, model = learning.outcome(train, xr.Dataset(), learning.TASKS["lorenz9"].case, seed=0)
    assert model is None
    assert (row["model"], row["verdict"], row["sentence"]) == ("no", "diverged", "the loss became nan")
    assert learning.iterations_in(1.0, train, hoam.Training(iterations=9)) == 9


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["HOAM as published", "AM, random times", "CFM", "NCSM", "moments alone", "floor, few"]
)
def test_every_method_fills_its_row(method, tiny, tmp_path):
    from benchmarks import samples_alone

    words = ["--problems", "lorenz9", "--methods", method, "--minutes", "0", "--out", str(tmp_path)]
    assert samples_alone.main([*words, "--cache", str(tmp_path)]) == 0
    (row,) = lines(tmp_path / "samples_alone.jsonl")
    assert np.isfinite(row["histogram_l1"]).all()
    assert jax.tree.leaves(row["sliced_wasserstein"])


def test_steps_of_equal_error():
    from benchmarks import equal_error

    simulator = {(1, ""): 0.5, (2, ""): 0.1, (4, ""): 0.02, (8, ""): 0.004, (4, "coarse"): 0.03}
    assert equal_error._cheapest(simulator, 0.1) == (2, "")
    assert equal_error._cheapest(simulator, 0.03) == (4, "coarse")
    # Where nothing is as good, the best.
    assert equal_error._cheapest(simulator, 0.001) == (8, "")
    errors = equal_error.Errors(0.0, {0: 0.02, 1: 0.3, 2: 0.024, 4: 0.02}, simulator, {})
    # One step per interval is too bad; four steps of the simulator's are as good as two of the surrogate's.
    assert equal_error._most_saving(errors, 6.0) == 2
    assert equal_error._most_saving(errors._replace(surrogate={0: 0.02, 1: 0.3}), 6.0) == 0


def test_runs_of_equal_error_land_on_the_saved_times():
    from benchmarks.equal_error_runs import seconds_in_turn, simulator_run
    from hoam_plugin import simulators

    sim, times = simulators.two_stream(n_cells=16), np.linspace(0.0, 1.0, 3)
    state = sim.init(jax.random.key(0), 32, {"mu": 1.5})
    run = simulator_run(sim, state, times, {"mu": 1.5}, 0.25)
    moved = state
    for _ in range(4):
        moved = sim.step(moved, 0.25, {"mu": 1.5})
    assert run()["x"].shape == (2, 32)
    np.testing.assert_allclose(run()["v"][-1], moved.v, atol=1e-5)
    assert len(seconds_in_turn([run, run], budget=0.0)) == 2

"""Held-out samples, the judge of a training, and its verdict."""

import dataclasses
import itertools
import re
from typing import Any

import jax
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.training import held_out, iterations, verdict
from hoam_plugin.training.choices import resolve
from hoam_plugin.training.judge import judge_of
from hoam_plugin.training.run import TrainingRun
from hoam_plugin.training.trail import Course, Trail
from hoam_plugin.training.windows import TrainingSamples

TRAINING = hoam.Training(iterations=40, n_samples=64, block=10, learning_rate=2e-2, warmup=10)


def choices_of(ds: xr.Dataset, training: hoam.Training = TRAINING) -> Any:
    return resolve(
        ds,
        structure=None,
        potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5),
        loss=hoam.ActionMatching(epsilon=0.0),
        training=training,
        replaces=None,
        validate=None,
        clock="physical",
        base=None,
    )


def test_held_out_samples_are_the_same_trajectories_and_spread_over_the_start() -> None:
    ds = toy.moving_gaussian()
    training, judging = held_out.split(ds, 128, jax.random.key(3))
    again = held_out.split(ds, 128, jax.random.key(3))[1]
    for run, (kept, out) in enumerate(zip(training, judging, strict=True)):
        np.testing.assert_array_equal(np.sort(np.concatenate([kept, out])), np.arange(2048))
        np.testing.assert_array_equal(out, again[run])
        start = ds["y"].values[run, 0]
        # 128 independent samples would be off by 0.09.
        assert abs(start[out].mean() - start.mean()) < 0.02
    assert not np.array_equal(judging[0], held_out.split(ds, 128, jax.random.key(4))[1][0])


@pytest.mark.long
def test_held_out_samples_take_no_part_in_training() -> None:
    """Held-out samples are replaced by nonsense: training is bit for bit the same, and the judge is not."""
    ds, key = toy.moving_gaussian(n_samples=1024), jax.random.key(5)
    choices = choices_of(ds, dataclasses.replace(TRAINING, sample_memory=40_000, held_out=100))
    training_rows, judging_rows = held_out.split(ds, 100, key)
    y = ds["y"].values.copy()
    for run, rows in enumerate(judging_rows):
        y[run, :, rows] += np.random.default_rng(run).normal(0, 5, (100, 9)).astype(np.float32)
    results = []
    for values in (ds["y"].values, y):
        changed = dataclasses.replace(choices.runs, ensemble=ds.assign(y=(ds["y"].dims, values)))
        samples = TrainingSamples(changed, choices.training, jax.random.key(1), rows=training_rows)
        judged = dataclasses.replace(choices.judged, ensemble=changed.ensemble)
        judge = judge_of(dataclasses.replace(choices, judged=judged), samples, judging_rows, jax.random.key(2))
        run = TrainingRun(choices.setup, samples, key, choices.surrogates(key), None, judge, lambda model: model)
        assert samples._n_windows > 1
        run.train(progress=False)
        results.append(run._trail)
    before, after = results
    np.testing.assert_array_equal(before.history()["loss"], after.history()["loss"])
    for a, b in zip(jax.tree.leaves(before.latest), jax.tree.leaves(after.latest), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(before.history()["validation"], after.history()["validation"])


def test_how_many_are_held_out() -> None:
    training = hoam.Training(n_samples=64, n_end_samples=64)
    assert training.held_out_of(25_000, 64) == 2000
    assert training.held_out_of(1000, 64) == 100
    assert training.held_out_of(300, 64) == 0  # 30 tell nothing
    assert dataclasses.replace(training, n_samples=960).held_out_of(1000, 64) == 40  # those that are left
    assert dataclasses.replace(training, held_out=7).held_out_of(1000, 64) == 7
    with pytest.raises(ValueError, match=r"held_out=1000 must be below the 1000 samples"):
        dataclasses.replace(training, held_out=1000).held_out_of(1000, 64)


def test_of_what_the_noise_leaves_open_the_last_is_taken() -> None:
    """Later is rather better; but the model may not drift away from the lowest judgement within the noise."""
    state = iterations.start_of(TRAINING, {"w": np.zeros(1, np.float32)})
    trail = Trail(state, 10)
    wiggle = np.asarray([0.3, -0.3, 0.3, -0.3])  # a standard error of 0.17
    for mean in (-1.0, -0.9, -0.8, -0.7):
        record = iterations.BlockRecord(state, np.zeros(10), np.zeros(10), 1.0)
        trail.append(record, mean + (wiggle if mean > -1 else 0 * wiggle))
    assert trail.best is not None
    assert trail.best.iteration == 20
    assert trail.iterations_since_lowest == 30


@pytest.mark.long
def test_few_samples_are_judged_by_themselves() -> None:
    model = toy.small_surrogate(toy.moving_gaussian(n_samples=256))
    assert model.history.attrs["judged_on"] == "samples of the training"
    assert float(model.history["validation"][-1]) < 0


def test_the_judge_is_the_mean_over_all_of_its_samples() -> None:
    """Its subsets are disjoint, so that their values have the noise of the judge; all runs and nodes take part."""
    choices = choices_of(toy.moving_gaussian())
    training_rows, judging_rows = held_out.split(choices.runs.ensemble, 204, jax.random.key(5))
    samples = TrainingSamples(choices.runs, choices.training, jax.random.key(1), rows=training_rows)
    judge = judge_of(choices, samples, judging_rows, jax.random.key(2))
    points = np.asarray(judge.data.points)
    assert points.shape[:3] == (3, 9, 4)
    norm = choices.dynamics.normalisation
    held = np.asarray(norm.raw_samples(choices.runs.ensemble["y"].values[0, 0, judging_rows[0], None], np.float32))
    used = points[0, 0].ravel()
    assert len(np.unique(used)) == used.size
    assert np.isin(used, held).all()


def test_in_doubt_all_samples_of_the_same_groups_are_asked() -> None:
    """They are others, in arrays of the same shape, and are not read before they are asked for."""
    choices = choices_of(toy.moving_gaussian(n_samples=4096), dataclasses.replace(TRAINING, n_samples=16))
    training_rows, judging_rows = held_out.split(choices.runs.ensemble, 400, jax.random.key(5))
    samples = TrainingSamples(choices.runs, choices.training, jax.random.key(1), rows=training_rows)
    judge = judge_of(choices, samples, judging_rows, jax.random.key(2))
    assert "_further" not in vars(judge)
    assert len(judge._further) == min(8, 100 // judge.data.points.shape[3]) - 1 >= 3
    everyone = np.stack([np.asarray(one.data.points)[0, 3] for one in (judge, *judge._further)])
    assert len(np.unique(everyone)) == everyone.size
    weights = iterations.start(choices.setup, jax.random.key(7), judge.data.conditions.shape[-1]).average
    moving = jax.tree.map(lambda leaf: leaf + 0.1, weights)
    of_each = [one.values(moving) for one in (judge, *judge._further)]
    np.testing.assert_allclose(judge.values_on_all(moving), np.mean(of_each, axis=0))
    assert np.ptp([values.mean() for values in of_each]) > 0


def test_the_clearest_model_lies_furthest_below_the_beginning_on_the_side_of_caution() -> None:
    state = iterations.start_of(TRAINING, {"w": np.zeros(1, np.float32)})
    trail = Trail(state, 10)
    trail.start_values = np.zeros(4)
    wiggle = np.asarray([1.0, -1.0, 1.0, -1.0])
    for mean, noise in ((-0.1, 0.01), (-0.5, 0.1), (-0.9, 1.0), (-1.0, 1.0)):
        record = iterations.BlockRecord(state, np.zeros(10), np.zeros(10), 1.0)
        trail.append(record, mean + noise * wiggle)
    assert trail.best is not None
    assert trail.clearest is not None
    assert (trail.best.iteration, trail.clearest.iteration) == (40, 20)


def scripted(monkeypatch: pytest.MonkeyPatch, values: list[np.ndarray], on_all: list[float]) -> xr.Dataset:
    """The history of a training whose judge says these, of the beginning 0."""
    said, of_all = iter([np.zeros(4), *values]), iter(on_all)
    monkeypatch.setattr("hoam_plugin.training.judge.Judge.values", lambda self, weights: next(said))
    monkeypatch.setattr(
        "hoam_plugin.training.judge.Judge.values_on_all", lambda self, weights: np.full(4, next(of_all))
    )
    monkeypatch.setattr("hoam_plugin.training.judge.Judge.values_on_half_the_times", lambda self, weights: None)
    training = hoam.Training(iterations=110, n_samples=64, block=10, learning_rate=2e-3, warmup=2)
    return hoam.fit(
        toy.moving_gaussian(speeds=(2.0,)),
        key=jax.random.key(1),
        potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5),
        loss=hoam.ActionMatching(epsilon=0.0),
        training=training,
        progress=False,
    ).history


NOISY = np.asarray([1.0, -1.0, 1.0, -1.0])
JUDGED = [np.full(4, -0.1 * i) + (0.02 if i < 5 else 1.0) * NOISY for i in range(1, 12)]


@pytest.mark.long
def test_where_the_best_model_is_in_doubt_the_clearest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked on more samples, in the order model, beginning: first of the best, the last one, then of the clearest."""
    assert scripted(monkeypatch, JUDGED, [0.1, 0.0]).attrs["best_iteration"] == 40
    doubtful = [values + 0.2 * NOISY for values in JUDGED]
    assert scripted(monkeypatch, doubtful, [0.1, 0.0, -0.3, 0.0]).attrs["best_iteration"] == 40
    assert scripted(monkeypatch, doubtful, [-0.1, 0.0]).attrs["best_iteration"] == 110
    with pytest.warns(UserWarning, match="no model on the way was judged better than none"):
        assert scripted(monkeypatch, doubtful, [0.1, 0.0, 0.3, 0.0]).attrs["best_iteration"] == 0


def course(values: list[float], losses: list[float], noise: float = 0.0) -> Course:
    wiggles = noise * np.asarray([[1, -1, 0, 0], [0, 1, -1, 0], [0, 0, 1, -1], [-1, 0, 0, 1]])
    spread = np.asarray([v + wiggles[i % 4] for i, v in enumerate(values)])
    return Course(np.arange(100.0, 100.0 * len(values) + 1, 100.0), spread, np.asarray(losses))


START = np.zeros(4)


def test_a_loss_that_falls_while_the_judge_rises_is_exploited() -> None:
    falling = [-0.5, -0.9, -1.1, -1.3, -1.6]
    assert verdict.got_worse(course([-0.5, -0.9, -1.0, -0.7, -0.6], falling), START, 2000) is not None
    # Once may be chance, a little may be noise, and with a rising loss it is no exploit.
    assert verdict.got_worse(course([-0.5, -0.9, -1.0, -0.95, -0.6], falling), START, 2000) is None
    assert verdict.got_worse(course([-0.5, -0.9, -1.0, -0.7, -0.6], falling, noise=0.4), START, 2000) is None
    assert (
        verdict.got_worse(course([-0.5, -0.9, -1.0, -0.7, -0.6], [-0.5, -0.9, -1.0, -0.7, -0.6]), START, 2000) is None
    )
    # A little for a quarter of training counts, too.
    slowly = [-0.5, -0.9, -1.0, -0.96, -0.95]
    assert verdict.got_worse(course(slowly, falling), START, 2000) is None
    assert verdict.got_worse(course(slowly, falling), START, 800) is not None


def test_verdicts() -> None:
    def outcome(values: list[float], noise: float = 0.0, half: float | None = None) -> str:
        seen = course(values, values, noise)
        best = seen.values[np.argmin(seen.values.mean(axis=1))]
        return verdict.ending(seen, START, None if half is None else best + half, best).outcome

    flat, steep = [-0.5, -0.9, *[-1.0] * 7], [-0.1 * i for i in range(1, 10)]
    assert outcome(flat) == "converged"
    assert outcome(steep) == "still improving"
    assert outcome(flat, half=0.05) == "converged"
    assert outcome(flat, half=-0.5) == "limited by the saved times"
    # A gain within the noise is none.
    assert outcome([*flat[:6], -1.02, -1.04, -1.05], noise=0.5) == "converged"
    assert outcome([0.5, 0.4, 0.3, 0.2]) == "still improving"


@pytest.mark.parametrize(
    ("last", "noise", "word", "says"),
    [
        # Of 1.0 that all of training gained, the last three judgements gained `last`, by a straight line.
        (0.2, 0.0, "still improving", "gained 20.0% .* more than the judge's scatter of 0.0% .*: more .* would help$"),
        (0.2, 0.02, "still improving", "gained 20.0% .* scatter of 4.0% and than the 1% that counts"),
        (0.2, 0.2, "converged", "gained 20.0% .* with a scatter of 40.0%, cannot tell from none: .* may help or not"),
        (0.004, 0.0, "converged", "gained 0.4% .* scatter of 0.0% no more than the 1% .*: .* would hardly help"),
        (0.009, 0.002, "converged", "gained 0.9% .* than the judge's scatter of 0.4%, but .* would help little"),
        (0.004, 0.05, "converged", "gained 0.4% .* with a scatter of 10.0%, cannot tell from none"),
        (-0.2, 0.02, "converged", "lost 20.0% of all .* more than the judge's scatter of 4.0%: longer did not help"),
    ],
)
def test_a_verdict_says_what_was_decided_and_why(last: float, noise: float, word: str, says: str) -> None:
    """The gain of the last third beside its two standard errors, both as shares of all that training gained."""
    end = -1.0 if last > 0 else -1.0 - last
    values = np.asarray([-0.3, -0.5, -0.6, -0.6, -0.6, -0.6, end + last, end + last / 2, end])
    # Four subsets whose gains differ: their standard error is `noise`.
    apart = noise * np.sqrt(3) * np.asarray([1.0, -1.0, 1.0, -1.0])
    seen = course(values.tolist(), values.tolist())
    seen = seen._replace(values=seen.values - np.r_[np.zeros(6), 0, 0.5, 1][:, None] * apart)
    ended = verdict.ending(seen, START, None, None)
    assert ended.outcome == word
    assert re.search(says, ended.sentence), ended.sentence
    assert not ended.advice


@pytest.mark.long
def test_an_exploited_loss_is_caught_by_the_judge_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard says nothing, as on lorenz9; scripted judgements rise while the loss falls."""
    # After the seventh block things become worse, again and again.
    rise = itertools.chain([0.0, *[-0.1 * i for i in range(1, 8)]], itertools.cycle([-0.4, -0.2, -0.1]))
    monkeypatch.setattr("hoam_plugin.training.judge.Judge.values", lambda self, weights: np.full(4, next(rise)))
    monkeypatch.setattr("hoam_plugin.training.judge.Judge.values_on_half_the_times", lambda self, weights: None)
    training = hoam.Training(iterations=120, n_samples=64, block=10, learning_rate=2e-3, warmup=2)
    with pytest.warns(UserWarning, match="unstable.*the loss ran away: since iteration .* it fell from") as seen:
        model = hoam.fit(
            toy.moving_gaussian(speeds=(2.0,)),
            key=jax.random.key(1),
            potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5),
            loss=hoam.ActionMatching(epsilon=0.0, time_derivative="network"),
            training=training,
            progress=False,
        )
    assert len(seen) == 1
    attributes = model.history.attrs
    assert (attributes["best_iteration"], attributes["learning_rate_halvings"]) == (70, 3)
    assert attributes["converged"] == "unstable"


def test_nothing_is_kept_where_everything_was_judged_worse_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripted judgements above that of the beginning, which is nearest at the end."""
    above = itertools.chain([0.0], (1.0 - 0.05 * i for i in itertools.count()))
    monkeypatch.setattr("hoam_plugin.training.judge.Judge.values", lambda self, weights: np.full(4, next(above)))
    with pytest.warns(UserWarning, match="still improving: no model on the way was judged better than none.*samples"):
        model = hoam.fit(
            toy.moving_gaussian(speeds=(2.0,)),
            key=jax.random.key(1),
            potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5),
            loss=hoam.ActionMatching(epsilon=0.0, time_derivative="network"),
            training=hoam.Training(iterations=120, n_samples=64, block=10, learning_rate=2e-3, warmup=2),
            progress=False,
        )
    assert model.history.attrs["best_iteration"] == 0
    np.testing.assert_array_equal(model.velocity(np.ones((3, 1), np.float32), 0.5, {"mu": 2.0}), 0.0)


def test_the_beginning_is_judged_more_often() -> None:
    """After too long steps the only good models are had early."""
    choices = choices_of(toy.moving_gaussian(), dataclasses.replace(TRAINING, iterations=400))
    samples = TrainingSamples(choices.runs, choices.training, jax.random.key(1))
    judge = dataclasses.replace(judge_of(choices, samples, None, jax.random.key(2)), interval=8)
    assert [n for n in range(1, 41) if judge.is_due(10 * n)] == [1, 2, 4, 8, 16, 24, 32, 40]


@pytest.mark.long
def test_few_iterations_are_still_improving_and_many_converge() -> None:
    def outcome(iterations: int) -> str:
        model = hoam.fit(
            toy.moving_gaussian(n_samples=1024),
            key=jax.random.key(1),
            potential=hoam.CoLoRA(width=4, depth=2, rank=1, hyper_width=4, hyper_depth=2),
            loss=hoam.ActionMatching(epsilon=0.0),
            training=hoam.Training(
                iterations=iterations, n_samples=16, block=20, runs_per_iteration=3, learning_rate=2e-2, warmup=5
            ),
            progress=False,
        )
        return str(model.history.attrs["converged"])

    assert outcome(60) == "still improving"
    assert outcome(600) == "converged"


@pytest.mark.long
def test_coarse_times_are_said_to_limit() -> None:
    """A population that swings by four standard deviations between two of its saved times."""
    rng, times = np.random.default_rng(0), np.linspace(0.0, 2.0, 11)
    start = rng.standard_normal((2, 1, 1024))
    y = start + 4 * np.sin(9 * times)[None, :, None] * np.asarray([1.0, 1.2])[:, None, None]
    ds = xr.Dataset(
        {"y": (("run", "time", "sample"), y.astype(np.float32))}, {"time": times, "mu": ("run", [1.0, 1.2])}
    )
    with pytest.warns(UserWarning, match="limited by the saved times: every second.*more quadrature nodes") as seen:
        model = hoam.fit(
            ds,
            key=jax.random.key(1),
            potential=hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=8),
            loss=hoam.ActionMatching(epsilon=0.0),
            training=hoam.Training(iterations=200, n_samples=32, block=50, learning_rate=1e-2, warmup=5),
            clock="physical",
            progress=False,
        )
    assert len(seen) == 1
    assert model.history.attrs["converged"] == "limited by the saved times"


def test_judging_costs_a_small_share_of_the_samples() -> None:
    """Counted in samples whose loss is evaluated, against those of all iterations."""
    for training in (TRAINING, hoam.Training(iterations=300, n_samples=4, block=20)):
        choices = choices_of(toy.moving_gaussian(n_times=33), training)
        samples = TrainingSamples(choices.runs, choices.training, jax.random.key(1))
        judge = judge_of(choices, samples, None, jax.random.key(2))
        n_blocks = training.iterations // training.block
        n_judgements = sum(judge.is_due(training.block * (i + 1)) for i in range(n_blocks))
        assert judge.is_due(training.iterations)
        n_nodes = sum(len(rule.nodes) for rule in judge._rules)
        per_judgement = np.prod(judge.data.points.shape[2:4]) * n_nodes * len(judge.data.points)
        trained = training.iterations * 33 * training.n_samples
        assert n_judgements >= 2
        assert n_judgements * per_judgement < 0.15 * trained
    assert iterations.judged_value._cache_size() >= 1


@pytest.mark.long
def test_merged_samples_may_be_few() -> None:
    """A tenth of 512 samples, held out in parts, is less than the cells that they are merged into."""
    model = hoam.fit(
        toy.small_plasma_ensemble(n_samples=512),
        key=jax.random.key(0),
        structure="kinetic",
        loss=hoam.ActionMatching(),
        potential=hoam.VectorField(harmonics=1, time_harmonics=1),
        training=hoam.Training(iterations=2, block=1),
        progress=False,
    )
    assert model.history is not None
    assert model.history.attrs["judged_on"] == "held-out samples"
    assert np.isfinite(model.history["validation"]).any()

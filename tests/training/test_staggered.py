"""Judged between saved times: what the rule of the gaps is, and that nothing can exploit it."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import ensembles
from hoam_plugin.training.choices import resolve
from hoam_plugin.training.judge import Judge, samples_and_judge

SPEEDS = (1.0, 2.0)
POTENTIAL = hoam.CoLoRA(width=8, depth=2, rank=2, hyper_width=5)


def judge_of(ds: xr.Dataset, samples: Any = None) -> tuple[Any, Judge]:
    choices = resolve(
        ds,
        structure=None,
        potential=POTENTIAL,
        loss=hoam.ActionMatching(epsilon=0.0, samples=samples),
        training=hoam.Training(iterations=400, n_samples=64, block=100),
        replaces=None,
        validate=None,
        clock="physical",
        base=None,
    )
    return choices, samples_and_judge(choices, jax.random.key(0))[1]


def gaussian(sampling: str) -> xr.Dataset:
    return toy.moving_gaussian(SPEEDS, n_times=9).assign_attrs(sampling=sampling)


@pytest.mark.parametrize("sampling", ["trajectories", "snapshots"])
def test_gaps_are_seen_halfway_and_weigh_as_long_as_they_last(sampling: str) -> None:
    choices, judge = judge_of(gaussian(sampling))
    on_times, in_gaps = judge._rules
    assert on_times.points.shape == in_gaps.points.shape
    assert on_times.nodes.shape == in_gaps.nodes.shape
    weights = np.asarray(in_gaps.weights)
    np.testing.assert_allclose(weights[1::2], 1 / 8, rtol=1e-6)
    assert not weights[::2].any()
    assert not np.asarray(on_times.weights)[1::2].any()
    times = np.asarray(in_gaps.conditions)[0, :, 0]
    np.testing.assert_allclose(np.diff(times), np.diff(times)[0], rtol=1e-5)
    # Over the normalised range of times a sample moves by mu times 2, in units of the spread.
    speeds = 2 * np.asarray(SPEEDS) / np.asarray(choices.dynamics.normalisation.scale)[0]
    if sampling == "trajectories":
        motion = np.asarray(in_gaps.motion)
        np.testing.assert_allclose(
            motion[:, 1::2], np.broadcast_to(speeds[:, None, None, None, None], motion[:, 1::2].shape), rtol=1e-4
        )
        assert not motion[:, ::2].any()
        midpoints = (in_gaps.points[:, :-2:2] + in_gaps.points[:, 2::2]) / 2
        np.testing.assert_allclose(in_gaps.points[:, 1::2], midpoints, rtol=1e-5, atol=1e-6 * np.abs(midpoints).max())
    else:
        assert in_gaps.motion is None
        own, before, after = (
            np.asarray(in_gaps.points)[:, at] for at in (slice(1, None, 2), slice(0, -2, 2), slice(2, None, 2))
        )
        np.testing.assert_array_equal(own[..., ::2, :], before[..., ::2, :])
        np.testing.assert_array_equal(own[..., 1::2, :], after[..., 1::2, :])


def test_nothing_is_below_what_trajectories_allow() -> None:
    """Of 40 potentials of any size none falls below minus half of the squared velocity of the samples."""
    choices, judge = judge_of(gaussian("trajectories"), samples="coupled")
    in_gaps = judge._rules.in_gaps
    squares = np.asarray(in_gaps.motion, np.float64)[:, 1::2] ** 2
    floor = -squares.sum(axis=-1).mean() / 2
    start = choices.setup.potential.init(jax.random.key(0), choices.setup.embedding.n_features, 2)
    leaves, structure = jax.tree.flatten(start)
    lowest = 0.0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        size = 10.0 ** rng.uniform(-1, 1)
        drawn = [np.asarray(size * rng.standard_normal(leaf.shape), leaf.dtype) for leaf in leaves]
        lowest = min(lowest, *judge._values(jax.tree.unflatten(structure, drawn), in_gaps))
    assert floor * (1 + 1e-5) <= lowest < 0


def test_the_way_across_a_period_is_short() -> None:
    ds = gaussian("trajectories")
    ds["y"] = (ds["y"].dims, np.mod(ds["y"].values, 4.0), {"period": 4.0})
    choices, judge = judge_of(ds, samples="coupled")
    norm = choices.dynamics.normalisation
    assert judge.saved is not None
    # What moves around a period is judged by differences, as particles may stream through a population at rest.
    assert judge.saved.periods is None
    paired = dataclasses.replace(judge.saved, periods=norm.periods)
    motion = np.asarray(paired.rules(np.arange(9), np.full(9, 1 / 9)).in_gaps.motion)[:, 1::2]
    speeds = 2 * np.asarray(SPEEDS) / np.asarray(norm.scale)[0]
    np.testing.assert_allclose(motion, np.broadcast_to(speeds[:, None, None, None, None], motion.shape), rtol=1e-3)


def test_pairs_are_of_use_where_samples_move_as_the_population_does() -> None:
    assert ensembles.are_paired(gaussian("trajectories").drop_attrs())
    assert not ensembles.are_paired(gaussian("snapshots"))
    rng, times = np.random.default_rng(0), np.linspace(0.0, 1.0, 5)
    # At rest as a whole: every sample goes round.
    angle = rng.uniform(0, 2 * np.pi, 500) + 3 * times[:, None]
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None].astype(np.float32)
    assert not ensembles.are_paired(xr.Dataset({"y": (("run", "time", "sample", "axis"), ring)}, {"time": times}))


def test_the_worse_rule_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = judge_of(gaussian("trajectories"))[1]
    on_times = judge._rules.on_times
    values = {True: np.asarray([-2.0, -1.0]), False: np.asarray([-3.0, 5.0])}
    monkeypatch.setattr(Judge, "_values", lambda self, weights, data: values[data is on_times])
    np.testing.assert_array_equal(judge.values({}), [-2.0, 5.0])


def test_half_of_the_times_have_wider_gaps_and_fit_what_is_compiled() -> None:
    judge = judge_of(gaussian("trajectories"))[1]
    assert judge.saved is not None
    kept = np.asarray([0, 2, 4, 6, 8])
    half = judge.saved.rules(kept, np.full(5, 0.2)).in_gaps
    weights = np.asarray(half.weights)
    np.testing.assert_allclose(weights[[1, 5, 9, 13]], 0.25, rtol=1e-6)
    assert np.count_nonzero(weights) == 4
    whole = judge._rules.in_gaps
    assert [leaf.shape for leaf in jax.tree.leaves(half)] == [leaf.shape for leaf in jax.tree.leaves(whole)]
    # The velocity is constant, and so the same over a gap twice as long.
    np.testing.assert_allclose(half.motion[:, 1], whole.motion[:, 1], rtol=1e-4)

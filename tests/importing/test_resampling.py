"""Systematic resampling against its definition: counts within one of their expectation, whatever the pieces."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from hoam_plugin.importing.resampling import Points, WeightSum


def counts(weights: np.ndarray, n_samples: int, cuts: list[int], seed: int = 0) -> np.ndarray:
    """How often each particle is taken, where it is shown in pieces."""
    points = Points(n_samples, float(weights.sum()), np.random.default_rng(seed))
    taken = np.zeros(len(weights), int)
    edges = sorted({0, *(cut % (len(weights) + 1) for cut in cuts), len(weights)})
    for begin, end in itertools.pairwise(edges):
        np.add.at(taken, begin + points.rows(weights[begin:end], last=end == len(weights)), 1)
    return taken


@hypothesis.given(
    weights=st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 1e3)), min_size=1, max_size=60),
    scale=st.sampled_from([1e-300, 1e-27, 1.0, 1e12]),
    n_samples=st.integers(1, 200),
    cuts=st.lists(st.integers(0, 100), max_size=4),
    seed=st.integers(0, 5),
)
def test_counts_are_within_one_of_their_expectation(weights, scale, n_samples, cuts, seed) -> None:
    w = np.asarray(weights) * scale
    hypothesis.assume(w.sum() > 0)
    taken = counts(w, n_samples, cuts, seed)
    assert taken.sum() == n_samples
    assert (np.abs(taken - n_samples * w / w.sum()) < 1 + 1e-6).all()
    assert not taken[w == 0].any()


def test_equal_weights_take_each_particle_once() -> None:
    assert (counts(np.ones(50), 50, [7, 20]) == 1).all()
    assert counts(np.ones(50), 20, [31]).max() == 1


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_the_effective_number_does_not_depend_on_units(scale: float) -> None:
    rng = np.random.default_rng(0)
    w = 10 ** rng.uniform(0, 2, 1000)
    found = WeightSum()
    for part in np.array_split(w * scale, 7):
        found.add(part)
    np.testing.assert_allclose(found.weight.effective, w.sum() ** 2 / (w**2).sum())
    np.testing.assert_allclose(found.weight.total, w.sum() * scale)

"""Stratified minibatches."""

import hypothesis
import hypothesis.strategies as st
import numpy as np

from hoam_plugin.training.stratification import Drawing, morton_code, stratified_blocks


@hypothesis.given(n=st.integers(8, 300), n_dims=st.integers(1, 8), size=st.integers(1, 8), seed=st.integers(0, 99))
@hypothesis.settings(max_examples=30)
def test_blocks_are_disjoint_subsets(n: int, n_dims: int, size: int, seed: int) -> None:
    points = np.random.default_rng(seed).standard_normal((n, n_dims))
    blocks = stratified_blocks(points, size, np.random.default_rng(seed))
    assert blocks.shape == (n // size, size, n_dims)
    rows = {tuple(row) for row in points}
    chosen = [tuple(row) for row in blocks.reshape(-1, n_dims)]
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= rows


def test_means_over_blocks_are_unbiased_and_far_less_noisy() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((20_000, 2))
    values = np.cos(points[:, 0]) + points[:, 1]
    size = 64
    blocks = stratified_blocks(points, size, rng)
    means = (np.cos(blocks[..., 0]) + blocks[..., 1]).mean(axis=1)
    assert abs(means.mean() - values.mean()) < 0.01
    assert means.std() < values.std() / size**0.5 / 2


def test_groups_tell_how_far_off_all_of_them_are_together() -> None:
    """Sixty-four samples that cover the first time evenly, and have moved each in its own way since."""
    rng = np.random.default_rng(2)
    off, told, told_anew = [], [], []
    for _ in range(100):
        before, now = rng.standard_normal((2, 64, 1))
        groups, anew = Drawing(rng, 4), Drawing(rng, None)
        first = groups.indices(before, 16)
        later = groups.indices(now, 16)
        np.testing.assert_array_equal(np.sort(first), np.sort(later))
        off.append(now.mean())
        told.append(now[later].mean(axis=1).std(ddof=1) / 2)
        told_anew.append(now[anew.indices(now, 16)].mean(axis=1).std(ddof=1) / 2)
    truth = np.sqrt(np.mean(np.square(off)))
    assert 0.8 * truth < np.sqrt(np.mean(np.square(told))) < 1.25 * truth
    # Balanced on what the samples are together, which says nothing of how far off that is.
    assert np.sqrt(np.mean(np.square(told_anew))) < 0.3 * truth


def test_turns_are_disjoint_subsets_of_the_same_groups() -> None:
    points = np.random.default_rng(3).standard_normal((80, 2))
    first, others = (Drawing(np.random.default_rng(4), 4, turns) for turns in ((0,), range(1, 5)))
    now, later = (
        np.concatenate([drawing.indices(p, 4) for drawing in (first, others)]).reshape(5, 4, 4).transpose(1, 0, 2)
        for p in (points, np.roll(points, 1, axis=0))
    )
    np.testing.assert_array_equal(np.sort(now.ravel()), np.arange(80))  # every sample once
    np.testing.assert_array_equal(np.sort(later.reshape(4, 20)), np.sort(now.reshape(4, 20)))
    assert not np.array_equal(now, later)
    np.testing.assert_array_equal(
        others.indices(points, 20), np.tile(first.indices(points, 20), (4, 1))
    )  # the only one


def test_morton_code_orders_one_coordinate_and_separates_quadrants() -> None:
    x = np.random.default_rng(1).standard_normal((1000, 1))
    assert (np.diff(x[np.argsort(morton_code(x), kind="stable"), 0]) > -0.05).all()
    corners = np.asarray([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert len(set(morton_code(corners).tolist())) == 4

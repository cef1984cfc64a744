"""Samples along a curve through phase space: unbiased, and steadier than samples in the order of the file."""

import jax
import numpy as np
import pytest

from hoam_plugin.ensemble import from_snapshots
from hoam_plugin.importing.strata import order_of

N, RNG = 4_000, np.random.default_rng(0)
X, V = RNG.uniform(0, 1, N), RNG.normal(size=N)


@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_the_order_does_not_depend_on_units(scale: float) -> None:
    np.testing.assert_array_equal(order_of([X * scale, V]), order_of([X, V * scale]))
    assert (np.diff((X * scale)[order_of([X * scale])]) > -2e-3 * scale).all(), "one coordinate is sorted by cells"


def test_any_columns_have_an_order() -> None:
    for columns in ([np.zeros(5)], [X[:1]], [X.reshape(50, 8, 10)], [np.arange(9, dtype=np.uint8)], [X > 0.5, V]):
        assert sorted(order_of(columns).tolist()) == list(range(len(columns[0])))


def test_means_are_right_and_scatter_less() -> None:
    weights = 10 ** RNG.uniform(0, 2, N)
    f = lambda x, v: np.cos(2 * np.pi * x) * v + v**2  # noqa: E731
    wanted, n = np.average(f(X, V), weights=weights), 250
    means = np.empty(40)
    for seed in range(len(means)):
        snapshot = {"time": 0.0, "x": X, "v": V, "weights": weights}
        ds = from_snapshots([snapshot], n_samples=n, key=jax.random.key(seed), progress=False)
        means[seed] = f(ds["x"].values.astype(float), ds["v"].values.astype(float)).mean()
    independent = np.sqrt(np.average((f(X, V) - wanted) ** 2, weights=weights) / n)
    assert abs(means.mean() - wanted) < 4 * means.std() / np.sqrt(len(means))
    assert means.std() < 0.5 * independent

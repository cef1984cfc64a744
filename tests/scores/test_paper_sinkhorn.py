"""The Sinkhorn divergence of the paper against a naive dense iteration and ott-jax's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scored import ensemble, score

from hoam_plugin.scores import PaperSinkhorn, compare
from hoam_plugin.scores.distances import Coordinate
from hoam_plugin.scores.paper_sinkhorn import PaperDivergences

# ott-jax imports jaxopt, which announces its own end.
pytestmark = pytest.mark.filterwarnings("ignore:JAXopt:DeprecationWarning")

COORDINATES = tuple(Coordinate(f"x{d}", None, 1.0, -1.0, 1.0) for d in range(3))


def sets(n: int = 60, m: int = 45) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.5, (n, 3)), rng.normal(0.3, 0.4, (m, 3))


def naive_cost(x: np.ndarray, y: np.ndarray, epsilon: float) -> float:
    """The dual value of plain Sinkhorn in the log domain, float64, many iterations."""
    cost = ((x[:, None] - y[None, :]) ** 2).sum(axis=2)
    f, g = np.zeros(len(x)), np.zeros(len(y))
    for _ in range(int(30 / epsilon)):
        f = -epsilon * logsumexp((g[None, :] - cost) / epsilon - np.log(len(y)), axis=1)
        g = -epsilon * logsumexp((f[:, None] - cost) / epsilon - np.log(len(x)), axis=0)
    return f.mean() + g.mean()


def divergence(x: np.ndarray, y: np.ndarray, **settings: float) -> float:
    return PaperDivergences(x, COORDINATES, PaperSinkhorn(**settings), (0,)).to(y)


@pytest.mark.parametrize(("epsilon", "n"), [(0.1, 60), (0.01, 60), (0.1, 400)])
def test_the_divergence_is_that_of_naive_sinkhorn(epsilon: float, n: int) -> None:
    x, y = sets(n)
    expected = naive_cost(x, y, epsilon) - (naive_cost(x, x, epsilon) + naive_cost(y, y, epsilon)) / 2
    assert divergence(x, y, epsilon=epsilon, threshold=1e-4) == pytest.approx(expected, rel=2e-3)
    # Distances alone count: not where the origin lies.
    assert divergence(x + 1e4, y + 1e4, epsilon=epsilon, threshold=1e-4) == pytest.approx(expected, rel=2e-3)


def test_the_divergence_is_that_of_ott_with_its_defaults_converged_or_not() -> None:
    from ott.geometry.pointcloud import PointCloud
    from ott.tools.sinkhorn_divergence import sinkhorn_divergence

    x, y = sets(300, 300)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        arrays = (jnp.asarray(points, jnp.float32) for points in (x, y))
        own = sinkhorn_divergence(PointCloud, *arrays, epsilon=0.002, solve_kwargs={"max_iterations": 30})[0]
    between = PaperDivergences(x, COORDINATES, PaperSinkhorn(epsilon=0.002, max_iterations=30), (0,))
    assert between.to(y) == pytest.approx(float(own), rel=1e-2)
    assert between.converged == [False]


def test_equal_sets_have_none_and_subsets_of_one_population_some() -> None:
    x, _ = sets(400)
    assert divergence(x, x) == pytest.approx(0.0, abs=1e-3)
    assert divergence(x, x, n_samples=100) > divergence(x, sets(400)[0][::-1]) + 1e-2


def test_a_periodic_coordinate_is_wrapped() -> None:
    x, y = sets()
    circle = (Coordinate("x0", 4.0, 1.0, 0.0, 4.0), *COORDINATES[1:])
    settings = PaperSinkhorn(epsilon=0.1)
    turned = y + np.asarray([8.0, 0.0, 0.0])
    found = [PaperDivergences(x, circle, settings, (0,)).to(other) for other in (y, turned)]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_compare_scores_every_reference_of_samples() -> None:
    truth = ensemble(mu=[1.25], n_samples=60)
    far = truth.assign(v=truth["v"] + np.float32(6.0))
    settings = PaperSinkhorn(n_times=2, epsilon=0.1, n_samples=40, max_iterations=100)
    training = ensemble(n_samples=60)
    scores = compare(truth, far, floor=ensemble(mu=[1.25], n_samples=60, seed=1), training=training, sinkhorn=settings)
    name = "paper_sinkhorn_divergence"
    # A shift of 6 in raw units, but for what subsets of 40 samples have in distance.
    assert score(scores, name) == pytest.approx(36.0, rel=0.1)
    for reference in ("noise_floor", "gaussian", "frozen"):
        assert 0 < score(scores, name, reference) < 3
    assert np.isnan(score(scores, name, "interpolation"))
    assert scores.attrs["paper_sinkhorn"].startswith("epsilon 0.1, raw units, 40 samples, 2 times; ")
    assert "of 8 transport problems converged to 0.001 within 100 iterations" in scores.attrs["paper_sinkhorn"]
    assert "sinkhorn_divergence" not in scores


def test_settings_that_make_no_sense() -> None:
    truth = ensemble(n_samples=20)
    with pytest.raises(ValueError, match="sinkhorn='authors' must be"):
        compare(truth, truth, sinkhorn="authors")
    with pytest.raises(ValueError, match=r"epsilon=0.0 must be a finite number above 0"):
        PaperSinkhorn(epsilon=0.0)

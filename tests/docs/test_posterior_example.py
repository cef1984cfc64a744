"""The example of a posterior: a smooth likelihood of both parameters, whose covariance has all of its parts."""

from collections.abc import Iterator
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repository import ROOT

KEY = jax.random.key(0)
TRUTH = (0.18, -10.2)


@pytest.fixture(scope="module")
def posterior() -> Iterator[ModuleType]:
    """The example at small size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        import posterior

        patch.setattr(posterior, "TIMES", np.asarray([0.75, 1.5]))
        patch.setattr(posterior, "N_SAMPLES", 128)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            yield posterior


def test_the_likelihood_is_smooth_and_knows_where_the_truth_is(posterior: ModuleType) -> None:
    setup = posterior.prepared(KEY, n_probes=2, n_samples=512)
    assert setup.error.shape == (4, 4)
    assert (np.linalg.eigvalsh(setup.error) > -1e-6).all()
    data = posterior.measured(TRUTH, jax.random.key(1))
    normals = jax.random.normal(jax.random.key(2), (128, 2))

    def log_likelihood(theta, error):
        return posterior.log_likelihood(setup._replace(error=error), theta, data, normals, KEY)

    both = jax.jit(jax.value_and_grad(log_likelihood))
    theta = jnp.asarray(TRUTH)
    value, slope = both(theta, setup.error)
    step = jnp.asarray([1e-3, 1e-2])
    for i in range(2):
        ends = [both(theta + sign * step * jnp.eye(2)[i], setup.error)[0] for sign in (1, -1)]
        assert (ends[0] - ends[1]) / (2 * step[i]) == pytest.approx(float(slope[i]), rel=0.05, abs=0.1)
    far = jnp.asarray([0.13, -9.6])
    assert both(far, setup.error)[0] < value - 20
    # A surrogate that is further off says less.
    assert both(far, setup.error + 0.1 * jnp.eye(4))[0] > both(far, setup.error)[0]


@pytest.mark.slow
def test_the_posterior_holds_the_truth(posterior: ModuleType) -> None:
    pytest.importorskip("blackjax")
    setup = posterior.prepared(KEY, n_probes=4, n_samples=2_000)
    found = posterior.sampler(setup, n_warmup=60, n_draws=100)(posterior.measured(TRUTH, jax.random.key(1)), KEY)
    low, high = np.quantile(found.theta, [0.01, 0.99], axis=0)
    assert (low < np.asarray(TRUTH)).all()
    assert (np.asarray(TRUTH) < high).all()
    assert 0.5 < found.accepted <= 1

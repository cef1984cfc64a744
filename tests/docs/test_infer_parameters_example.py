"""The example of a posterior: a smooth likelihood of both parameters, whose covariance has all of its parts."""

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from repository import ROOT

import hoam_plugin as hoam

KEY = jax.random.key(0)
TRUTH = (0.18, -10.2)


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    """The example at small size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "examples")
        import infer_parameters

        patch.setattr(infer_parameters, "TIMES", np.asarray([0.5, 1.0]))
        patch.setattr(infer_parameters, "N_SAMPLES", 64)
        # Samplers promote as they like.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            yield infer_parameters


def likelihood(example: ModuleType, noise: Any) -> Any:
    """Of made-up data, as a compiled function of both parameters and the surrogate's error."""
    model = hoam.pretrained("duffing").with_options(noise=noise)
    state = hoam.stepper("duffing", surrogate=False).init(KEY, 64, {"mu": jnp.asarray(0.2)})
    normals = jax.random.normal(KEY, (64, 2))
    data = jnp.asarray([-0.75, -0.85, 0.57, 0.75])

    def of(theta: Any, error: Any) -> Any:
        return example.log_likelihood(example.Setup(model, state, error * jnp.eye(4)), theta, data, normals, KEY)

    return jax.jit(lambda theta, error: (of(theta, error), jax.jacfwd(of)(theta, error)))


@pytest.mark.long
def test_the_likelihood_is_as_smooth_as_its_slope_says_and_tells_less_of_a_worse_surrogate(example: ModuleType) -> None:
    both = likelihood(example, "independent")
    theta, error = jnp.asarray(TRUTH), jnp.asarray(1e-4)
    _, slope = both(theta, error)
    for step in (jnp.asarray([1e-3, 0.0]), jnp.asarray([0.0, 1e-2])):
        ends = [both(theta + sign * step, error)[0] for sign in (1, -1)]
        np.testing.assert_allclose((ends[0] - ends[1]) / 2, slope @ step, rtol=0.02)
    far = jnp.asarray([0.13, -9.6])
    tells = [both(theta, e)[0] - both(far, e)[0] for e in (error, 100 * error)]
    assert abs(tells[1]) < abs(tells[0]) / 2


def test_its_gradient_in_forward_mode_is_the_gradient(example: ModuleType) -> None:
    def function(theta: Any) -> Any:
        return jnp.sin(theta[0]) * theta[1] ** 2

    theta = jnp.asarray([0.3, 2.0])
    for f in (jax.grad, jax.value_and_grad):
        np.testing.assert_allclose(
            jax.tree.leaves(f(example.in_forward_mode(function))(theta))[-1],
            jax.tree.leaves(f(function)(theta))[-1],
            rtol=1e-6,
        )


@pytest.mark.slow
def test_the_posterior_holds_the_truth(example: ModuleType) -> None:
    pytest.importorskip("blackjax")
    setup = example.prepared(example.learned(KEY, n_samples=1_000, iterations=500), KEY, n_probes=6, n_samples=2_000)
    assert setup.error.shape == (4, 4)
    assert (np.linalg.eigvalsh(setup.error) > -1e-6).all()
    found = example.sampler(n_warmup=60, n_draws=100)(setup, example.measured(np.asarray([TRUTH]), KEY)[0], KEY)
    low, high = np.quantile(found.theta, [0.01, 0.99], axis=0)
    assert (low < np.asarray(TRUTH)).all()
    assert (np.asarray(TRUTH) < high).all()
    assert 0.5 < found.accepted <= 1

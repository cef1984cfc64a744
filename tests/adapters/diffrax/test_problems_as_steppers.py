"""Anybody's diffrax problem as a stepper."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.adapters.diffrax import from_terms

KEY = jax.random.key(3)


def brownian(shape: tuple[int, ...]) -> Any:
    return diffrax.UnsafeBrownianPath(shape, KEY)


def simulated(stepper: Any, times: Any = (1.0,), n_samples: int = 4000) -> Any:
    return hoam.simulate(
        stepper, {"rate": [1.0]}, np.asarray(times), key=jax.random.key(0), n_samples=n_samples, progress=False
    )


@pytest.mark.parametrize("kind", ["operator", "matrix", "shared"])
def test_a_stochastic_problem_of_one_sample_becomes_a_stepper(kind):
    # An Ornstein-Uhlenbeck process: dX = -rate X dt + 0.5 dW from X = 1.
    def diffusion(t: Any, y: Any, args: Any) -> Any:
        if kind == "operator":
            return lineax.DiagonalLinearOperator(jnp.full_like(y, 0.5))
        return 0.5 * jnp.eye(2, dtype=y.dtype) if kind == "matrix" else jnp.full_like(y, 0.5)

    noise = diffrax.ControlTerm(diffusion, brownian(() if kind == "shared" else (2,)))
    problem = diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: -args["rate"] * y), noise)
    stepper = from_terms(problem, initial=lambda key, n, args: jnp.ones((n, 2)), parameters=("rate",), solver="Heun")
    x = simulated(stepper)["x"].values[0, 0]
    assert x.shape == (4000, 2)
    np.testing.assert_allclose(x.mean(axis=0), np.exp(-1), atol=0.02)
    np.testing.assert_allclose(x.var(axis=0), 0.125 * (1 - np.exp(-2)), rtol=0.1)
    assert np.corrcoef(x.T)[0, 1] == pytest.approx(1.0 if kind == "shared" else 0.0, abs=0.06)
    assert (stepper.noise is not None) == (kind == "operator")


def test_a_problem_whose_state_is_a_pytree_becomes_a_stepper_with_named_variables():
    def field(t: Any, y: Any, args: Any) -> Any:
        return {"q": y["p"], "p": -args["rate"] * y["q"]}

    def initial(key: Any, n: int, args: Any) -> Any:
        return {"q": jnp.ones((n, 3)), "p": jnp.zeros((n, 3))}

    stepper = from_terms(
        diffrax.ODETerm(field), initial=initial, parameters=("rate",), solver="Tsit5", dt=0.05, horizon=(0.0, 1.0)
    )
    ds = simulated(stepper, n_samples=2)
    assert {v.name: v.dims for v in stepper.variables} == {"p": ("p_axis",), "q": ("q_axis",)}
    np.testing.assert_allclose(ds["q"].values, np.cos(1), atol=1e-5)
    np.testing.assert_allclose(ds["p"].values, -np.sin(1), atol=1e-5)


def test_a_batched_problem_of_interacting_samples_becomes_a_stepper():
    # Attraction to the mean of the population keeps the mean and contracts the spread, against noise.
    def field(t: Any, y: Any, args: Any) -> Any:
        return args["rate"] * (jnp.mean(y, axis=0, keepdims=True) - y)

    noise = diffrax.ControlTerm(
        lambda t, y, args: lineax.DiagonalLinearOperator(jnp.full_like(y, 0.5)), brownian((4000, 1))
    )
    stepper = from_terms(
        diffrax.MultiTerm(diffrax.ODETerm(field), noise),
        initial=lambda key, n, args: 2 + jax.random.normal(key, (n, 1)),
        parameters=("rate",),
        batched=True,
        solver="Heun",
    )
    x = simulated(stepper)["x"].values[0, 0, :, 0]
    assert x.mean() == pytest.approx(2.0, abs=0.05)
    assert x.var() == pytest.approx(np.exp(-2) + 0.125 * (1 - np.exp(-2)), rel=0.1)
    state = stepper.init(KEY, 8, {"rate": 1.0})
    with pytest.raises(ValueError, match=r"lacks \['rate'\]"):
        stepper.step(state, 0.1, {}, key=KEY)
    np.testing.assert_allclose(stepper.noise(state, {"rate": 1.0})["x"], 0.5)
    np.testing.assert_allclose(jnp.mean(stepper.rates(state, {"rate": 1.0})["x"]), 0, atol=1e-6)


def test_terms_that_are_no_such_problem_are_refused():
    with pytest.raises(TypeError, match="ODETerm"):
        from_terms(diffrax.ControlTerm(lambda t, y, args: y, brownian((1,))), initial=lambda key, n, args: None)
    control = diffrax.LinearInterpolation(jnp.arange(2.0), jnp.zeros((2, 1)))
    problem = diffrax.MultiTerm(
        diffrax.ODETerm(lambda t, y, args: y), diffrax.ControlTerm(lambda t, y, args: y, control)
    )
    with pytest.raises(TypeError, match="must be a Brownian motion"):
        from_terms(problem, initial=lambda key, n, args: jnp.ones((n, 1)))
    with pytest.raises(ValueError, match="do not fit y"):
        from_terms(
            diffrax.ODETerm(lambda t, y, args: y),
            initial=lambda key, n, args: jnp.ones((n, 1)),
            variables=(hoam.Variable("x"),),
        )

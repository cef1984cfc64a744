"""Anybody's own SDE as a stepper: rates, noise, compilation and gradients."""

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.simulators import DiffraxStepper
from hoam_plugin.steppers import Variable

KEY = jax.random.key(0)


def relaxation(time, x, parameters):
    return -parameters["theta"] * x


def around_one(key, n_samples, parameters):
    return 1 + 0.3 * jax.random.normal(key, (n_samples, 2))


def ornstein_uhlenbeck(**options) -> DiffraxStepper:
    """dx = -theta x dt + noise in two dimensions, from N(1, 0.3^2)."""
    arguments = {"diffusion": (0.5, 0.2), "initial": around_one, "parameters": ("theta",), "dt": 0.1}
    return DiffraxStepper(relaxation, **(arguments | options))


def pendulums() -> DiffraxStepper:
    """Two variables of two axes each, with friction declared as known."""

    def drift(time, x, parameters):
        return jnp.concatenate([x[2:], -parameters["k"] * x[:2] - 0.5 * x[2:]])

    return DiffraxStepper(
        drift,
        (0.0, 0.0, 0.3, 0.1),
        lambda key, n, parameters: jax.random.normal(key, (n, 4)),
        parameters=("k",),
        variables=(Variable("q", dims=("axis",)), Variable("p", dims=("axis",), velocity_of="q")),
        known=lambda time, x, parameters: jnp.concatenate([jnp.zeros_like(x[2:]), -0.5 * x[2:]]),
        solver="Heun",
    )


def test_variables_rates_noise_and_known_drift():
    stepper = pendulums()
    ds = hoam.simulate(stepper, {"k": [1.0, 2.0]}, [0.0, 0.1], key=KEY, n_samples=8, rates=True, progress=False)
    assert ds["p"].shape == (2, 2, 8, 2)
    np.testing.assert_array_equal(ds["axis"], [0, 1])
    np.testing.assert_array_equal(ds["q_rate"], ds["p"])
    k = np.asarray([1.0, 2.0], np.float32)[:, None, None, None]
    np.testing.assert_allclose(ds["p_rate"], -k * ds["q"] - 0.5 * ds["p"], rtol=1e-5, atol=1e-6)
    state = stepper.init(KEY, 8, {"k": 1.0})
    np.testing.assert_allclose(stepper.noise(state, {"k": 1.0})["p"][3], [0.3, 0.1])
    assert not np.any(stepper.noise(state, {"k": 1.0})["q"])
    np.testing.assert_allclose(stepper.known_drift(state, {"k": 1.0})["p"], -0.5 * state.p)
    assert isinstance(stepper, hoam.steppers.Stepper)


def test_only_noise_that_is_the_same_for_all_samples_is_declared():
    def diagonal(time, x, parameters):
        return jnp.full_like(x, parameters["theta"])

    state = ornstein_uhlenbeck().init(KEY, 3, {"theta": 0.5})
    declared = ornstein_uhlenbeck(diffusion=diagonal, additive=True)
    np.testing.assert_allclose(declared.noise(state, {"theta": 0.5})["x"], np.full((3, 2), 0.5))
    for stepper in (
        ornstein_uhlenbeck(diffusion=diagonal),
        ornstein_uhlenbeck(diffusion=((0.1, 0.2), (0.0, 0.3))),
        ornstein_uhlenbeck(diffusion=None),
    ):
        assert stepper.noise is None
        assert stepper.known_drift is None


def test_equal_steppers_share_one_compilation_and_parameters_batch():
    traces = []

    def drift(time, x, parameters):
        traces.append(1)
        return -parameters["theta"] * x

    first, second = (DiffraxStepper(drift, 0.1, around_one, ("theta",)) for _ in range(2))
    assert first == second
    assert hash(jax.tree.structure(first)) == hash(jax.tree.structure(second))

    @jax.jit
    def advance(stepper, theta):
        state = stepper.init(KEY, 16, {"theta": theta})
        return stepper.step(state, 0.1, {"theta": theta}, key=KEY).x

    one = advance(first, 1.0)
    seen = len(traces)
    np.testing.assert_array_equal(advance(second, 1.0), one)
    assert len(traces) == seen
    batch = jax.vmap(lambda theta: advance(first, theta))(jnp.asarray([1.0, 2.0]))
    np.testing.assert_allclose(batch[0], one, rtol=1e-6)
    np.testing.assert_allclose(batch[1], advance(first, 2.0), rtol=1e-6)


def test_the_samples_dtype_is_that_of_jax(x64):
    stepper = ornstein_uhlenbeck(solver="SRA1")
    after = stepper.step(stepper.init(KEY, 4, {"theta": 1.0}), 0.1, {"theta": 1.0}, key=KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {np.dtype(np.float64)}


@pytest.mark.parametrize("solver", ["Euler", "ItoMilstein", "Heun", "SRA1"])
def test_gradients_equal_central_differences(x64, solver):
    additive = solver in ("Heun", "SRA1")

    def diffusion(time, x, parameters):
        return parameters["s"] * (jnp.ones_like(x) if additive else 1 + x**2)

    def drift(time, x, parameters):
        return -parameters["theta"] * x**3 + jnp.sin(time)

    stepper = DiffraxStepper(drift, diffusion, around_one, ("theta", "s"), solver=solver, additive=additive)
    start = stepper.init(KEY, 5, {"theta": 1.0, "s": 0.3})

    @jax.jit
    @jax.value_and_grad
    def outcome(inputs):
        parameters = {"theta": inputs[0], "s": inputs[1]}
        state = dataclasses.replace(start, x=start.x + inputs[2])

        def body(state, key):
            return stepper.step(state, inputs[3], parameters, key=key), None

        return jnp.sum(jnp.cos(jax.lax.scan(body, state, jax.random.split(KEY, 3))[0].x))

    inputs, h = jnp.asarray([1.3, 0.4, 0.2, 0.15]), 1e-5
    differences = [(outcome(inputs + h * e)[0] - outcome(inputs - h * e)[0]) / (2 * h) for e in np.eye(4)]
    np.testing.assert_allclose(outcome(inputs)[1], differences, rtol=1e-6, atol=1e-8)


@pytest.mark.long
def test_gradients_through_adaptive_steps_equal_the_exact_ones(x64):
    stepper = ornstein_uhlenbeck(diffusion=0.4, solver="Heun", stepsize_controller=(1e-3, 1e-3))
    start = stepper.init(KEY, 5, {"theta": 1.0})

    def outcome(shift):
        state = dataclasses.replace(start, x=start.x + shift)
        return jnp.mean(stepper.step(state, 0.5, {"theta": 1.3}, key=KEY).x)

    assert jax.jit(jax.grad(outcome))(0.2) == pytest.approx(np.exp(-0.65), rel=1e-3)


def test_importing_the_simulators_leaves_diffrax_alone():
    code = (
        "import sys; from hoam_plugin import simulators as s; s.duffing(); s.lorenz9(); s.trap();"
        "s.DiffraxStepper(abs, None, abs, solver='Tsit5', stepsize_controller=(1e-3, 1e-3));"
        "sys.exit('diffrax' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

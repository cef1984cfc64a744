"""Samples far from the origin, which small steps still move."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.simulators import DiffraxStepper

KEY = jax.random.key(0)


def relaxation(time, x, parameters):
    return -parameters["theta"] * x


def around_one(key, n_samples, parameters):
    return 1 + 0.3 * jax.random.normal(key, (n_samples, 2))


def ornstein_uhlenbeck(**options) -> DiffraxStepper:
    """dx = -theta x dt + noise in two dimensions, from N(1, 0.3^2)."""
    arguments = {"diffusion": (0.5, 0.2), "initial": around_one, "parameters": ("theta",), "dt": 0.1}
    return DiffraxStepper(relaxation, **(arguments | options))


def run(stepper, state, n_steps, parameters, dt, key=KEY):
    """`n_steps` equal steps, compiled, with the stepper as an argument."""

    @jax.jit
    def loop(stepper, state, parameters, key):
        def body(i, state):
            return stepper.step(state, dt, parameters, key=jax.random.fold_in(key, i))

        return jax.lax.fori_loop(0, n_steps, body, state)

    return loop(stepper, state, parameters, key)


def constant_drift(offset: float, **options) -> DiffraxStepper:
    """Samples at 1 + offset and offset that drift by 1 in a unit of time."""

    def initial(key, n_samples, parameters):
        return jnp.tile(jnp.asarray([[1.0, 0.0]]) + offset, (n_samples, 1))

    return DiffraxStepper(lambda t, x, p: jnp.ones_like(x), initial=initial, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"diffusion": None, "solver": "Euler"},
        {"diffusion": 0.3, "solver": "Heun"},
        {"diffusion": ((0.1, 0.2), (0.3, 0.0)), "solver": "SRA1"},
        {"diffusion": None, "solver": "Tsit5", "stepsize_controller": (1e-4, 1e-6)},
    ],
)
def test_steps_below_a_unit_in_the_last_place_add_up(options):
    moves = []
    for offset in (0.0, 1e5):
        stepper = constant_drift(offset, **options)
        start = stepper.init(KEY, 64, {})
        # A unit in the last place at 1e5 is .0078.
        after = run(stepper, start, 500, {}, 1e-3)
        x = (np.asarray(part, np.float64) for part in (after.x, start.x, after.remainder["x"]))
        end, begin, rest = x
        assert np.abs(rest).max() <= np.spacing(np.float32(2e5)) / 2
        moves.append(end + rest - begin)
        if options["diffusion"] is None:
            np.testing.assert_allclose(end + rest - begin, 0.5, atol=2e-5)
    np.testing.assert_allclose(moves[1], moves[0], atol=2e-5)


def test_only_samples_that_can_lose_digits_carry_remainders(x64):
    stepper = ornstein_uhlenbeck()
    assert set(stepper.init(KEY, 4, {"theta": 1.0}).remainder) == {"time"}
    plain = hoam.simulators.duffing().init(KEY, 4, {"mu": 0.2})
    assert set(plain.remainder) == {"time"}


def test_a_state_without_remainders_keeps_its_structure():
    stepper = ornstein_uhlenbeck(diffusion=None)
    state = dataclasses.replace(stepper.init(KEY, 4, {"theta": 1.0}), remainder=())
    after = stepper.step(state, 0.1, {"theta": 1.0})
    assert jax.tree.structure(after) == jax.tree.structure(state)
    np.testing.assert_allclose(after.x, 0.9 * state.x, rtol=1e-6)


def test_samples_of_half_precision_are_stepped_in_single():
    stepper = ornstein_uhlenbeck(
        initial=lambda key, n, p: around_one(key, n, p).astype(jnp.float16), diffusion=None, solver="Heun"
    )
    start = stepper.init(KEY, 64, {"theta": 1.0})
    after = run(stepper, start, 1000, {"theta": 1.0}, 1e-3)
    assert after.x.dtype == jnp.float16
    assert float(after.time) == pytest.approx(1.0, rel=1e-5)
    # Without remainders, steps of a thousandth would stay below half a unit in the last place.
    np.testing.assert_allclose(after.x.astype(jnp.float32), np.exp(-1) * start.x.astype(jnp.float32), rtol=2e-3)

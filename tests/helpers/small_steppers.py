"""Populations of known behaviour, and `run`, which simulates them; for the tests of `simulate`."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from hoam_plugin.simulation.run import simulate
from hoam_plugin.steppers import Variable, state_type

KEY = jax.random.key(0)
Point = state_type(("q",))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class OrnsteinUhlenbeck:
    """dq = -theta q dt + sigma dW from q = 1, each step drawn from its exact law; aux counts the steps."""

    dt: float = dataclasses.field(default=0.1, metadata={"static": True})
    horizon: tuple[float, float] = dataclasses.field(default=(0.0, 2.0), metadata={"static": True})

    variables = (Variable("q", units="m"),)
    parameters = ("theta", "sigma")
    diagnostic_variables = (Variable("mean"), Variable("steps"), Variable("seen", dims=("pair",)))
    coordinates = {"pair": np.array([1.0, 2.0])}  # noqa: RUF012

    def init(self, key, n_samples, parameters):
        start = jnp.ones(n_samples)
        return Point(time=jnp.asarray(self.horizon[0], start.dtype), q=start, aux=jnp.zeros((), jnp.int32))

    def step(self, state, dt, parameters, key=None):
        theta, sigma = parameters["theta"], parameters["sigma"]
        decay = jnp.exp(-theta * dt)
        spread = sigma * jnp.sqrt((1 - decay**2) / (2 * theta))
        q = decay * state.q + spread * jax.random.normal(key, state.q.shape, state.q.dtype)
        return dataclasses.replace(state, time=state.time + dt, q=q, aux=state.aux + 1)

    def refresh(self, state, parameters):
        return dataclasses.replace(state, aux=jnp.zeros((), jnp.int32))

    def rates(self, state, parameters):
        return {"q": -parameters["theta"] * state.q}

    def diagnostics(self, state, parameters):
        return {"mean": state.q.mean(), "steps": state.aux, "seen": jnp.stack([state.time, parameters["theta"]])}


class Slow(OrnsteinUhlenbeck):
    """The same numbers, and a while at every saved time."""

    def diagnostics(self, state, parameters):
        jax.debug.callback(lambda _: time.sleep(0.1), state.time)
        return super().diagnostics(state, parameters)


jax.tree_util.register_static(Slow)


class Dividing(OrnsteinUhlenbeck):
    """Not finite where theta is 0."""

    def step(self, state, dt, parameters, key=None):
        return dataclasses.replace(state, time=state.time + dt, q=state.q / parameters["theta"])


# Not as a dataclass: jaxlib 0.10.1 takes structures of two dataclasses with equal static fields for the same, so that
# once in a hundred times what is compiled for the one steps the other.
jax.tree_util.register_static(Dividing)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Decay:
    """dq/dt = -q by explicit Euler steps, without parameters or optional members."""

    dt: float = dataclasses.field(default=0.01, metadata={"static": True})
    horizon: tuple[float, float] = dataclasses.field(default=(1.0, 3.0), metadata={"static": True})

    variables = (Variable("q", dims=("axis",)),)
    parameters = ()

    def init(self, key, n_samples, parameters):
        return Point(time=jnp.asarray(self.horizon[0]), q=jax.random.normal(key, (n_samples, 2)))

    def step(self, state, dt, parameters, key=None):
        return dataclasses.replace(state, time=state.time + dt, q=state.q - dt * state.q)

    def refresh(self, state, parameters):
        return state


def run(stepper: Any = None, parameters: Any = None, times: Any = (0.0, 0.25, 1.0), **options: Any) -> xr.Dataset:
    """Few samples of two runs of `OrnsteinUhlenbeck`, unless told otherwise."""
    stepper = OrnsteinUhlenbeck() if stepper is None else stepper
    parameters = {"theta": [1.0, 2.0], "sigma": 0.5} if parameters is None else parameters
    return simulate(stepper, parameters, times, **({"key": KEY, "n_samples": 50, "progress": False} | options))

"""A trapped particle with friction and noise that are known, and a learned force of it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.steppers import Variable, state_type

STRENGTHS = (1.0, 2.0, 3.0)
SMALL_FIELD = hoam.VectorField(width=24, depth=3, time_harmonics=1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trap:
    """dv = (-mu x - friction v) dt + amplitude dW: what a surrogate may know of it is friction and noise."""

    friction: float = dataclasses.field(default=0.0, metadata={"static": True})
    amplitude: float = dataclasses.field(default=0.0, metadata={"static": True})
    dt: float = dataclasses.field(default=0.05, metadata={"static": True})
    horizon: tuple[float, float] = dataclasses.field(default=(0.0, 2.0), metadata={"static": True})

    @property
    def variables(self) -> tuple[Variable, ...]:
        return Variable("x"), Variable("v", velocity_of="x")

    @property
    def parameters(self) -> tuple[str, ...]:
        return ("mu",)

    def init(self, key: Any, n_samples: int, parameters: Any) -> Any:
        draws = jax.random.normal(key, (n_samples, 2))
        state = state_type(("x", "v"))
        return state(time=jnp.zeros(()), x=1.0 + 0.5 * draws[:, 0], v=0.5 * draws[:, 1])

    def step(self, state: Any, dt: Any, parameters: Any, key: Any = None) -> Any:
        half = state.x + dt / 2 * state.v
        noise = self.amplitude * jnp.sqrt(dt) * jax.random.normal(key, half.shape)
        v = state.v + dt * (-parameters["mu"] * half - self.friction * state.v) + noise
        return dataclasses.replace(state, time=state.time + dt, x=half + dt / 2 * v, v=v)

    def refresh(self, state: Any, parameters: Any) -> Any:
        return state

    def rates(self, state: Any, parameters: Any) -> dict[str, Any]:
        return {"x": state.v, "v": -parameters["mu"] * state.x - self.friction * state.v}

    def known_drift(self, state: Any, parameters: Any) -> dict[str, Any]:
        return {"v": -self.friction * state.v}

    def noise(self, state: Any, parameters: Any) -> dict[str, Any]:
        return {"v": self.amplitude}


def trap_ensemble(stepper: Any, nodes: int = 24, n_samples: int = 4000, dt: float = 0.01, **options: Any) -> xr.Dataset:
    return hoam.simulate(
        stepper,
        {"mu": STRENGTHS},
        hoam.quadrature.gauss_legendre(nodes),
        key=jax.random.key(0),
        n_samples=n_samples,
        dt=dt,
        progress=False,
        **options,
    )


def shuffled(ds: xr.Dataset) -> xr.Dataset:
    """The same marginals with nothing that links the samples of different times."""
    rng = np.random.default_rng(5)
    order = rng.permuted(np.tile(np.arange(ds.sizes["sample"]), (ds.sizes["run"], ds.sizes["time"], 1)), axis=2)
    names = hoam.ensemble.variable_names(ds)
    return ds.assign({n: (ds[n].dims, np.take_along_axis(ds[n].values, order, axis=2), ds[n].attrs) for n in names})


def fit_kinetic(ds: xr.Dataset, **options: Any) -> hoam.Surrogate:
    settings: dict[str, Any] = {
        "potential": SMALL_FIELD,
        "training": hoam.Training(iterations=600, n_samples=128, learning_rate=1e-2, warmup=20),
    }
    return hoam.fit(ds, key=jax.random.key(1), structure="kinetic", progress=False, **settings | options)


def force_error(model: hoam.Surrogate, expected: Any, mu: float = 2.0, stepper: Any = None) -> float:
    """Relative error of the learned part of dv/dt over the population of a new run."""
    stepper = stepper or model.learned.replaces or Trap()
    times = np.asarray([0.4, 1.0, 1.6])
    held = hoam.simulate(stepper, {"mu": [mu]}, times, key=jax.random.key(9), n_samples=500, dt=0.01, progress=False)
    errors, squares = 0.0, 0.0
    for i, time in enumerate(times):
        x = jnp.asarray(hoam.ensemble.samples(held, 0, i))
        drift = model.velocity(x, jnp.asarray(time, jnp.float32), {"mu": jnp.asarray(mu)})
        np.testing.assert_allclose(drift[:, 0], x[:, 1], rtol=1e-6)
        wanted = expected(x, mu)
        errors += float(jnp.sum((drift[:, 1] - wanted) ** 2))
        squares += float(jnp.sum(wanted**2))
    return (errors / squares) ** 0.5


def spring(x: Any, mu: float) -> Any:
    return -mu * x[:, 0]

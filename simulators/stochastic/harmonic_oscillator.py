"""Noisy harmonic oscillators, exact in law: the linear problem of Berman, Blickhan and Peherstorfer 2024."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import ArrayLike

from hoam_plugin._internal.checks import non_negative_float, parameter_row, positive_float, random_key
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, SampleState, Scalar
from hoam_plugin.steppers import Description, Parameters, Variable, clock, state_type

from ..described import arguments_of

OscillatorState = state_type(("x", "v"))
# 6 (p - sin p) / p^3 as a power series in p^2, highest power first; eight terms are exact to float64 for |p| <= 1.
_CUBIC_REST = np.asarray([(-1) ** k * 6.0 / math.factorial(2 * k + 3) for k in range(7, -1, -1)])


@pytree()
class Oscillator:
    """Independent oscillators along each axis, kicked by white noise: dx = v dt, dv = -omega^2 x dt + sigma dW.

    The defaults are the linear problem of arXiv:2410.12000. A step draws from the exact transition law (a rotation plus
    Gaussian noise that correlates x and v), so that the law of the population does not depend on the step size. The
    spring is no `known_drift`: it is the force to be learned.

    Attributes:
        omega: angular frequency.
        sigma: amplitude of the noise that drives the velocities.
        position: mean initial position along every axis; the mean initial velocity is 0.
        width: initial standard deviation of every position and velocity.
        dt: default time step; any other gives the same law.
        horizon: default time range.

    Example:
        >>> sim = simulators.Oscillator()
        >>> sim.exact_mean([0.0, 0.5])["x"].shape
        (2, 2)
    """

    omega: float = 8.0
    sigma: float = 0.05
    position: tuple[float, ...] = (-1.0, -1.0)
    width: float = 0.1
    dt: float = 0.05
    horizon: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        # Normalised here so that arguments read back from JSON give an equal, hashable stepper.
        for name in ("position", "horizon"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        for name in ("omega", "dt"):
            positive_float(name, getattr(self, name), wanted="a positive number")
        for name in ("sigma", "width"):
            non_negative_float(name, getattr(self, name))
        if not self.position or not all(map(math.isfinite, self.position)):
            raise ValueError(f"position={self.position!r} must be one finite number per axis, at least one")
        if not self.horizon[0] < self.horizon[1]:
            raise ValueError(f"horizon={self.horizon!r} must be increasing")

    @property
    def parameters(self) -> tuple[str, ...]:
        """No physics parameters."""
        return ()

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Position and velocity, vectors over the axes."""
        return (
            Variable("x", dims=("axis",), long_name="position"),
            Variable("v", dims=("axis",), velocity_of="x", long_name="velocity"),
        )

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Numbers of the axes."""
        return {"axis": np.arange(len(self.position))}

    def describe(self) -> Description:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""
        return "oscillator", arguments_of(self)

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """Draw `n_samples` samples of the initial normal distribution.

        Raises:
            ValueError: any parameters.
            TypeError: a key that is no JAX random key.
        """
        parameter_row(parameters, self.parameters)
        x_key, v_key = jax.random.split(random_key(key))
        shape = (n_samples, len(self.position))
        x = self.width * jax.random.normal(x_key, shape)
        v = self.width * jax.random.normal(v_key, shape)
        x = x + jnp.asarray(self.position)[None]
        return OscillatorState(**clock.at(self.horizon[0], x.dtype), x=x, v=v)

    def step(self, state: SampleState, dt: Scalar, parameters: Parameters, key: Key | None = None) -> SampleState:
        """One step of any length dt >= 0, exact in law.

        Raises:
            ValueError: no key although sigma > 0, or any parameters.
            TypeError: with sigma > 0, a key that is no JAX random key.
        """
        parameter_row(parameters, self.parameters)
        if self.sigma > 0 and key is None:
            raise ValueError(
                f"key=None: sigma={self.sigma:g} needs random numbers; pass a key, such as jax.random.key(0)"
            )
        dt = jnp.asarray(dt, state.x.dtype)
        cos, sin = jnp.cos(self.omega * dt), jnp.sin(self.omega * dt)
        x = cos * state.x + (sin / self.omega) * state.v
        v = cos * state.v - (self.omega * sin) * state.x
        if self.sigma > 0:
            common, own = jax.random.normal(random_key(key), (2, *x.shape), x.dtype)
            to_v, to_x, alone = self._noise_factors(dt)
            x, v = x + to_x * common + alone * own, v + to_v * common
        return clock.advanced(dataclasses.replace(state, x=x, v=v), dt)

    def refresh(self, state: SampleState, parameters: Parameters) -> SampleState:
        """The state itself: nothing is cached.

        Raises:
            ValueError: any parameters.
        """
        parameter_row(parameters, self.parameters)
        return state

    def rates(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, "sample axis"]]:
        """Drift of the variables, without the noise.

        Raises:
            ValueError: any parameters.
        """
        parameter_row(parameters, self.parameters)
        return {"x": state.v, "v": -(self.omega**2) * state.x}

    def noise(self, state: SampleState, parameters: Parameters) -> dict[str, float]:
        """Amplitude of the noise: `sigma` on the velocities, none on the positions."""
        return {"v": self.sigma}

    def exact_mean(self, times: ArrayLike | Sequence[float]) -> dict[str, Float[np.ndarray, "time axis"]]:
        """Analytic means of x and v at physical times."""
        phase = self.omega * (np.asarray(times, np.float64)[:, None] - self.horizon[0])
        start = np.asarray(self.position)[None, :]
        return {"x": start * np.cos(phase), "v": -self.omega * start * np.sin(phase)}

    def exact_variance(self, times: ArrayLike | Sequence[float]) -> dict[str, Float[np.ndarray, " time"]]:
        """Analytic variances of x and v along every axis at physical times."""
        elapsed = np.asarray(times, np.float64) - self.horizon[0]
        cos2, sin2 = np.cos(self.omega * elapsed) ** 2, np.sin(self.omega * elapsed) ** 2
        half, swing = elapsed / 2, np.sin(2 * self.omega * elapsed) / (4 * self.omega)
        return {
            "x": self.width**2 * (cos2 + sin2 / self.omega**2) + (self.sigma / self.omega) ** 2 * (half - swing),
            "v": self.width**2 * (cos2 + sin2 * self.omega**2) + self.sigma**2 * (half + swing),
        }

    def _noise_factors(self, dt: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
        """The Cholesky factor of the noise of a step: a common normal's share in v and in x, and another's in x alone.

        With p = omega dt the covariance has Var(v) = sigma^2 (2p + sin 2p) / (4 omega), Cov(x, v) = sigma^2 sin^2 p /
        (2 omega^2) and, given v, Var(x) = sigma^2 (p^2 - sin^2 p) / (omega^3 (2p + sin 2p)). Written with sin p / p and
        (p - sin p) / p^3, so that nothing cancels or is divided by 0 as dt -> 0.
        """
        p = self.omega * dt
        sinc, sinc_of_twice = jnp.sinc(p / np.pi), jnp.sinc(2 * p / np.pi)
        large = jnp.where(p > 1, p, jnp.ones_like(p))
        series = jnp.polyval(jnp.asarray(_CUBIC_REST, p.dtype), jnp.minimum(p, 1) ** 2)
        rest = jnp.where(p > 1, 6 * (large - jnp.sin(large)) / large**3, series)
        amplitude = self.sigma * jnp.sqrt(dt)
        return (
            amplitude * jnp.sqrt((1 + sinc_of_twice) / 2),
            amplitude * dt * sinc**2 / jnp.sqrt(2 * (1 + sinc_of_twice)),
            amplitude * dt * jnp.sqrt(rest * (1 + sinc) / (12 * (1 + sinc_of_twice))),
        )


def oscillator(omega: float = 8.0, sigma: float = 0.05, **options: Any) -> Oscillator:
    """The linear problem: two noisy oscillators with the same frequency, started at rest around (-1, -1); T = 1.

    Positions by themselves are a population that focuses eightfold and spreads again every half period, a hard case for
    learning from x alone.

    Args:
        omega: angular frequency.
        sigma: amplitude of the noise that drives the velocities.
        options: further attributes of `Oscillator`, such as `width` or `horizon`.

    Raises:
        ValueError: an attribute out of its range.

    Example:
        >>> sim = simulators.oscillator()
        >>> sim.init(key, 8, {}).x.shape
        (8, 2)
    """
    return Oscillator(omega=omega, sigma=sigma, **options)

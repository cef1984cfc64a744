"""A bistable oscillator with friction and noise: the Duffing problem of Berman, Blickhan and Peherstorfer 2024."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, SampleState, Scalar
from hoam_plugin.steppers import Description, Parameters, Variable

from ..described import arguments_of
from .ito_problem import check_numbers
from .ito_stepper import ItoStepper


@pytree()
class Duffing(ItoStepper):
    """Oscillators in a double well: dx = v dt, dv = (-2 xi omega v + omega^2 x - omega^2 mu x^3) dt + sigma dW.

    The defaults are the Duffing problem of arXiv:2410.12000, with the parameter `mu` > 0: wells at x = +-mu^(-1/2), and
    a start far up their wall. The friction is a `known_drift` and sigma a known noise, so that only the force is left
    to be learned.

    With the default step the stochastic Heun scheme keeps the error of means at 0.15 % of the standard deviation up to
    T = 12 (against steps of a tenth at mu = 0.2; Euler-Maruyama: 33 %), below the noise of 25k samples, 0.6 %.

    Attributes:
        xi: damping ratio.
        omega: angular frequency; the force at the unstable point x = 0 is omega^2 x.
        sigma: amplitude of the noise that drives the velocity.
        position: mean initial position.
        velocity: mean initial velocity.
        width: initial standard deviation of position and velocity.
        dt: default time step.
        horizon: default time range.
        solver: see `DiffraxStepper`.
        stepsize_controller: see `DiffraxStepper`.

    Example:
        >>> simulators.Duffing().parameters
        ('mu',)
    """

    xi: float = 0.2
    omega: float = 1.0
    sigma: float = 1.0
    position: float = 0.0
    velocity: float = -10.0
    width: float = 0.5
    dt: float = 0.01
    horizon: tuple[float, float] = (0.0, 12.0)
    solver: object = "Heun"
    stepsize_controller: object = None

    def __post_init__(self) -> None:
        # Normalised here so that arguments read back from JSON give an equal, hashable stepper.
        object.__setattr__(self, "horizon", tuple(float(end) for end in self.horizon))
        check_numbers(self, positive=("omega",), non_negative=("xi", "sigma", "width"), finite=("position", "velocity"))
        self.check_numerics()

    @property
    def parameters(self) -> tuple[str, ...]:
        """The one physics parameter: `mu`, the strength of the cubic force."""
        return ("mu",)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Position and velocity."""
        return (Variable("x", long_name="position"), Variable("v", velocity_of="x", long_name="velocity"))

    @property
    def diffusion(self) -> tuple[float, float]:
        """Noise on the velocity alone."""
        return (0.0, self.sigma)

    def describe(self) -> Description:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""
        return "duffing", arguments_of(self)

    def initial(self, key: Key, n_samples: int, parameters: Parameters) -> Float[Array, "sample 2"]:
        """Normal samples around (position, velocity)."""
        normals = jax.random.normal(key, (n_samples, 2))
        return self.width * normals + jnp.asarray([[self.position, self.velocity]], normals.dtype)

    def drift(self, time: Scalar, x: Float[Array, " 2"], parameters: Parameters) -> Float[Array, " 2"]:
        """Drift of position and velocity of one sample."""
        position, velocity = x
        spring = self.omega**2 * position * (1 - parameters["mu"] * position**2)
        return jnp.stack([velocity, spring - 2 * self.xi * self.omega * velocity])

    def known_drift(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, " sample"]]:
        """The friction."""
        return {"v": -2 * self.xi * self.omega * state.v}

    def check_domain(self, parameters: dict[str, np.ndarray], times: np.ndarray) -> None:
        """Refuse a `mu` for which samples run away to infinity.

        Raises:
            ValueError: a value of at most 0.
        """
        low = parameters["mu"].min()
        if low <= 0:
            raise ValueError(f"parameters['mu'] holds {low:g}; the double well needs mu > 0, or samples run away")

    def log_stationary_density(
        self,
        x: Float[Array | np.ndarray, "..."] | float,
        v: Float[Array | np.ndarray, "..."] | float,
        parameters: Parameters,
    ) -> Float[Array, "..."]:
        """Logarithm of the density of the long-run distribution at (x, v), up to a constant.

        It is -(4 xi omega / sigma^2) H with the energy H = v^2/2 - omega^2 x^2/2 + omega^2 mu x^4/4, the stationary
        solution of the Fokker-Planck equation (Risken, The Fokker-Planck Equation, section 10.1).

        Raises:
            ValueError: sigma = 0 or xi = 0, for which there is no such distribution.
        """
        if self.sigma == 0 or self.xi == 0:
            raise ValueError(f"sigma={self.sigma!r} and xi={self.xi!r}: a stationary density needs noise and friction")
        x, v = jnp.asarray(x), jnp.asarray(v)
        energy = v**2 / 2 + self.omega**2 * (parameters["mu"] * x**4 / 4 - x**2 / 2)
        return -(4 * self.xi * self.omega / self.sigma**2) * energy


def duffing(xi: float = 0.2, omega: float = 1.0, **options: Any) -> Duffing:
    """The Duffing problem: 25k samples start at (0, -10), climb both walls and settle in two wells; `mu`; T = 12.

    The paper trains on mu in {0.10, 0.15, 0.25, 0.30} and holds out 0.20.

    Args:
        xi: damping ratio.
        omega: angular frequency.
        options: further attributes of `Duffing`, such as `dt`, `solver` or `horizon`.

    Raises:
        ValueError: an attribute out of its range.

    Example:
        >>> sim = simulators.duffing()
        >>> state = sim.init(key, 8, {"mu": jnp.asarray(0.2)})
        >>> float(sim.step(state, 0.5, {"mu": jnp.asarray(0.2)}, key).time)
        0.5
    """
    return Duffing(xi=xi, omega=omega, **options)

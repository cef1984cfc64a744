"""A many-body problem on jax-md: screened charges in two dimensions, released from a modulated lattice."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import positive_int
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, SampleState
from hoam_plugin.numerics import periodic
from hoam_plugin.steppers import Description, Parameters, Variable

from ..described import arguments_of
from ..sampling import cosine_density_quantile
from . import yukawa_pairs
from .particles_in_bath import ParticlesInBath
from .periodic_replicas import View

# The shortest distance in the box stands for all periodic images; exp(-5) is what the potential has fallen by at half
# the period.
_IMAGES_NEGLIGIBLE = 10.0


@pytree()
class YukawaQuench(ParticlesInBath):
    """Screened charges (a two-dimensional Yukawa system, such as a dusty plasma layer) in a thermal bath.

    dx = v dt, dv = (F(x) - friction v) dt + sqrt(2 friction kT) dW, with the pair energy exp(-r / screening_length) / r
    on a periodic square; integrated by `jax_md.simulate.nvt_langevin` (BAOAB). Units: length is the Wigner-Seitz radius
    a = 1 / sqrt(pi n), energy Q^2 / (4 pi epsilon_0 a), mass that of a particle; the unit of time is then sqrt(2) /
    omega_p with omega_p^2 = Q^2 n / (2 epsilon_0 m a). In the usual numbers of dusty plasmas (Kalman et al. 2004,
    doi:10.1103/PhysRevLett.92.065001) the coupling is Gamma = 1 / kT and the screening kappa = 1 / screening_length.

    Start: a square lattice of random phase, squeezed along x to the density 1 + modulation cos(2 pi x / length), with
    velocities at kT: the force that held the modulation is gone, and it relaxes.

    Forces are summed over all pairs, replica by replica, so that the pairs of one stay in the cache. A step of 512
    particles takes 0.8 ms of one core; the forces alone took twice that from jax-md's list of neighbours within 9 radii
    and four times that from its own sum over all pairs, and a list may overflow.

    Needs the extra `jax-md`.

    Attributes:
        n_particles: particles of one replica of the system, twice a square (512 = 2 * 16^2).
        friction: rate at which the bath slows a particle.
        modulation: relative amplitude of the density wave at the start, below 1.
        view: "one_body" (each particle is a sample, so that n_samples is a multiple of n_particles) or "configuration"
            (each replica is one). The one-body view loses the pair distribution, which is reported beside.
        dt: default time step; at the default, without friction, the energy per particle (0.47 at kT = 0.1, screening
            length 1) is kept within 1.4e-4, and the error falls with dt^2.
        horizon: default time range.
        n_bins: rings of the pair distribution, up to half the period.

    Example:
        >>> simulators.YukawaQuench().parameters
        ('kT', 'screening_length')
    """

    n_particles: int = 512
    friction: float = 0.2
    modulation: float = 0.5
    view: View = "one_body"
    dt: float = 0.1
    horizon: tuple[float, float] = (0.0, 20.0)
    n_bins: int = 80

    def __post_init__(self) -> None:
        positive_int("n_particles", self.n_particles, 2)
        if 2 * math.isqrt(self.n_particles // 2) ** 2 != self.n_particles:
            raise ValueError(f"n_particles={self.n_particles!r} must be twice a square, such as 128, 512 or 2048")
        if not abs(self.modulation) < 1:
            raise ValueError(f"modulation={self.modulation!r} makes the density negative; it must lie in (-1, 1)")
        super().__post_init__()

    @property
    def n_dimensions(self) -> int:
        """A square."""
        return 2

    @property
    def length(self) -> float:
        """Period of the box along both axes: the density is 1 / pi."""
        return math.sqrt(math.pi * self.n_particles)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Temperature (1 / Gamma) and screening length (1 / kappa)."""
        return ("kT", "screening_length")

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        wave = Variable("density_wave", long_name="2 <cos(2 pi x / length)>, the modulation of the density along x")
        *sums, distribution = super().diagnostic_variables
        return (*sums, wave, distribution)

    def describe(self) -> Description:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""
        return "yukawa_quench", arguments_of(self)

    def check_run(self, parameters: dict[str, np.ndarray], dt: float) -> None:
        """Raise ValueError for a negative temperature, or a screening length that the box cannot hold."""
        super().check_run(parameters, dt)
        longest = self.length / _IMAGES_NEGLIGIBLE
        screening = parameters["screening_length"]
        if not ((screening > 0) & (screening <= longest)).all():
            raise ValueError(
                f"parameters['screening_length']={screening.tolist()!r} must be above 0 and at most {longest:.3g}, a "
                f"tenth of the box of {self.n_particles} particles, since forces leave periodic images out"
            )

    def start_positions(self, key: Key, n_replicas: int) -> Float[Array, "replica particle 2"]:
        """The modulated lattice; every replica has one of its own phase."""
        shift = jax.random.uniform(key, (n_replicas, 1, 2))
        side = math.isqrt(self.n_particles // 2)
        corners = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
        lattice = np.concatenate([corners, corners + 0.5]) / side
        u = jnp.asarray(lattice, shift.dtype)[None] + shift
        u = periodic.wrapped_by_product(u, 1.0)
        x = cosine_density_quantile(u[..., 0].ravel(), self.length, self.modulation, 1).reshape(u.shape[:2])
        return jnp.stack([x, self.length * u[..., 1]], axis=-1)

    def pair_forces(self, position: Float[Array, "N 2"], parameters: Parameters) -> Float[Array, "N 2"]:
        """Force on every particle of one replica."""
        return yukawa_pairs.yukawa_forces(position, parameters["screening_length"], self.length)

    def pair_energy(self, position: Float[Array, "N 2"], parameters: Parameters) -> Float[Array, ""]:
        """Potential energy of one replica."""
        return yukawa_pairs.yukawa_energy(position, parameters["screening_length"], self.length)

    def diagnostics(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, "..."]]:
        """Energies, momentum, density wave and pair distribution, means over the replicas."""
        wave = 2 * jnp.mean(jnp.cos(2 * math.pi / self.length * self.replicas(state.x)[..., 0]))
        return {**super().diagnostics(state, parameters), "density_wave": wave}


def yukawa_quench(view: View = "one_body", n_particles: int = 512, **options: Any) -> YukawaQuench:
    """Screened charges released from a modulated lattice; parameters `kT` = 1 / Gamma, `screening_length` = 1 / kappa.

    Args:
        view: "one_body" (each particle is a sample) or "configuration" (each replica of the system is one).
        n_particles: particles of a replica, twice a square.
        options: further attributes of `YukawaQuench`, such as `friction` or `modulation`.

    Raises:
        ValueError: an attribute out of its range.

    Example:
        >>> simulators.yukawa_quench().parameters
        ('kT', 'screening_length')
    """
    return YukawaQuench(view=view, n_particles=n_particles, **options)

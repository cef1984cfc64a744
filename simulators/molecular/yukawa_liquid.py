"""A many-body problem on jax-md: screened charges in two dimensions, released from a modulated lattice."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_row, random_key
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, PyTree, SampleState, Scalar
from hoam_plugin.numerics import periodic
from hoam_plugin.steppers import Description, Parameters, Variable, clock, state_type

from ..described import arguments_of
from ..sampling import cosine_density_quantile
from . import yukawa_pairs
from .screened_charges import ScreenedCharges, View

YukawaState = state_type(("x", "v"))
# The shortest distance in the box stands for all periodic images; exp(-5) is what the potential has fallen by at half
# the period.
_IMAGES_NEGLIGIBLE = 10.0


@pytree(data=("force",))
class ForceCache:
    """The force on every particle, which a step hands to the next."""

    force: PyTree


@pytree()
class YukawaQuench(ScreenedCharges):
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
    """

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        return (
            Variable("potential_energy", long_name="pair energy per particle"),
            Variable("kinetic_energy", long_name="kinetic energy per particle, kT in equilibrium"),
            Variable("total_energy", long_name="energy per particle, pair plus kinetic"),
            Variable("momentum", dims=("axis",), long_name="mean velocity"),
            Variable("density_wave", long_name="2 <cos(2 pi x / length)>, the modulation of the density along x"),
            Variable("pair_distribution", dims=("r",), long_name="g(r), pairs relative to independent particles"),
        )

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Numbers of axes and particles, and the middles of the rings of the pair distribution."""
        r = (np.arange(self.n_bins) + 0.5) * (self.length / (2 * self.n_bins))
        particle = {} if self.view == "one_body" else {"particle": np.arange(self.n_particles)}
        return {"axis": np.arange(2), **particle, "r": r}

    def describe(self) -> Description:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""
        return "yukawa_quench", arguments_of(self)

    def check_run(self, parameters: dict[str, np.ndarray], dt: float) -> None:
        """Raise ValueError for a negative temperature, or a screening length that the box cannot hold."""
        if (parameters["kT"] < 0).any():
            raise ValueError(f"parameters['kT']={parameters['kT'].tolist()!r} must be at least 0")
        longest = self.length / _IMAGES_NEGLIGIBLE
        screening = parameters["screening_length"]
        if not ((screening > 0) & (screening <= longest)).all():
            raise ValueError(
                f"parameters['screening_length']={screening.tolist()!r} must be above 0 and at most {longest:.3g}, a "
                f"tenth of the box of {self.n_particles} particles, since forces leave periodic images out"
            )

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """Draw replicas of the modulated lattice; see the class.

        Raises:
            ValueError: in the one-body view, n_samples that is no multiple of the particles of a replica; or a missing
                or unknown parameter.
            TypeError: a key that is no JAX random key.
        """
        n_replicas = self._n_replicas(n_samples)
        parameters = parameter_row(parameters, self.parameters)
        shift_key, v_key = jax.random.split(random_key(key))
        shift = jax.random.uniform(shift_key, (n_replicas, 1, 2))
        side = math.isqrt(self.n_particles // 2)
        corners = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1).reshape(-1, 2)
        lattice = np.concatenate([corners, corners + 0.5]) / side
        u = jnp.asarray(lattice, shift.dtype)[None] + shift
        u = periodic.wrapped_by_product(u, 1.0)
        x = cosine_density_quantile(u[..., 0].ravel(), self.length, self.modulation, 1).reshape(u.shape[:2])
        position = jnp.stack([x, self.length * u[..., 1]], axis=-1)
        kT = jnp.asarray(parameters["kT"], position.dtype)
        v = jnp.sqrt(kT) * jax.random.normal(v_key, position.shape, position.dtype)
        position, v = self._samples(position), self._samples(v)
        now = clock.at(self.horizon[0], position.dtype)
        state = YukawaState(**now, x=position, v=v, aux=ForceCache(jnp.zeros_like(position)))
        return self.refresh(state, parameters)

    def step(self, state: SampleState, dt: Scalar, parameters: Parameters, key: Key | None = None) -> SampleState:
        """One BAOAB step of Langevin dynamics; with zero friction it is velocity Verlet.

        Raises:
            ValueError: no key although friction > 0, or a missing or unknown parameter.
            TypeError: a key that is no JAX random key.
            ImportError: without the extra `jax-md`.
        """
        if self.friction > 0 and key is None:
            raise ValueError(
                f"key=None: friction={self.friction:g} needs random numbers; pass a key, such as jax.random.key(0)"
            )
        dtype, row = state.x.dtype, parameter_row(parameters, self.parameters)
        moved, size = clock.advanced(state, dt), jnp.asarray(dt, dtype)
        kT, screening = (jnp.asarray(row[name], dtype) for name in self.parameters)
        if self.friction > 0:
            key = random_key(key)
        else:
            # No noise is drawn; its amplitude sqrt(kT (1 - 1)) has no derivative.
            key, kT = jax.random.key(0), jax.lax.stop_gradient(kT)
        state_of_system, apply = _langevin(self.length, self.friction)

        def of_replica(row: tuple[Key, Array, Array, Array]) -> tuple[Array, Array, Array]:
            key, position, v, force = row
            # The mass is 1, so that momenta are velocities.
            system = state_of_system(position, v, force, 1.0, key)
            system = apply(system, dt=size, kT=kT, screening_length=screening)
            return system.position, system.momentum, system.force

        keys = jax.random.split(key, self._n_replicas(len(state.x)))
        replicas = [self._replicas(array) for array in (state.x, state.v, state.aux.force)]
        x, v, force = map(self._samples, jax.lax.map(of_replica, (keys, *replicas)))
        return dataclasses.replace(moved, x=x, v=v, aux=ForceCache(force))

    def refresh(self, state: SampleState, parameters: Parameters) -> SampleState:
        """Wrap positions into the box and sum the forces anew."""
        x = periodic.wrapped_by_product(state.x, self.length)
        screening = jnp.asarray(parameter_row(parameters, self.parameters)["screening_length"], x.dtype)
        force = jax.lax.map(lambda one: yukawa_pairs.yukawa_forces(one, screening, self.length), self._replicas(x))
        return dataclasses.replace(state, x=x, aux=ForceCache(self._samples(force)))

    def rates(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, ...]]:
        """Drift of the variables, without the noise."""
        return {"x": state.v, "v": state.aux.force - self.friction * state.v}

    def known_drift(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, ...]]:
        """The friction: known, unlike the forces between the particles."""
        return {"v": -self.friction * state.v}

    def noise(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, ""]]:
        """Amplitude of the thermal noise, sqrt(2 friction kT), on the velocities."""
        kT = parameter_row(parameters, self.parameters)["kT"]
        return {"v": math.sqrt(2 * self.friction) * jnp.sqrt(jnp.asarray(kT, state.v.dtype))}

    def diagnostics(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, ...]]:
        """Energies, momentum, density wave and pair distribution, means over the replicas."""
        position = self._replicas(state.x)
        screening = jnp.asarray(parameter_row(parameters, self.parameters)["screening_length"], position.dtype)

        def of_pairs(one: Float[Array, "N 2"]) -> tuple[Float[Array, ""], Float[Array, " r"]]:
            energy = yukawa_pairs.yukawa_energy(one, screening, self.length)
            return energy, yukawa_pairs.pair_distribution(one, self.length, self.n_bins)

        energy, distribution = jax.lax.map(of_pairs, position)
        potential_energy = jnp.mean(energy) / self.n_particles
        kinetic_energy = jnp.mean(jnp.sum(state.v**2, axis=-1)) / 2
        return {
            "potential_energy": potential_energy,
            "kinetic_energy": kinetic_energy,
            "total_energy": potential_energy + kinetic_energy,
            "momentum": jnp.mean(state.v.reshape(-1, 2), axis=0),
            "density_wave": 2 * jnp.mean(jnp.cos(2 * math.pi / self.length * position[..., 0])),
            "pair_distribution": jnp.mean(distribution, axis=0),
        }

    def _n_replicas(self, n_samples: int) -> int:
        if self.view == "configuration":
            return n_samples
        if n_samples % self.n_particles:
            above = -(-n_samples // self.n_particles) * self.n_particles
            raise ValueError(
                f"n_samples={n_samples} must be a multiple of n_particles={self.n_particles}, such as {above}: in the "
                "one-body view the samples are the particles of whole replicas"
            )
        return n_samples // self.n_particles

    def _replicas(self, samples: Float[Array, ...]) -> Float[Array, "replica particle 2"]:
        return samples.reshape(self._n_replicas(len(samples)), self.n_particles, 2)

    def _samples(self, replicas: Float[Array, "replica particle 2"]) -> Float[Array, ...]:
        return replicas.reshape(-1, 2) if self.view == "one_body" else replicas


@functools.cache
def _langevin(length: float, friction: float) -> tuple[Callable[..., PyTree], Callable[..., PyTree]]:
    """jax-md's state of a Langevin system and its step; cached, since a new step would compile anew."""
    try:
        # Importing jax-md computes on arrays: outside of whatever is being traced, and with the usual promotions.
        with (
            jax.ensure_compile_time_eval(),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            from jax_md import simulate, space
    except ImportError as error:
        raise ImportError(
            "yukawa_quench needs the extra 'jax-md': python -m pip install 'hoam-plugin[jax-md]'"
        ) from error

    def forces(position: Float[Array, "N 2"], *, screening_length: Scalar) -> Float[Array, "N 2"]:
        return yukawa_pairs.yukawa_forces(position, screening_length, length)

    _, shift = space.periodic(length)
    # The time step and the temperature are given with each step.
    _, apply = simulate.nvt_langevin(forces, shift, dt=0.0, kT=0.0, gamma=friction)
    return simulate.NVTLangevinState, apply


def yukawa_quench(view: View = "one_body", n_particles: int = 512, **options: Any) -> YukawaQuench:
    """Screened charges released from a modulated lattice; parameters `kT` = 1 / Gamma, `screening_length` = 1 / kappa.

    Args:
        view: "one_body" (each particle is a sample) or "configuration" (each replica of the system is one).
        n_particles: particles of a replica, twice a square.
        options: further attributes of `YukawaQuench`, such as `friction` or `modulation`.

    Raises:
        ValueError: an attribute out of its range.
    """
    return YukawaQuench(view=view, n_particles=n_particles, **options)

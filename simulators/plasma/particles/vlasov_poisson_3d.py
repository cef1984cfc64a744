"""Particle-in-cell solver of the Vlasov-Poisson system in three space and three velocity dimensions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_row, random_key
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, SampleState, Scalar
from hoam_plugin.numerics import periodic
from hoam_plugin.steppers import Description, Parameters, Variable, clock, state_type

from ...described import arguments_of
from ...sampling import uniform_points
from .. import distributions, splitting
from ..perturbed_box import positive_mu
from ..resolution_checks import check_resolution
from ..species import Species, draw_positions
from . import shape_functions, spectral_poisson
from .field_cache import FieldCache
from .particle_plasma_3d import POSITIONS, VELOCITIES, ParticlePlasma3D

PhaseSpaceState3D = state_type((*POSITIONS, *VELOCITIES))


@pytree()
class VlasovPoissonPIC3D(ParticlePlasma3D):
    """Electrostatic particle-in-cell code in three space and three velocity dimensions, pure JAX.

    Solves f_t + v . grad f - (1 / mu) E . grad_v f = 0 with div E = 1 - n on a periodic box (plasma units of unit mass;
    electrons of charge -1 and mass `mu`, the physics parameter, on an immobile background; plasma frequency
    1 / sqrt(mu)): the strong Landau problem of arXiv:2410.12000. The start does not depend on `mu`. A run with a
    perturbation along the first axis follows a 1D1V run of `VlasovPoissonPIC` at mu_1D = sqrt(mu). Field by FFT, kick,
    drift, kick with one field solve per step.

    Attributes:
        lengths: period of each axis.
        amplitude: relative density perturbation along the first axis, |amplitude| < 1.
        mode: number of wavelengths of the perturbation in the box.
        start: "quiet" (scrambled Hammersley points through the inverse distribution function) or "random".
        n_cells: grid cells of each axis.
        dt: default time step.
        horizon: default time range.
        beams: distribution of v1: Maxwellians, as `Beam`s or their three numbers, a `Table`, or a callable density.
        transverse_beams: distribution of v2 and of v3.
        initial_density: density in x1 instead of the cosine wave: a callable, or values on a grid that spans the box.
        velocity_bounds: range in which velocities are expected (histograms, plots).
        velocity_scale: velocity by which scores make velocities dimensionless.
        shape: shape function of the particles: "linear", "quadratic" or "cubic".
        integrator: "leapfrog" (order 2) or "yoshida" (order 4 with cubic shapes, three field solves per step).

    Example:
        >>> simulators.VlasovPoissonPIC3D().parameters
        ('mu',)
    """

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        return (
            Variable("electric_energy", long_name="mean electric energy per particle, 1/(2 V) int |E|^2 dx"),
            Variable("field_energy", long_name="field energy per particle, 1/(2 V) int |E|^2 dx"),
            Variable("kinetic_energy", long_name="kinetic energy per particle, mean of mu |v|^2 / 2"),
            Variable("total_energy", long_name="total energy per particle, kinetic plus field"),
            Variable("momentum", dims=("axis",), long_name="momentum per particle, mean of mu v"),
            Variable("charge", long_name="mean charge density of the particles, as deposited on the grid"),
            Variable("electric_field", dims=("cell",), long_name="electric field along axis 1, mean over axes 2 and 3"),
        )

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Positions of the nodes along the first axis, and numbers of the axes."""
        return {
            "cell": np.arange(self.n_cells[0]) * (self.lengths[0] / self.n_cells[0]),
            "axis": np.arange(1, 4),
        }

    def describe(self) -> Description:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""
        return "vlasov_poisson_3d", arguments_of(self)

    def check_run(self, parameters: dict[str, np.ndarray], dt: float) -> None:
        """Warn of a time step or cells that do not resolve the plasma; `simulate` calls it before a run.

        Raises:
            ValueError: the step is beyond the limit of the plasma period, or mu is not positive.
        """
        mu = positive_mu(parameters, "it is the mass of a particle")
        check_resolution(
            f"mu={mu.min():g}",
            1 / np.sqrt(mu),
            np.sqrt(mu) * distributions.width(self.beams),
            dt=dt,
            integrator=self.integrator,
            cell=max(length / n for length, n in zip(self.lengths, self.n_cells, strict=True)),
            wavelength=self.lengths[0] / self.mode,
            speed=distributions.fastest(self.beams),
        )

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """Draw `n_samples` particles from f0; see the class.

        Raises:
            ValueError: parameters other than `mu`.
            TypeError: a key that is no JAX random key.
        """
        parameters = parameter_row(parameters, self.parameters)
        u = uniform_points(random_key(key), n_samples, 6, self.start)
        one = Species("electrons", amplitude=self.amplitude, initial_density=self.initial_density)
        # The direction of the perturbation takes the two most even coordinates.
        columns = {
            "x1": draw_positions(u[:, 0], one, self.lengths[0], self.mode),
            "v1": distributions.quantile(u[:, 1], self.beams),
            "x2": u[:, 2] * self.lengths[1],
            "x3": u[:, 3] * self.lengths[2],
            "v2": distributions.quantile(u[:, 4], self.transverse_beams),
            "v3": distributions.quantile(u[:, 5], self.transverse_beams),
        }
        cache = FieldCache((jnp.zeros_like(u[:, 0]),) * 3, jnp.zeros((3, *self.n_cells), u.dtype))
        state = PhaseSpaceState3D(**clock.at(self.horizon[0], u.dtype), **columns, aux=cache)
        return self.refresh(state, parameters)

    def step(self, state: SampleState, dt: Scalar, parameters: Parameters, key: Key | None = None) -> SampleState:
        """One step: kick, drift, kick, or a fourth-order composition of three; `key` is not used.

        Raises:
            ValueError: parameters other than `mu`.
        """
        parameters = parameter_row(parameters, self.parameters)
        dt = jnp.asarray(dt, state.x1.dtype)
        moved = state
        for fraction in splitting.COMPOSITIONS[self.integrator]:
            moved = self._kick_drift_kick(moved, fraction * dt, parameters)
        return clock.advanced(moved, dt)

    def _kick_drift_kick(self, state: SampleState, dt: Float[Array, ""], parameters: Parameters) -> SampleState:
        half_kicked = [getattr(state, v) + dt / 2 * state.aux.acceleration[i] for i, v in enumerate(VELOCITIES)]
        positions = self._wrapped([getattr(state, x) + dt * v for x, v in zip(POSITIONS, half_kicked, strict=True)])
        cache = self._field(positions, parameters)
        velocities = [v + dt / 2 * cache.acceleration[i] for i, v in enumerate(half_kicked)]
        moved = dict(zip((*POSITIONS, *VELOCITIES), (*positions, *velocities), strict=True))
        return dataclasses.replace(state, **moved, aux=cache)

    def refresh(self, state: SampleState, parameters: Parameters) -> SampleState:
        """Rebuild the cached field and acceleration; positions are wrapped into the box.

        Raises:
            ValueError: parameters other than `mu`.
        """
        parameters = parameter_row(parameters, self.parameters)
        positions = self._wrapped([getattr(state, x) for x in POSITIONS])
        moved = dict(zip(POSITIONS, positions, strict=True))
        return dataclasses.replace(state, **moved, aux=self._field(positions, parameters))

    def rates(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, " sample"]]:
        """Exact time derivatives of the variables.

        Raises:
            ValueError: parameters other than `mu`.
        """
        parameter_row(parameters, self.parameters)
        moving = {x: getattr(state, v) for x, v in zip(POSITIONS, VELOCITIES, strict=True)}
        return {**moving, **{v: state.aux.acceleration[i] for i, v in enumerate(VELOCITIES)}}

    def diagnostics(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, "..."]]:
        """Energies, momentum and charge per particle, and the field; see `diagnostic_variables`.

        Raises:
            ValueError: parameters other than `mu`.
        """
        mu = jnp.asarray(parameter_row(parameters, self.parameters)["mu"], state.x1.dtype)
        field = state.aux.electric_field
        field_energy = jnp.mean(jnp.sum(field**2, axis=0)) / 2
        velocities = jnp.stack([getattr(state, v) for v in VELOCITIES])
        kinetic_energy = mu / 2 * jnp.mean(jnp.sum(velocities**2, axis=0))
        return {
            "electric_energy": field_energy,
            "field_energy": field_energy,
            "kinetic_energy": kinetic_energy,
            "total_energy": kinetic_energy + field_energy,
            "momentum": mu * jnp.mean(velocities, axis=1),
            "charge": -jnp.mean(self._density(self._footprint([getattr(state, x) for x in POSITIONS]))),
            "electric_field": jnp.mean(field[0], axis=(1, 2)),
        }

    def _wrapped(self, positions: Sequence[Float[Array, " sample"]]) -> list[Float[Array, " sample"]]:
        return [periodic.wrapped_by_product(x, length) for x, length in zip(positions, self.lengths, strict=True)]

    def _footprint(self, positions: Sequence[Float[Array, " sample"]]) -> shape_functions.Footprint:
        return shape_functions.footprint(tuple(positions), self.lengths, self.n_cells, self.shape)

    def _density(self, at: shape_functions.Footprint) -> Float[Array, "n1 n2 n3"]:
        return shape_functions.deposit(at) * (math.prod(self.n_cells) / len(at.cell))

    def _field(self, positions: Sequence[Float[Array, " sample"]], parameters: Parameters) -> FieldCache:
        mu = jnp.asarray(parameters["mu"], positions[0].dtype)
        at = self._footprint(positions)
        field = spectral_poisson.electric_field(-self._density(at), self.lengths)
        # Electrons carry charge -1.
        acceleration = tuple(shape_functions.gather(-component / mu, at) for component in field)
        return FieldCache(acceleration, field)

"""Particle-in-cell solver of the Vlasov-Poisson system in three space and three velocity dimensions."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_row, positive_int, random_key
from hoam_plugin.steppers import Parameters, Variable, clock, state_type

from .. import distributions, splitting
from .. import species as kinds_of_particles
from ..resolution import check_resolution
from ..species import MAXWELLIAN, Species
from ..splitting import Integrator
from . import shape_functions, spectral_poisson
from .checks import check_shared_attributes, normalise_attributes
from .shape_functions import Shape
from .vlasov_poisson import FieldCache

_STATIC = {"static": True}
_POSITIONS = ("x1", "x2", "x3")
_VELOCITIES = ("v1", "v2", "v3")
PhaseSpaceState3D = state_type((*_POSITIONS, *_VELOCITIES))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VlasovPoissonPIC3D:
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
    """

    lengths: tuple[float, ...] = dataclasses.field(default=(4 * math.pi, 1.0, 1.0), metadata=_STATIC)
    amplitude: float = dataclasses.field(default=0.5, metadata=_STATIC)
    mode: int = dataclasses.field(default=1, metadata=_STATIC)
    start: Literal["quiet", "random"] = dataclasses.field(default="quiet", metadata=_STATIC)
    n_cells: tuple[int, ...] = dataclasses.field(default=(32, 4, 4), metadata=_STATIC)
    dt: float = dataclasses.field(default=0.05, metadata=_STATIC)
    horizon: tuple[float, float] = dataclasses.field(default=(0.0, 8.75), metadata=_STATIC)
    beams: Any = dataclasses.field(default=MAXWELLIAN, metadata=_STATIC)
    transverse_beams: Any = dataclasses.field(default=MAXWELLIAN, metadata=_STATIC)
    initial_density: Any = dataclasses.field(default=None, metadata=_STATIC)
    velocity_bounds: tuple[float, float] = dataclasses.field(default=(-6.0, 6.0), metadata=_STATIC)
    velocity_scale: float = dataclasses.field(default=1.0, metadata=_STATIC)
    shape: Shape = dataclasses.field(default="linear", metadata=_STATIC)
    integrator: Integrator = dataclasses.field(default="leapfrog", metadata=_STATIC)

    def __post_init__(self) -> None:
        # Normalised here so that arguments read back from JSON give an equal, hashable stepper.
        normalise_attributes(
            self, numbers=("amplitude", "dt", "velocity_scale"), tuples=("lengths", "horizon", "velocity_bounds")
        )
        if len(self.lengths) != 3 or not all(math.isfinite(length) and length > 0 for length in self.lengths):
            raise ValueError(f"lengths={self.lengths!r} must be three positive numbers, one for each axis")
        object.__setattr__(self, "n_cells", tuple(positive_int("n_cells", n, 2) for n in self.n_cells))
        if len(self.n_cells) != 3:
            raise ValueError(f"n_cells={self.n_cells!r} must be three whole numbers, one for each axis")
        check_shared_attributes(self, self.n_cells[0])
        for name in ("beams", "transverse_beams"):
            checked = distributions.velocity_distribution(name, getattr(self, name), self.velocity_bounds)
            object.__setattr__(self, name, checked)
        if self.initial_density is not None:
            table = distributions.position_density("initial_density", self.initial_density, self.lengths[0])
            object.__setattr__(self, "initial_density", table)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The one physics parameter: `mu`, the mass of a particle."""
        return ("mu",)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Positions on the torus, each with its own period, and velocities."""
        positions = [
            Variable(name, period=length, long_name=f"position along axis {i}", bounds=(0.0, length))
            for i, (name, length) in enumerate(zip(_POSITIONS, self.lengths, strict=True), 1)
        ]
        velocities = [
            Variable(
                name,
                velocity_of=position,
                long_name=f"velocity along axis {i}",
                scale=self.velocity_scale,
                bounds=self.velocity_bounds,
            )
            for i, (name, position) in enumerate(zip(_VELOCITIES, _POSITIONS, strict=True), 1)
        ]
        return (*positions, *velocities)

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

    def describe(self) -> tuple[str, dict[str, Any]]:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""
        return "vlasov_poisson_3d", {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def check_run(self, parameters: dict[str, np.ndarray], dt: float) -> None:
        """Warn of a time step or cells that do not resolve the plasma; `simulate` calls it before a run.

        Raises:
            ValueError: the step is beyond the limit of the plasma period, or mu is not positive.
        """
        mu = np.asarray(parameters["mu"], np.float64)
        if not (mu > 0).all():
            raise ValueError(f"mu={mu.tolist()!r} must be positive: it is the mass of a particle")
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

    def init(self, key: Array, n_samples: int, parameters: Parameters) -> Any:
        """Draw `n_samples` particles from f0; see the class.

        Raises:
            ValueError: parameters other than `mu`.
            TypeError: a key that is no JAX random key.
        """
        parameters = parameter_row(parameters, self.parameters)
        u = kinds_of_particles.uniform_points(random_key(key), n_samples, 6, self.start)
        one = Species("electrons", amplitude=self.amplitude, initial_density=self.initial_density)
        # The direction of the perturbation takes the two most even coordinates.
        columns = {
            "x1": kinds_of_particles.draw_positions(u[:, 0], one, self.lengths[0], self.mode),
            "v1": distributions.quantile(u[:, 1], self.beams),
            "x2": u[:, 2] * self.lengths[1],
            "x3": u[:, 3] * self.lengths[2],
            "v2": distributions.quantile(u[:, 4], self.transverse_beams),
            "v3": distributions.quantile(u[:, 5], self.transverse_beams),
        }
        cache = FieldCache((jnp.zeros_like(u[:, 0]),) * 3, jnp.zeros((3, *self.n_cells), u.dtype))
        state = PhaseSpaceState3D(**clock.at(self.horizon[0], u.dtype), **columns, aux=cache)
        return self.refresh(state, parameters)

    def step(self, state: Any, dt: Any, parameters: Parameters, key: Any = None) -> Any:
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

    def _kick_drift_kick(self, state: Any, dt: Any, parameters: Parameters) -> Any:
        half_kicked = [getattr(state, v) + dt / 2 * state.aux.acceleration[i] for i, v in enumerate(_VELOCITIES)]
        positions = self._wrapped([getattr(state, x) + dt * v for x, v in zip(_POSITIONS, half_kicked, strict=True)])
        cache = self._field(positions, parameters)
        velocities = [v + dt / 2 * cache.acceleration[i] for i, v in enumerate(half_kicked)]
        moved = dict(zip((*_POSITIONS, *_VELOCITIES), (*positions, *velocities), strict=True))
        return dataclasses.replace(state, **moved, aux=cache)

    def refresh(self, state: Any, parameters: Parameters) -> Any:
        """Rebuild the cached field and acceleration; positions are wrapped into the box.

        Raises:
            ValueError: parameters other than `mu`.
        """
        parameters = parameter_row(parameters, self.parameters)
        positions = self._wrapped([getattr(state, x) for x in _POSITIONS])
        moved = dict(zip(_POSITIONS, positions, strict=True))
        return dataclasses.replace(state, **moved, aux=self._field(positions, parameters))

    def rates(self, state: Any, parameters: Parameters) -> dict[str, Float[Array, " sample"]]:
        """Exact time derivatives of the variables.

        Raises:
            ValueError: parameters other than `mu`.
        """
        parameter_row(parameters, self.parameters)
        moving = {x: getattr(state, v) for x, v in zip(_POSITIONS, _VELOCITIES, strict=True)}
        return {**moving, **{v: state.aux.acceleration[i] for i, v in enumerate(_VELOCITIES)}}

    def diagnostics(self, state: Any, parameters: Parameters) -> dict[str, Float[Array, ...]]:
        """Energies, momentum and charge per particle, and the field; see `diagnostic_variables`.

        Raises:
            ValueError: parameters other than `mu`.
        """
        mu = jnp.asarray(parameter_row(parameters, self.parameters)["mu"], state.x1.dtype)
        field = state.aux.electric_field
        field_energy = jnp.mean(jnp.sum(field**2, axis=0)) / 2
        velocities = jnp.stack([getattr(state, v) for v in _VELOCITIES])
        kinetic_energy = mu / 2 * jnp.mean(jnp.sum(velocities**2, axis=0))
        return {
            "electric_energy": field_energy,
            "field_energy": field_energy,
            "kinetic_energy": kinetic_energy,
            "total_energy": kinetic_energy + field_energy,
            "momentum": mu * jnp.mean(velocities, axis=1),
            "charge": -jnp.mean(self._density(self._footprint([getattr(state, x) for x in _POSITIONS]))),
            "electric_field": jnp.mean(field[0], axis=(1, 2)),
        }

    def _wrapped(self, positions: list[Any]) -> list[Any]:
        return [x - length * jnp.floor(x * (1 / length)) for x, length in zip(positions, self.lengths, strict=True)]

    def _footprint(self, positions: list[Any]) -> shape_functions.Footprint:
        return shape_functions.footprint(tuple(positions), self.lengths, self.n_cells, self.shape)

    def _density(self, at: shape_functions.Footprint) -> Float[Array, "n1 n2 n3"]:
        return shape_functions.deposit(at) * (math.prod(self.n_cells) / len(at.cell))

    def _field(self, positions: list[Any], parameters: Parameters) -> FieldCache:
        mu = jnp.asarray(parameters["mu"], positions[0].dtype)
        at = self._footprint(positions)
        field = spectral_poisson.electric_field(-self._density(at), self.lengths)
        # Electrons carry charge -1.
        acceleration = tuple(shape_functions.gather(-component / mu, at) for component in field)
        return FieldCache(acceleration, field)

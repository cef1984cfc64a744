"""Particle-in-cell solver of the Vlasov-Poisson system in one space and one or two velocity dimensions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import parameter_row, positive_int, random_key
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import Parameters, Variable, clock, state_type

from .. import distributions, splitting
from .. import species as kinds_of_particles
from ..phase_space import PhaseSpaceState, phase_space_variables
from ..resolution import check_resolution
from ..species import MAXWELLIAN, Species
from ..splitting import Integrator
from . import delta_f, mesh
from .checks import check_particle_physics, check_positive, check_shared_attributes, normalise_attributes
from .shape_functions import Shape

_STATIC = {"static": True}
TransverseState = state_type(("x", "v", "vy"))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FieldCache:
    """What a step keeps for the next.

    Not annotated with shapes, since JAX's transformations put batched and placeholder leaves into a pytree.

    Attributes:
        acceleration: of the samples by the electric field.
        electric_field: between the grid nodes (in 3-D on the nodes).
        label: phase-space density that the samples started with, for `deposit="delta_f"`; else None.
    """

    acceleration: Any
    electric_field: Any
    label: Any = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VlasovPoissonPIC:
    """Electrostatic particle-in-cell code in one space and one or two velocity dimensions, pure JAX.

    Solves f_t + v f_x + phi_x f_v = 0 with mu^2 phi_xx = n - 1 on a periodic box (plasma units; E = -phi_x, mean
    density 1, `mu` the physics parameter, plasma frequency 1 / mu): electrons on an immobile neutralising background.
    With `species`, each has dv/dt = (charge / mass) E, and mu^2 E_x is the charge density of all of them less its mean.
    Deposit and gather with one shape function, field by cumulative sums, leapfrog in kick-drift-kick form with one
    field solve per step (Birdsall and Langdon, Plasma Physics via Computer Simulation, chapters 2 and 8). The start is
    (1 + amplitude cos(2 pi mode x / length)) times a mixture of drifting Maxwellians, or any product density.

    Samples are particles. Where there are several species, sample i belongs to species i mod their number, and stands
    for as many particles as its species' density says.

    Attributes:
        beams: distribution of the velocity v along x: Maxwellians, as `Beam`s or their three numbers (weights are
            scaled to sum to 1), a `Table`, or a callable density, which is tabulated over `velocity_bounds`.
        length: period of the box.
        amplitude: relative density perturbation, |amplitude| < 1.
        mode: number of wavelengths of the perturbation in the box.
        start: "quiet" (scrambled Hammersley points through the inverse distribution function) or "random".
        n_cells: grid cells.
        dt: default time step; 0.2 is still accurate for the two-stream problem (energy curve within 0.5 %).
        horizon: default time range.
        velocity_bounds: range in which velocities are expected (histograms, plots).
        velocity_scale: velocity by which scores make v dimensionless.
        shape: shape function of the particles: "linear" (cloud-in-cell), "quadratic" or "cubic".
        integrator: "leapfrog" (order 2) or "yoshida" (order 4 with cubic shapes, three field solves per step).
        velocity_dimensions: 1, or 2 for a second velocity `vy` across x.
        transverse_beams: distribution of vy, as `beams`.
        magnetic_field: uniform field B along z, which turns (v, vy) by the exact rotation; needs 2 velocity dimensions.
        initial_density: density in x instead of the cosine wave: a callable, or values on a grid that spans the box
            with both ends; any normalisation.
        species: `Species` with their own charges, masses, densities and starts, instead of the electrons that `beams`,
            `transverse_beams` and `initial_density` describe; `amplitude` perturbs the first one.
        collision_frequency: rate nu of dv = -nu (v - u) dt + sqrt(2 nu T / m) dW, in every velocity; 0 for none.
        collision_mean: u, of v; that of vy is 0.
        collision_temperature: T.
        deposit: "full_f", or "delta_f" for a control variate that lowers the noise of the field while the population is
            close to its equilibrium (see `delta_f.py`); momentum is then kept to within noise only. It
            needs to know where samples come from: a state that is refreshed later than at the start of the horizon
            goes on with the plain deposit.
    """

    beams: Any = dataclasses.field(default=MAXWELLIAN, metadata=_STATIC)
    length: float = dataclasses.field(default=4 * math.pi, metadata=_STATIC)
    amplitude: float = dataclasses.field(default=0.01, metadata=_STATIC)
    mode: int = dataclasses.field(default=1, metadata=_STATIC)
    start: Literal["quiet", "random"] = dataclasses.field(default="quiet", metadata=_STATIC)
    n_cells: int = dataclasses.field(default=3125, metadata=_STATIC)
    dt: float = dataclasses.field(default=0.05, metadata=_STATIC)
    horizon: tuple[float, float] = dataclasses.field(default=(0.0, 40.0), metadata=_STATIC)
    velocity_bounds: tuple[float, float] = dataclasses.field(default=(-8.0, 8.0), metadata=_STATIC)
    velocity_scale: float = dataclasses.field(default=3.0, metadata=_STATIC)
    shape: Shape = dataclasses.field(default="linear", metadata=_STATIC)
    integrator: Integrator = dataclasses.field(default="leapfrog", metadata=_STATIC)
    velocity_dimensions: int = dataclasses.field(default=1, metadata=_STATIC)
    transverse_beams: Any = dataclasses.field(default=MAXWELLIAN, metadata=_STATIC)
    magnetic_field: float = dataclasses.field(default=0.0, metadata=_STATIC)
    initial_density: Any = dataclasses.field(default=None, metadata=_STATIC)
    species: Any = dataclasses.field(default=(), metadata=_STATIC)
    collision_frequency: float = dataclasses.field(default=0.0, metadata=_STATIC)
    collision_mean: float = dataclasses.field(default=0.0, metadata=_STATIC)
    collision_temperature: float = dataclasses.field(default=1.0, metadata=_STATIC)
    deposit: Literal["full_f", "delta_f"] = dataclasses.field(default="full_f", metadata=_STATIC)

    def __post_init__(self) -> None:
        # Normalised here so that arguments read back from JSON give an equal, hashable stepper.
        numbers = ("length", "amplitude", "dt", "velocity_scale", "magnetic_field")
        collisions = ("collision_frequency", "collision_mean", "collision_temperature")
        normalise_attributes(self, numbers=(*numbers, *collisions), tuples=("horizon", "velocity_bounds"))
        check_positive(self, "length")
        positive_int("n_cells", self.n_cells, 4)
        check_shared_attributes(self, self.n_cells)
        normalised: dict[str, Any] = {}
        for name in ("beams", "transverse_beams"):
            normalised[name] = distributions.velocity_distribution(name, getattr(self, name), self.velocity_bounds)
        if self.initial_density is not None:
            normalised["initial_density"] = distributions.position_density(
                "initial_density", self.initial_density, self.length
            )
        normalised["species"] = kinds_of_particles.checked_species(
            self.species, self.amplitude, self.length, self.velocity_bounds
        )
        for name, value in normalised.items():
            object.__setattr__(self, name, value)
        check_particle_physics(self)

    @property
    def kinds(self) -> tuple[Species, ...]:
        """The mobile species: those given, or the electrons."""
        if self.species:
            return self.species
        start = {"beams": self.beams, "amplitude": self.amplitude, "transverse_beams": self.transverse_beams}
        return (Species("electrons", **start, initial_density=self.initial_density),)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The one physics parameter: `mu`, the Debye length scale in mu^2 phi_xx = n - 1."""
        return ("mu",)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Position on the torus and velocity; with two velocity dimensions also the velocity across."""
        x, v = phase_space_variables(self.length, self.velocity_bounds, self.velocity_scale)
        # No variable has vy as its rate: nothing depends on y.
        across = dataclasses.replace(v, name="vy", velocity_of=None, long_name="velocity across x")
        return (x, v, across) if self.velocity_dimensions == 2 else (x, v)

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        return (
            Variable("electric_energy", long_name="mean electric energy per particle, mu^4/(2 L) int E^2 dx"),
            Variable("field_energy", long_name="field energy per particle, mu^2/(2 L) int E^2 dx"),
            Variable("kinetic_energy", long_name="kinetic energy per particle, mean of v^2/2"),
            Variable("total_energy", long_name="total energy per particle, kinetic plus field"),
            Variable("momentum", long_name="momentum along x per particle, mean of v"),
            Variable("charge", long_name="mean charge density of the particles, as deposited on the grid"),
            Variable("electric_field", dims=("cell",), long_name="electric field -phi_x at the cell centres"),
        )

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Positions of the cell centres."""
        return {"cell": (np.arange(self.n_cells) + 0.5) * (self.length / self.n_cells)}

    def sample_coordinates(self, n_samples: int) -> dict[str, xr.Variable]:
        """Number of each sample's species, where there are several."""
        return kinds_of_particles.species_coordinate(self.kinds, n_samples)

    def samples_of(self, name: str, n_samples: int) -> Int[np.ndarray, " n"]:
        """Positions of the samples of one species in a population of `n_samples`.

        Raises:
            ValueError: an unknown species.
        """
        return kinds_of_particles.samples_of(self.kinds, name, n_samples)

    def describe(self) -> tuple[str, dict[str, Any]]:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""
        arguments = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return "vlasov_poisson_pic", arguments

    def check_run(self, parameters: dict[str, np.ndarray], dt: float) -> None:
        """Warn of a time step or cells that do not resolve the plasma; `simulate` calls it before a run.

        Raises:
            ValueError: the step is beyond the limit of the plasma period, or mu is not positive.
        """
        mu = np.asarray(parameters["mu"], np.float64)
        if not (mu > 0).all():
            raise ValueError(f"mu={mu.tolist()!r} must be positive: the plasma frequency is 1/mu")
        strengths = np.asarray([one.charge**2 * one.density / one.mass for one in self.kinds])
        widths = np.asarray([distributions.width(one.beams) for one in self.kinds])
        # Immobile and neutral species do not screen.
        screening = max(float((strengths / widths**2).sum()), np.finfo(np.float64).tiny)
        check_resolution(
            f"mu={mu.min():g}",
            np.sqrt(strengths.sum()) / mu,
            mu / np.sqrt(screening),
            dt=dt,
            integrator=self.integrator,
            cell=self.length / self.n_cells,
            wavelength=self.length / self.mode,
            speed=max(distributions.fastest(one.beams) for one in self.kinds),
        )

    def init(self, key: Array, n_samples: int, parameters: Parameters) -> Any:
        """Draw `n_samples` particles from f0; see the class.

        Raises:
            ValueError: fewer samples than species, or parameters other than `mu`.
            TypeError: a key that is no JAX random key.
        """
        kinds, parameters = self.kinds, parameter_row(parameters, self.parameters)
        random_key(key)
        if n_samples < len(kinds):
            raise ValueError(f"n_samples={n_samples} must be at least the number of species, {len(kinds)}")
        if len(kinds) == 1:
            columns = self._draw(key, n_samples, kinds[0])
        else:
            parts = [
                self._draw(jax.random.fold_in(key, i), len(self.samples_of(one.name, n_samples)), one)
                for i, one in enumerate(kinds)
            ]
            columns = [jnp.zeros(n_samples, column.dtype) for column in parts[0]]
            for i, part in enumerate(parts):
                columns = [whole.at[i :: len(kinds)].set(own) for whole, own in zip(columns, part, strict=True)]
        x = columns[0]
        cache = FieldCache(
            acceleration=jnp.zeros_like(x),
            electric_field=jnp.zeros(self.n_cells, x.dtype),
            label=jnp.zeros_like(x) if self.deposit == "delta_f" else None,
        )
        kind = TransverseState if self.velocity_dimensions == 2 else PhaseSpaceState
        samples = dict(zip(("x", "v", "vy"), columns, strict=False))
        return self.refresh(kind(**clock.at(self.horizon[0], x.dtype), **samples, aux=cache), parameters)

    def _draw(self, key: Array, n: int, one: Species) -> list[Any]:
        u = kinds_of_particles.uniform_points(key, n, 1 + self.velocity_dimensions, self.start)
        x = kinds_of_particles.draw_positions(u[:, 0], one, self.length, self.mode)
        velocities = (one.beams, one.transverse_beams)[: self.velocity_dimensions]
        return [x, *(distributions.quantile(u[:, i + 1], own) for i, own in enumerate(velocities))]

    def step(self, state: Any, dt: Any, parameters: Parameters, key: Any = None) -> Any:
        """One step: kick, drift, kick, or a fourth-order composition of three; with collisions half-way through.

        Raises:
            ValueError: no key although there are collisions, or parameters other than `mu`.
            TypeError: with collisions, a key that is no JAX random key.
        """
        if self.collision_frequency and key is None:
            raise ValueError(
                f"key=None: collision_frequency={self.collision_frequency:g} needs random numbers; pass a key, such as "
                "jax.random.key(0)"
            )
        parameters = parameter_row(parameters, self.parameters)
        dt = jnp.asarray(dt, state.x.dtype)
        moved = state
        for fraction in splitting.COMPOSITIONS[self.integrator]:
            moved = self._kick_drift_kick(moved, fraction * dt, parameters, key)
        return clock.advanced(moved, dt)

    def _kick_drift_kick(self, state: Any, dt: Any, parameters: Parameters, key: Any) -> Any:
        velocities = (state.v + dt / 2 * state.aux.acceleration, *self._across(state))
        if self.collision_frequency:
            # Collisions between two half drifts (the order BAOAB): the least bias, and one field solve as before.
            x, velocities = self._drift(state.x, velocities, dt / 2)
            x, velocities = self._drift(x, self._collide(velocities, dt, key), dt / 2)
        else:
            x, velocities = self._drift(state.x, velocities, dt)
        x = x - self.length * jnp.floor(x * (1 / self.length))
        cache = self._field(x, velocities, state.aux.label, parameters)
        v = velocities[0] + dt / 2 * cache.acceleration
        across = dict(zip(("vy",), velocities[1:], strict=False))
        return dataclasses.replace(state, x=x, v=v, aux=cache, **across)

    def _drift(self, x: Any, velocities: Any, dt: Any) -> tuple[Any, tuple[Any, ...]]:
        if not self.magnetic_field:
            return x + dt * velocities[0], velocities
        moved, *turned = splitting.gyrate(x, velocities[0], velocities[1], dt, self._gyrofrequency(x))
        return moved, tuple(turned)

    def _collide(self, velocities: Any, dt: Any, key: Any) -> tuple[Any, ...]:
        normals = jax.random.normal(random_key(key), (len(velocities), len(velocities[0])), velocities[0].dtype)
        means = (self.collision_mean, 0.0)
        return tuple(
            splitting.relax(v, dt, self.collision_frequency, mean, self._collision_width, own)
            for v, mean, own in zip(velocities, means[: len(velocities)], normals, strict=True)
        )

    def refresh(self, state: Any, parameters: Parameters) -> Any:
        """Rebuild the cached field and acceleration; positions are wrapped into the box.

        Raises:
            ValueError: parameters other than `mu`.
        """
        parameters = parameter_row(parameters, self.parameters)
        x = state.x - self.length * jnp.floor(state.x * (1 / self.length))
        velocities = (state.v, *self._across(state))
        label = None
        if self.deposit == "delta_f":
            start = self.horizon[0]
            is_start = clock.elapsed(state, start) <= tolerances.start_margin(start, self.horizon, self.dt)
            label = delta_f.labels(x, velocities, self.kinds[0], self.length, self.mode, is_start)
        return dataclasses.replace(state, x=x, aux=self._field(x, velocities, label, parameters))

    def rates(self, state: Any, parameters: Parameters) -> dict[str, Float[Array, " sample"]]:
        """Time derivatives of the variables; of collisions the friction, without the noise.

        Raises:
            ValueError: parameters other than `mu`.
        """
        parameters = parameter_row(parameters, self.parameters)
        rates = {"x": state.v, "v": state.aux.acceleration}
        if self.velocity_dimensions == 2:
            frequency = self._gyrofrequency(state.x)
            rates = {**rates, "v": rates["v"] + frequency * state.vy, "vy": -frequency * state.v}
        friction = self._friction(state, parameters) if self.collision_frequency else {}
        return {name: rate + friction[name] if name in friction else rate for name, rate in rates.items()}

    @property
    def known_drift(self) -> Callable[[Any, Parameters], dict[str, Any]]:
        """The friction of collisions; no attribute where there are none."""
        self._require_collisions()
        return self._friction

    @property
    def noise(self) -> Callable[[Any, Parameters], dict[str, Any]]:
        """The amplitude of the noise of collisions; no attribute where there are none."""
        self._require_collisions()
        amplitude = self._collision_width * math.sqrt(2 * self.collision_frequency)
        return lambda state, parameters: dict.fromkeys(("v", "vy")[: self.velocity_dimensions], amplitude)

    def _require_collisions(self) -> None:
        if not self.collision_frequency:
            raise AttributeError("collision_frequency=0: there is no known drift and no noise")

    def _friction(self, state: Any, parameters: Parameters) -> dict[str, Any]:
        drift = {"v": -self.collision_frequency * (state.v - self.collision_mean)}
        if self.velocity_dimensions == 2:
            drift["vy"] = -self.collision_frequency * state.vy
        return drift

    @property
    def _collision_width(self) -> float:
        return math.sqrt(self.collision_temperature / self.kinds[0].mass)

    def diagnostics(self, state: Any, parameters: Parameters) -> dict[str, Float[Array, ...]]:
        """Energies, momentum and charge per particle, and the field; see `diagnostic_variables`.

        Raises:
            ValueError: parameters other than `mu`.
        """
        mu = jnp.asarray(parameter_row(parameters, self.parameters)["mu"], state.x.dtype)
        field = state.aux.electric_field
        field_energy = mu**2 / 2 * jnp.mean(field**2)
        mass = self._amounts(state.x, [one.mass for one in self.kinds])
        kinetic_energy = sum(jnp.mean(mass * v**2) for v in (state.v, *self._across(state))) / 2
        deposit, _ = mesh.particle_mesh(state.x, self.length, self.n_cells, self.shape)
        charge = self._amounts(state.x, [one.charge for one in self.kinds])
        return {
            "electric_energy": mu**2 * field_energy,
            "field_energy": field_energy,
            "kinetic_energy": kinetic_energy,
            "total_energy": kinetic_energy + field_energy,
            "momentum": jnp.mean(mass * state.v),
            "charge": jnp.mean(deposit(charge * jnp.ones_like(state.x))),
            "electric_field": field,
        }

    def _across(self, state: Any) -> tuple[Any, ...]:
        return (state.vy,) if self.velocity_dimensions == 2 else ()

    def _gyrofrequency(self, x: Any) -> Any:
        ratios = [one.charge / one.mass * self.magnetic_field for one in self.kinds]
        return ratios[0] if len(ratios) == 1 else kinds_of_particles.per_sample(ratios, len(x), x.dtype)

    def _amounts(self, x: Any, values: Any) -> Any:
        return kinds_of_particles.amounts(self.kinds, values, len(x), x.dtype)

    def _field(self, x: Any, velocities: Any, label: Any, parameters: Parameters) -> FieldCache:
        mu = jnp.asarray(parameters["mu"], x.dtype)
        deposit, gather = mesh.particle_mesh(x, self.length, self.n_cells, self.shape)
        field = mesh.electric_displacement(self._electrons(deposit, x, velocities, label), self.length) / mu**2
        at_samples = gather(mesh.on_nodes(field))
        ratios = [one.charge / one.mass for one in self.kinds]
        ratio = ratios[0] if len(ratios) == 1 else kinds_of_particles.per_sample(ratios, len(x), x.dtype)
        return FieldCache(ratio * at_samples, field, label)

    def _electrons(self, deposit: Any, x: Any, velocities: Any, label: Any) -> Float[Array, " n_cells"]:
        """The density of electrons, of mean 1, whose charge on a uniform background equals that of all species."""
        if len(self.kinds) > 1:
            charge = deposit(self._amounts(x, [one.charge for one in self.kinds]))
            return 1 + jnp.mean(charge) - charge
        one = self.kinds[0]
        if label is None:
            density = deposit()
        else:
            density = deposit(delta_f.weights(velocities, label, one))
            density = 1 + density - jnp.mean(density)
        strength = -one.charge * one.density
        return density if strength == 1 else 1 + strength * (density - 1)

"""Particle-in-cell solver of the Vlasov-Poisson system in one space and one or two velocity dimensions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import parameter_row, random_key
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, SampleState, Scalar
from hoam_plugin.numerics import periodic, tolerances
from hoam_plugin.steppers import Description, OfState, Parameters, Variable, clock, state_type

from ...described import arguments_of
from ...sampling import uniform_points
from .. import distributions, splitting
from .. import species as kinds_of_particles
from ..perturbed_box import positive_mu
from ..phase_space import PhaseSpaceState
from ..resolution_checks import check_resolution
from ..species import Species
from . import delta_f, mesh
from .field_cache import FieldCache
from .particle_plasma import ParticlePlasma

TransverseState = state_type(("x", "v", "vy"))
Columns = tuple[Float[Array, " sample"], ...]


@pytree()
class VlasovPoissonPIC(ParticlePlasma):
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

    Example:
        >>> beams = (simulators.Beam(0.9, 0.0, 1.0), simulators.Beam(0.1, 4.0, 0.5))
        >>> plasma = simulators.VlasovPoissonPIC(beams=beams, length=50.0, n_cells=64)
        >>> plasma.init(key, 64, {"mu": jnp.asarray(1.0)}).v.shape
        (64,)
    """

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

    def describe(self) -> Description:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""
        return "vlasov_poisson_pic", arguments_of(self)

    def check_run(self, parameters: dict[str, np.ndarray], dt: float) -> None:
        """Warn of a time step or cells that do not resolve the plasma; `simulate` calls it before a run.

        Raises:
            ValueError: the step is beyond the limit of the plasma period, or mu is not positive.
        """
        mu = positive_mu(parameters, "the plasma frequency is 1/mu")
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

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
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

    def _draw(self, key: Key, n: int, one: Species) -> list[Float[Array, " n"]]:
        u = uniform_points(key, n, 1 + self.velocity_dimensions, self.start)
        x = kinds_of_particles.draw_positions(u[:, 0], one, self.length, self.mode)
        velocities = (one.beams, one.transverse_beams)[: self.velocity_dimensions]
        return [x, *(distributions.quantile(u[:, i + 1], own) for i, own in enumerate(velocities))]

    def step(self, state: SampleState, dt: Scalar, parameters: Parameters, key: Key | None = None) -> SampleState:
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

    def _kick_drift_kick(
        self, state: SampleState, dt: Float[Array, ""], parameters: Parameters, key: Key | None
    ) -> SampleState:
        velocities = (state.v + dt / 2 * state.aux.acceleration, *self._across(state))
        if self.collision_frequency:
            # Collisions between two half drifts (the order BAOAB): the least bias, and one field solve as before.
            x, velocities = self._drift(state.x, velocities, dt / 2)
            x, velocities = self._drift(x, self._collide(velocities, dt, key), dt / 2)
        else:
            x, velocities = self._drift(state.x, velocities, dt)
        x = periodic.wrapped_by_product(x, self.length)
        cache = self._field(x, velocities, state.aux.label, parameters)
        v = velocities[0] + dt / 2 * cache.acceleration
        across = dict(zip(("vy",), velocities[1:], strict=False))
        return dataclasses.replace(state, x=x, v=v, aux=cache, **across)

    def _drift(self, x: Float[Array, " sample"], velocities: Columns, dt: Float[Array, ""]) -> tuple[Array, Columns]:
        if not self.magnetic_field:
            return x + dt * velocities[0], velocities
        moved, *turned = splitting.gyrate(x, velocities[0], velocities[1], dt, self._gyrofrequency(x))
        return moved, tuple(turned)

    def _collide(self, velocities: Columns, dt: Float[Array, ""], key: Key | None) -> Columns:
        normals = jax.random.normal(random_key(key), (len(velocities), len(velocities[0])), velocities[0].dtype)
        means = (self.collision_mean, 0.0)
        return tuple(
            splitting.relax(v, dt, self.collision_frequency, mean, self._collision_width, own)
            for v, mean, own in zip(velocities, means[: len(velocities)], normals, strict=True)
        )

    def refresh(self, state: SampleState, parameters: Parameters) -> SampleState:
        """Rebuild the cached field and acceleration; positions are wrapped into the box.

        Raises:
            ValueError: parameters other than `mu`.
        """
        parameters = parameter_row(parameters, self.parameters)
        x = periodic.wrapped_by_product(state.x, self.length)
        velocities = (state.v, *self._across(state))
        label = None
        if self.deposit == "delta_f":
            start = self.horizon[0]
            is_start = clock.elapsed(state, start) <= tolerances.start_margin(start, self.horizon, self.dt)
            label = delta_f.labels(x, velocities, self.kinds[0], self.length, self.mode, is_start)
        return dataclasses.replace(state, x=x, aux=self._field(x, velocities, label, parameters))

    def rates(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, " sample"]]:
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
    def known_drift(self) -> OfState | None:
        """(state, parameters) -> the friction of collisions; None where there are none."""
        return self._friction if self.collision_frequency else None

    @property
    def noise(self) -> OfState | None:
        """(state, parameters) -> the amplitude of the noise of collisions; None where there are none."""
        if not self.collision_frequency:
            return None
        amplitude = self._collision_width * math.sqrt(2 * self.collision_frequency)
        return lambda state, parameters: dict.fromkeys(("v", "vy")[: self.velocity_dimensions], amplitude)

    def _friction(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, " sample"]]:
        drift = {"v": -self.collision_frequency * (state.v - self.collision_mean)}
        if self.velocity_dimensions == 2:
            drift["vy"] = -self.collision_frequency * state.vy
        return drift

    @property
    def _collision_width(self) -> float:
        return math.sqrt(self.collision_temperature / self.kinds[0].mass)

    def diagnostics(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, "..."]]:
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

    def _across(self, state: SampleState) -> Columns:
        return (state.vy,) if self.velocity_dimensions == 2 else ()

    def _gyrofrequency(self, x: Float[Array, " sample"]) -> float | Float[Array, " sample"]:
        ratios = [one.charge / one.mass * self.magnetic_field for one in self.kinds]
        return ratios[0] if len(ratios) == 1 else kinds_of_particles.per_sample(ratios, len(x), x.dtype)

    def _amounts(self, x: Float[Array, " sample"], values: Sequence[float]) -> float | Float[Array, " sample"]:
        return kinds_of_particles.amounts(self.kinds, values, len(x), x.dtype)

    def _field(
        self, x: Float[Array, " sample"], velocities: Columns, label: Array | None, parameters: Parameters
    ) -> FieldCache:
        mu = jnp.asarray(parameters["mu"], x.dtype)
        deposit, gather = mesh.particle_mesh(x, self.length, self.n_cells, self.shape)
        field = mesh.electric_displacement(self._electrons(deposit, x, velocities, label), self.length) / mu**2
        at_samples = gather(mesh.on_nodes(field))
        ratios = [one.charge / one.mass for one in self.kinds]
        ratio = ratios[0] if len(ratios) == 1 else kinds_of_particles.per_sample(ratios, len(x), x.dtype)
        return FieldCache(ratio * at_samples, field, label)

    def _electrons(
        self, deposit: mesh.Deposit, x: Float[Array, " sample"], velocities: Columns, label: Array | None
    ) -> Float[Array, " n_cells"]:
        """The density of electrons, of mean 1, whose charge on a uniform background equals that of all species."""
        if len(self.kinds) > 1:
            charges = [one.charge for one in self.kinds]
            charge = deposit(kinds_of_particles.amounts_per_sample(self.kinds, charges, len(x), x.dtype))
            return 1 + jnp.mean(charge) - charge
        one = self.kinds[0]
        if label is None:
            density = deposit()
        else:
            density = deposit(delta_f.weights(velocities, label, one))
            density = 1 + density - jnp.mean(density)
        strength = -one.charge * one.density
        return density if strength == 1 else 1 + strength * (density - 1)

"""Grid solver of the 1D1V Vlasov-Poisson system: no particle noise in the field, and samples that follow it."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_row, random_key
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, PyTree, SampleState, Scalar
from hoam_plugin.numerics import periodic
from hoam_plugin.steppers import Description, OfState, Parameters, Variable, clock

from ...described import arguments_of
from ...sampling import samples_of_table, uniform_points
from .. import distributions
from ..perturbed_box import positive_mu
from ..phase_space import PhaseSpaceState
from ..resolution_checks import check_resolution
from ..species import draw_positions, per_sample, relative_density, species_coordinate
from ..splitting import relax
from . import fokker_planck
from .grid_plasma import GridPlasma
from .phase_space_grid import at_positions
from .spectral_shift import antiderivative

# Of every species, at the nodes.
Distributions = tuple[Float[Array, "n_x n_v"], ...]


@pytree(data=("distributions", "electric_field"))
class GridCache:
    """What a state carries beside its samples: the distribution of every species, and the field at the nodes in x.

    Not annotated with shapes, since JAX's transformations put batched and placeholder leaves into a pytree.
    """

    distributions: PyTree
    electric_field: PyTree


@pytree()
class VlasovPoissonGrid(GridPlasma):
    """Semi-Lagrangian solver in one space and one velocity dimension, pure JAX.

    Solves f_t + v f_x + (q/m) E f_v = C[f] for every species on a periodic box, with mu^2 E_x = the charge density and
    an immobile background that neutralises it (plasma units; electrons have q = -1 and m = 1; `mu` is the physics
    parameter). Strang splitting in the order half kick, drift, half kick (Cheng and Knorr 1976,
    doi:10.1016/0021-9991(76)90053-X), of second order in dt; advection is a translation along one axis, exact in time,
    by trigonometric or cubic spline interpolation (see `spectral_shift.py`), and the field is found
    by FFT. Mass is kept to round-off, momentum as long as nothing reaches the ends of the velocity grid.

    The population of this stepper are samples of f that move along the characteristics of the same field by the same
    splitting (leapfrog). They do not act on the field, so an ensemble of any number of samples has a noise-free field.
    With several species, sample i belongs to species i modulo their number, as in `VlasovPoissonPIC`.

    Structures finer than the cells cannot be shown: without collisions, free streaming returns after 2 pi / (k dv).

    Attributes:
        beams: distribution of the electrons' velocities: `Beam`s or their three numbers, a `Table`, or a callable.
        length: period of the box.
        amplitude: relative density perturbation, |amplitude| < 1.
        mode: number of wavelengths of the perturbation in the box.
        start: "quiet" (scrambled Hammersley points through the inverse distribution function) or "random" samples.
        species: kinds of particles in the place of `beams`, which describe electrons alone.
        initial: any distribution f0(x, v), a JAX function of two arrays of one shape, in the place of the first
            species' own start; it is scaled to the species' mean density.
        n_x: nodes in x.
        n_v: nodes in v, for every species.
        grid_bounds: ends of the velocity grid, a pair for all species or one for each; by default nine thermal widths
            beyond the outermost beams.
        advection_x: "fourier" or "spline".
        advection_v: "spline" or "fourier".
        collisions: "none"; "lenard_bernstein", towards the mean velocity and temperature of the species' start; or
            "dougherty", towards the local ones of the moment, which keeps momentum and energy.
        collision_frequency: of every species.
        record_distribution: also record f of the first species in an ensemble, as `distribution`.
        dt: default time step.
        horizon: default time range.
        velocity_bounds: range in which the samples' velocities are expected (histograms, plots).
        velocity_scale: velocity by which scores make v dimensionless.

    Example:
        >>> grid = simulators.VlasovPoissonGrid((simulators.Beam(1.0, 0.0, 1.0),), length=4 * np.pi)
    """

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        always = (
            Variable("electric_energy", long_name="mu^2 times the field energy, as particle codes record it"),
            Variable("field_energy", long_name="field energy per electron, mu^2/(2 L) int E^2 dx"),
            Variable("kinetic_energy", long_name="kinetic energy per electron, 1/L int m v^2/2 f dx dv"),
            Variable("total_energy", long_name="total energy per electron, kinetic plus field"),
            Variable("momentum", long_name="momentum per electron, 1/L int m v f dx dv"),
            Variable("mass", long_name="particles per electron, 1/L int f dx dv"),
            Variable("l2_norm", long_name="1/L int f^2 dx dv"),
            Variable("electric_field", dims=("cell",), long_name="electric field at the nodes"),
        )
        recorded = Variable("distribution", dims=("cell", "velocity"), long_name="phase-space density")
        return (*always, recorded) if self.record_distribution else always

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Nodes in x, and with `record_distribution` in v."""
        nodes = {"cell": np.arange(self.n_x) * (self.length / self.n_x)}
        if self.record_distribution:
            grid = self.grid()
            nodes["velocity"] = grid.low + np.arange(self.n_v) * grid.dv
        return nodes

    def sample_coordinates(self, n_samples: int) -> dict[str, xr.Variable]:
        """Number of each sample's species, where there are several."""
        return species_coordinate(self.kinds, n_samples)

    def describe(self) -> Description | None:
        """Entry-point name and JSON-safe arguments; None with a function `initial`, which no file can hold."""
        if self.initial is not None:
            return None
        arguments = arguments_of(self)
        del arguments["initial"]
        return "vlasov_poisson_grid", arguments

    @property
    def known_drift(self) -> OfState | None:
        """(state, parameters) -> the friction of Lenard-Bernstein collisions.

        None without such collisions (those of Dougherty depend on f, which samples do not know), or with several
        species, as a sample by itself does not know its own.
        """
        known = self._known_equilibrium()
        if known is None:
            return None
        mean, _ = known
        return lambda state, parameters: {"v": -self.collision_frequency * (state.v - mean)}

    @property
    def noise(self) -> OfState | None:
        """(state, parameters) -> the amplitude of the noise of Lenard-Bernstein collisions; None as `known_drift`."""
        known = self._known_equilibrium()
        if known is None:
            return None
        _, temperature = known
        return lambda state, parameters: {"v": math.sqrt(2 * self.collision_frequency * temperature)}

    def check_run(self, parameters: dict[str, np.ndarray], dt: float) -> None:
        """Warn of a step that resolves the plasma period coarsely, or refuse one that is unstable.

        Cells in x may be larger than a Debye length, and particles may cross any number of them in a step.

        Args:
            parameters: of all runs.
            dt: time step.

        Raises:
            ValueError: omega_p dt of at least 2, or mu is not positive.
        """
        mu = positive_mu(parameters, "the plasma frequency is 1/mu")
        fastest = sum(kind.density * kind.charge**2 / kind.mass for kind in self.kinds) ** 0.5
        check_resolution(
            f"mu={mu.min():g}",
            fastest / mu,
            np.inf,
            dt=dt,
            integrator="leapfrog",
            cell=0.0,
            wavelength=np.inf,
            speed=0.0,
            stacklevel=4,
        )

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """The initial distributions, and `n_samples` samples of them.

        Raises:
            ValueError: fewer samples than species, or parameters other than `mu`.
            TypeError: a key that is no JAX random key.
        """
        parameters = parameter_row(parameters, self.parameters)
        random_key(key)
        if n_samples < len(self.kinds):
            raise ValueError(f"n_samples={n_samples} must be at least the number of species, {len(self.kinds)}")
        f = tuple(self._initial_distribution(i) for i in range(len(self.kinds)))
        x, v = (jnp.zeros(n_samples, f[0].dtype) for _ in range(2))
        for i, kind in enumerate(self.kinds):
            own = slice(i, None, len(self.kinds))
            u = uniform_points(jax.random.fold_in(key, i) if i else key, len(x[own]), 2, self.start)
            if self.initial is not None and i == 0:
                grid = self.grid()
                own_x, own_v = samples_of_table(u, f[0], self.length, grid.low, grid.high - grid.dv)
            else:
                own_x = draw_positions(u[:, 0], kind, self.length, self.mode)
                own_v = distributions.quantile(u[:, 1], kind.beams)
            x, v = x.at[own].set(own_x), v.at[own].set(own_v)
        cache = GridCache(f, self._field(f, parameters))
        return PhaseSpaceState(**clock.at(self.horizon[0], x.dtype), x=x, v=v, aux=cache)

    def step(self, state: SampleState, dt: Scalar, parameters: Parameters, key: Key | None = None) -> SampleState:
        """One step of distributions and samples.

        Raises:
            ValueError: no key although collisions need random numbers for the samples, or parameters other than `mu`.
            TypeError: with collisions, a key that is no JAX random key.
        """
        if self.collides and key is None:
            raise ValueError(
                f"key=None: collisions={self.collisions!r} move the samples at random; pass jax.random.key(0)"
            )
        parameters = parameter_row(parameters, self.parameters)
        f, field = state.aux.distributions, state.aux.electric_field
        dt = jnp.asarray(dt, field.dtype)
        f, v = self._kicked(f, field, dt / 2), state.v + dt / 2 * self._acceleration(field, state.x)
        if self.collides:
            f, x = self._drifted(f, dt / 2), state.x + dt / 2 * v
            v = self._scattered(f, self._wrapped(x), v, dt, key)
            f = self._collided(f, dt)
            f, x = self._drifted(f, dt / 2), x + dt / 2 * v
        else:
            f, x = self._drifted(f, dt), state.x + dt * v
        x = self._wrapped(x)
        field = self._field(f, parameters)
        f, v = self._kicked(f, field, dt / 2), v + dt / 2 * self._acceleration(field, x)
        return clock.advanced(dataclasses.replace(state, x=x, v=v, aux=GridCache(f, field)), dt)

    def refresh(self, state: SampleState, parameters: Parameters) -> SampleState:
        """Estimate the distributions from the samples, by bilinear weights: as noisy as a particle code's field.

        Raises:
            ValueError: parameters other than `mu`.
        """
        parameters = parameter_row(parameters, self.parameters)
        x = self._wrapped(state.x)
        n = len(self.kinds)
        f = tuple(kind.density * self.grid(i).deposited(x[i::n], state.v[i::n]) for i, kind in enumerate(self.kinds))
        return dataclasses.replace(state, x=x, aux=GridCache(f, self._field(f, parameters)))

    def rates(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, " sample"]]:
        """Drift of the samples, without the noise of collisions.

        Raises:
            ValueError: parameters other than `mu`.
        """
        parameter_row(parameters, self.parameters)
        acceleration = self._acceleration(state.aux.electric_field, state.x)
        if self.collides:
            mean, _ = self._moments_at(state.aux.distributions, state.x)
            acceleration = acceleration - self.collision_frequency * (state.v - mean)
        return {"x": state.v, "v": acceleration}

    def diagnostics(self, state: SampleState, parameters: Parameters) -> dict[str, Float[Array, "..."]]:
        """Energies, momentum, mass and norm per electron of all species, and the field; see `diagnostic_variables`.

        Raises:
            ValueError: parameters other than `mu`.
        """
        f, field = state.aux.distributions, state.aux.electric_field
        mu = jnp.asarray(parameter_row(parameters, self.parameters)["mu"], field.dtype)
        field_energy = mu**2 / 2 * jnp.mean(field**2)
        grids = [self.grid(i) for i in range(len(f))]
        each = list(zip(self.kinds, grids, f, strict=True))
        kinetic = sum(kind.mass / 2 * grid.mean(own, 2) for kind, grid, own in each)
        recorded = {"distribution": f[0]} if self.record_distribution else {}
        return {
            "electric_energy": mu**2 * field_energy,
            "field_energy": field_energy,
            "kinetic_energy": kinetic,
            "total_energy": kinetic + field_energy,
            "momentum": sum(kind.mass * grid.mean(own, 1) for kind, grid, own in each),
            "mass": sum(grid.mean(own) for _, grid, own in each),
            "l2_norm": sum(grid.mean(own**2) for _, grid, own in each),
            "electric_field": field,
            **recorded,
        }

    def _kicked(self, f: Distributions, field: Float[Array, " n_x"], dt: Float[Array, ""]) -> Distributions:
        return tuple(
            self.grid(i).kicked(own, (kind.charge / kind.mass) * field, dt, self.advection_v)
            for i, (kind, own) in enumerate(zip(self.kinds, f, strict=True))
        )

    def _drifted(self, f: Distributions, dt: Float[Array, ""]) -> Distributions:
        return tuple(self.grid(i).drifted(own, dt, self.advection_x) for i, own in enumerate(f))

    def _collided(self, f: Distributions, dt: Float[Array, ""]) -> Distributions:
        return tuple(
            fokker_planck.collided(
                own, self.grid(i).velocities(own.dtype), *self._targets(i, own), self.collision_frequency * dt
            )
            for i, own in enumerate(f)
        )

    def _targets(self, i: int, f: Float[Array, "n_x n_v"]) -> tuple[Float[Array, " n_x"], Float[Array, " n_x"]]:
        """Mean velocity and temperature that collisions drive a species to, at every x."""
        if self.collisions == "dougherty":
            return fokker_planck.local_moments(f, self.grid(i).velocities(f.dtype))
        mean, variance = distributions.mean_and_variance(self.kinds[i].beams)
        return jnp.full(self.n_x, mean, f.dtype), jnp.full(self.n_x, variance, f.dtype)

    def _scattered(
        self, f: Distributions, x: Float[Array, " n"], v: Float[Array, " n"], dt: Float[Array, ""], key: Key | None
    ) -> Float[Array, " n"]:
        """Collisions of the samples: the Ornstein-Uhlenbeck step whose law is that of the operator."""
        mean, temperature = self._moments_at(f, x)
        normals = jax.random.normal(random_key(key), v.shape, v.dtype)
        return relax(v, dt, self.collision_frequency, mean, jnp.sqrt(temperature), normals)

    def _moments_at(self, f: Distributions, x: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        """Mean velocity and temperature that collisions drive each sample to."""
        n = len(self.kinds)
        mean, temperature = jnp.zeros_like(x), jnp.zeros_like(x)
        for i, own in enumerate(f):
            values = [at_positions(moment, x[i::n], self.length) for moment in self._targets(i, own)]
            mean, temperature = mean.at[i::n].set(values[0]), temperature.at[i::n].set(values[1])
        return mean, temperature

    def _acceleration(self, field: Float[Array, " n_x"], x: Float[Array, " n"]) -> Float[Array, " n"]:
        ratios = [kind.charge / kind.mass for kind in self.kinds]
        return per_sample(ratios, x.shape[0], x.dtype) * at_positions(field, x, self.length)

    def _field(self, f: Distributions, parameters: Parameters) -> Float[Array, " n_x"]:
        charge = jnp.sum(
            jnp.stack([kind.charge * self.grid(i).density(f[i]) for i, kind in enumerate(self.kinds)]), axis=0
        )
        return antiderivative(charge, self.length) / jnp.asarray(parameters["mu"], charge.dtype) ** 2

    def _wrapped(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        return periodic.wrapped_by_product(x, self.length)

    def _initial_distribution(self, i: int) -> Float[Array, "n_x n_v"]:
        grid, kind = self.grid(i), self.kinds[i]
        x, v = grid.positions(), grid.velocities()
        if self.initial is not None and i == 0:
            f = self.initial(*jnp.meshgrid(x, v, indexing="ij")).astype(v.dtype)
        else:
            profile = distributions.density(v, kind.beams)
            f = relative_density(x, kind, self.length, self.mode)[:, None] * profile[None, :]
        # Scaled by its sum, as the box must be neutral to round-off.
        return f * (kind.density / grid.mean(f))

    def _known_equilibrium(self) -> tuple[float, float] | None:
        """Mean velocity and temperature that collisions drive all samples to, where those are the same for all."""
        if not (self.collides and self.collisions == "lenard_bernstein" and len(self.kinds) == 1):
            return None
        return distributions.mean_and_variance(self.kinds[0].beams)

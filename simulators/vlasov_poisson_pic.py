"""Particle-in-cell solver of the 1D1V Vlasov-Poisson system: electrons on an immobile neutralising background."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.checks import positive_int
from hoam_plugin.simulators import pic_grid
from hoam_plugin.simulators.sampling import cosine_density_quantile, gaussian_mixture_quantile, quiet_points
from hoam_plugin.steppers import Parameters, state_type
from hoam_plugin.variables import Variable

_STATIC = {"static": True}
PhaseSpaceState = state_type(("x", "v"))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FieldCache:
    """What a leapfrog step keeps for the next: the samples' acceleration, and the field between the grid nodes.

    Not annotated with shapes, since JAX's transformations put batched and placeholder leaves into a pytree.
    """

    acceleration: Any
    electric_field: Any


class Beam(NamedTuple):
    """A drifting Maxwellian: its share of the density, mean velocity and thermal width (standard deviation)."""

    weight: float
    drift: float
    width: float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class VlasovPoissonPIC:
    """Electrostatic particle-in-cell code in one space and one velocity dimension, pure JAX.

    Solves f_t + v f_x + phi_x f_v = 0 with mu^2 phi_xx = n - 1 on a periodic box (plasma units; E = -phi_x, mean
    density 1, `mu` the physics parameter). Cloud-in-cell deposit and gather, field by cumulative sums, leapfrog in
    kick-drift-kick form with one field solve per step (Birdsall and Langdon, Plasma Physics via Computer Simulation,
    chapters 2 and 8). The start is (1 + amplitude cos(2 pi mode x / length)) times a mixture of drifting Maxwellians.

    Attributes:
        beams: the Maxwellians, as `Beam`s or their three numbers; weights are scaled to sum to 1.
        length: period of the box.
        amplitude: relative density perturbation, |amplitude| < 1.
        mode: number of wavelengths of the perturbation in the box.
        start: "quiet" (scrambled Hammersley points through the inverse distribution function) or "random".
        n_cells: grid cells.
        dt: default time step; 0.2 is still accurate for the two-stream problem (energy curve within 0.5 %).
        horizon: default time range.
        velocity_bounds: range in which velocities are expected (histograms, plots).
        velocity_scale: velocity by which scores make v dimensionless.
    """

    beams: tuple[tuple[float, float, float], ...] = dataclasses.field(default=(Beam(1.0, 0.0, 1.0),), metadata=_STATIC)
    length: float = dataclasses.field(default=4 * math.pi, metadata=_STATIC)
    amplitude: float = dataclasses.field(default=0.01, metadata=_STATIC)
    mode: int = dataclasses.field(default=1, metadata=_STATIC)
    start: Literal["quiet", "random"] = dataclasses.field(default="quiet", metadata=_STATIC)
    n_cells: int = dataclasses.field(default=3125, metadata=_STATIC)
    dt: float = dataclasses.field(default=0.05, metadata=_STATIC)
    horizon: tuple[float, float] = dataclasses.field(default=(0.0, 40.0), metadata=_STATIC)
    velocity_bounds: tuple[float, float] = dataclasses.field(default=(-8.0, 8.0), metadata=_STATIC)
    velocity_scale: float = dataclasses.field(default=3.0, metadata=_STATIC)

    def __post_init__(self) -> None:
        # Normalised here so that arguments read back from JSON give an equal, hashable stepper.
        beams = tuple(Beam(*map(float, beam)) for beam in self.beams)
        object.__setattr__(self, "beams", beams)
        for name in ("horizon", "velocity_bounds"):
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if not beams or any(b.weight <= 0 or b.width <= 0 for b in beams):
            raise ValueError(f"beams={beams!r} must be one or more Maxwellians with positive weight and width")
        if not abs(self.amplitude) < 1:
            raise ValueError(f"amplitude={self.amplitude!r} makes the density negative; it must lie in (-1, 1)")
        if self.mode != int(self.mode) or self.mode < 1:
            raise ValueError(f"mode={self.mode!r} must be a positive whole number: the box holds whole wavelengths")
        if self.start not in ("quiet", "random"):
            raise ValueError(f"start={self.start!r} must be 'quiet' or 'random'")
        for name in ("length", "dt", "velocity_scale"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name}={getattr(self, name)!r} must be a positive number")
        positive_int("n_cells", self.n_cells, 4)
        for name in ("horizon", "velocity_bounds"):
            low, high = getattr(self, name)
            if not low < high:
                raise ValueError(f"{name}={(low, high)!r} must be increasing")

    @property
    def parameters(self) -> tuple[str, ...]:
        """The one physics parameter: `mu`, the Debye length scale in mu^2 phi_xx = n - 1."""
        return ("mu",)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Position on the torus and velocity."""
        return (
            Variable("x", period=self.length, units="1", long_name="position", bounds=(0.0, self.length)),
            Variable(
                "v",
                units="1",
                velocity_of="x",
                long_name="velocity",
                scale=self.velocity_scale,
                bounds=self.velocity_bounds,
            ),
        )

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        return (
            Variable("electric_energy", long_name="mean electric energy per particle, mu^4/(2 L) int E^2 dx"),
            Variable("field_energy", long_name="field energy per particle, mu^2/(2 L) int E^2 dx"),
            Variable("kinetic_energy", long_name="kinetic energy per particle, mean of v^2/2"),
            Variable("total_energy", long_name="total energy per particle, kinetic plus field"),
            Variable("momentum", long_name="momentum per particle, mean of v"),
            Variable("electric_field", dims=("cell",), long_name="electric field -phi_x at the cell centres"),
        )

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Positions of the cell centres."""
        return {"cell": (np.arange(self.n_cells) + 0.5) * (self.length / self.n_cells)}

    def describe(self) -> tuple[str, dict[str, Any]]:
        """Entry-point name and JSON-safe arguments that rebuild this stepper."""
        arguments = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return "vlasov_poisson_pic", arguments

    def init(self, key: Array, n_samples: int, parameters: Parameters) -> Any:
        """Draw `n_samples` particles from f0; see the class."""
        u = quiet_points(key, n_samples) if self.start == "quiet" else jax.random.uniform(key, (n_samples, 2))
        weights, drifts, widths = zip(*self.beams, strict=True)
        x = cosine_density_quantile(u[:, 0], self.length, self.amplitude, self.mode)
        v = gaussian_mixture_quantile(u[:, 1], weights, drifts, widths)
        cache = FieldCache(acceleration=jnp.zeros_like(x), electric_field=jnp.zeros(self.n_cells, x.dtype))
        state = PhaseSpaceState(time=jnp.asarray(self.horizon[0], x.dtype), x=x, v=v, aux=cache)
        return self.refresh(state, parameters)

    def step(self, state: Any, dt: Any, parameters: Parameters, key: Any = None) -> Any:
        """One kick-drift-kick leapfrog step; `key` is not used."""
        dt = jnp.asarray(dt, state.x.dtype)
        half_kicked = state.v + dt / 2 * state.aux.acceleration
        x = state.x + dt * half_kicked
        x = x - self.length * jnp.floor(x * (1 / self.length))
        cache = self._field(x, parameters)
        v = half_kicked + dt / 2 * cache.acceleration
        return dataclasses.replace(state, time=state.time + dt.astype(state.time.dtype), x=x, v=v, aux=cache)

    def refresh(self, state: Any, parameters: Parameters) -> Any:
        """Rebuild the cached field and acceleration; positions are wrapped into the box."""
        x = state.x - self.length * jnp.floor(state.x * (1 / self.length))
        return dataclasses.replace(state, x=x, aux=self._field(x, parameters))

    def rates(self, state: Any, parameters: Parameters) -> dict[str, Float[Array, " sample"]]:
        """Exact time derivatives of the variables."""
        return {"x": state.v, "v": state.aux.acceleration}

    def diagnostics(self, state: Any, parameters: Parameters) -> dict[str, Float[Array, ...]]:
        """Energies and momentum per particle, and the field; see `diagnostic_variables`."""
        mu = jnp.asarray(parameters["mu"], state.x.dtype)
        field = state.aux.electric_field
        field_energy = mu**2 / 2 * jnp.mean(field**2)
        kinetic_energy = jnp.mean(state.v**2) / 2
        return {
            "electric_energy": mu**2 * field_energy,
            "field_energy": field_energy,
            "kinetic_energy": kinetic_energy,
            "total_energy": kinetic_energy + field_energy,
            "momentum": jnp.mean(state.v),
            "electric_field": field,
        }

    def _field(self, x: Float[Array, " sample"], parameters: Parameters) -> FieldCache:
        mu = jnp.asarray(parameters["mu"], x.dtype)
        cell, offset = pic_grid.cell_and_offset(x, self.length, self.n_cells)
        density = pic_grid.deposit(cell, offset, self.n_cells)
        field = pic_grid.electric_displacement(density, self.length) / mu**2
        # Electrons carry charge -1 and mass 1: dv/dt = -E.
        return FieldCache(-pic_grid.gather(pic_grid.on_nodes(field), cell, offset), field)

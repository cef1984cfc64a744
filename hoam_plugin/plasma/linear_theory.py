"""What is known of an ensemble of a Vlasov-Poisson stepper: its units, and the wave that it starts as."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.special import wofz

from hoam_plugin import ensembles
from hoam_plugin.plasma.dispersion import Maxwellian, dielectric, roots
from hoam_plugin.plasma.exponential_fits import default_window
from hoam_plugin.steppers import Stepper, rebuild_from_attribute

_ENTRY_POINTS = "vlasov_poisson_"
# What changes the response of the plasma, or its start.
_OTHER_PHYSICS = ("magnetic_field", "initial_density", "initial")
# Growth rates that differ by less, relative to the frequency, are those of one standing wave.
_SAME_RATE = 1e-8
# Of a central difference in double precision.
_STEP = 1e-5
# Of a stepper in plasma units whose widest population of electrons has thermal velocity 1.
_LENGTH, _VELOCITY, _TIME = r"$\lambda_D$", r"$v_{th}$", r"$1/\omega_p$"


@runtime_checkable
class Plasma(Stepper, Protocol):
    """A stepper of charges on a box; `mu` is the Debye length over the thermal velocity, or the particles' mass."""

    @property
    def beams(self) -> Sequence[Maxwellian]:
        """Distribution of the electrons' velocities: Maxwellians, or something else, such as a table."""
        ...

    @property
    def mode(self) -> int:
        """Wavelengths of the perturbation in the box."""
        ...


@runtime_checkable
class Box(Plasma, Protocol):
    """A plasma in one space dimension, of which linear theory is known."""

    @property
    def length(self) -> float:
        """Period of the box."""
        ...

    @property
    def amplitude(self) -> float:
        """Relative perturbation of the density."""
        ...

    @property
    def species(self) -> Sequence[object]:
        """Those that were given in the place of electrons."""
        ...

    @property
    def collision_frequency(self) -> float:
        """0 for none."""
        ...


class Wave(NamedTuple):
    """The wave that is left of the start of a run after some time, by linear theory.

    Attributes:
        rate: at which its energy grows.
        times: those of the run up to which the energy can follow it: until it is as large as the recorded energy gets
            or, of a wave that is damped, until the recorded one ends to fall.
        energy: proportional to exp(rate t), of a wave that oscillates its maxima.
    """

    rate: float
    times: Float[np.ndarray, " time"]
    energy: Float[np.ndarray, " time"]


def units_of(ds: xr.Dataset) -> dict[str, str]:
    """What dimensionless times, positions and velocities of a plasma count, by name, for the axes of pictures.

    Args:
        ds: an ensemble. Its attribute `stepper` has to name a Vlasov-Poisson stepper of this package.

    Returns:
        Names of variables, and `time`; empty for any other ensemble, and where no population of the electrons has
        thermal velocity 1.
    """
    plasma = _plasma_of(ds)
    if plasma is None or not _are_maxwellians(plasma.beams) or all(width != 1 for _, _, width in plasma.beams):
        return {}
    # The box and the times are the same for all mu, so that the unit is that of one of them.
    at = r" at $\mu$ = 1" if "mu" in ensembles.parameter_names(ds) else ""
    variables = {v.name: _VELOCITY if v.period is None else _LENGTH + at for v in plasma.variables}
    return {**variables, "time": _TIME + at}


def waves_of(ds: xr.Dataset, energy: Float[np.ndarray, "run time"]) -> list[Wave | None]:
    """What linear theory expects of the energy of every run; None where it does not say.

    Nothing is fitted: the height follows from the start, as the residue of the response at the root omega.

    Args:
        ds: an ensemble. Its attribute `stepper` has to name a Vlasov-Poisson stepper of this package in one space
            dimension, of electrons whose velocities are Maxwellians, with a cosine wave in their density and without
            collisions; and `mu` has to be along its runs.
        energy: of the electric field in each run, above 0 or NaN.
    """
    plasma, mu = _plasma_of(ds), ensembles.parameters(ds).get("mu")
    if not isinstance(plasma, Box) or mu is None or plasma.species or plasma.collision_frequency:
        return [None] * ds.sizes["run"]
    if not _are_maxwellians(plasma.beams) or any(getattr(plasma, name, None) for name in _OTHER_PHYSICS):
        return [None] * ds.sizes["run"]
    times = ds["time"].values.astype(np.float64)
    return [
        _wave(plasma, float(of_run), times - times[0], times, curve) for of_run, curve in zip(mu, energy, strict=True)
    ]


def _wave(
    plasma: Box,
    mu: float,
    elapsed: Float[np.ndarray, " time"],
    times: Float[np.ndarray, " time"],
    recorded: Float[np.ndarray, " time"],
) -> Wave | None:
    known = np.isfinite(recorded)
    if not known.any():
        return None
    rate, start = excited_wave(2 * math.pi * plasma.mode / plasma.length, plasma.beams, mu, plasma.amplitude)
    energy = start * np.exp(rate * elapsed)
    if rate > 0:
        shown = energy <= recorded[known].max()
    else:
        ends = times[known][default_window(times[known], np.sqrt(recorded[known]))][-1]
        shown = times <= ends
    return Wave(rate, times[shown], energy[shown]) if shown.sum() > 1 else None


def excited_wave(k: float, beams: Sequence[Maxwellian], mu: float, amplitude: float) -> tuple[float, float]:
    """Growth rate of the energy of the least damped wave, and the energy per electron that it starts with.

    A perturbation f0(v) amplitude cos(k x) of the density has the Laplace transform i amplitude / 2 times the integral
    of f0 / (omega - k v), over epsilon(omega, k); a wave is the residue at a root. Of two that travel in opposite
    directions, at the same rate, both count: their energies have maxima of the square of the sum.

    Args:
        k: wavenumber above 0.
        beams: weight, drift and width of each Maxwellian.
        mu: of mu^2 phi'' = n - 1.
        amplitude: relative perturbation of the density.
    """
    omega = roots(k, beams, mu, n=2)
    if abs(omega[1].imag - omega[0].imag) > _SAME_RATE * abs(omega[0]):
        omega = omega[:1]
    weight, drift, width = np.asarray(beams, np.float64).T
    zeta = (omega[:, None] / k - drift) / (math.sqrt(2) * width)
    response = 1j * math.sqrt(math.pi) * wofz(zeta) / (math.sqrt(2) * width)
    free = -0.5j * amplitude / k * (weight / weight.sum() * response).sum(axis=1)
    step = _STEP * abs(omega)
    slope = (dielectric(omega + step, k, beams, mu) - dielectric(omega - step, k, beams, mu)) / (2 * step)
    density = np.abs(free / slope).sum()
    return float(2 * omega[0].imag), float((density / k) ** 2)


def _are_maxwellians(beams: Sequence[object]) -> bool:
    return all(isinstance(beam, Sequence) for beam in beams)


def _plasma_of(ds: xr.Dataset) -> Plasma | None:
    text = str(ds.attrs.get("stepper", ""))
    try:
        described = json.loads(text)
    except ValueError:
        return None
    if not isinstance(described, Mapping) or not str(described.get("name")).startswith(_ENTRY_POINTS):
        return None
    return _rebuilt(text)


@functools.lru_cache(maxsize=8)
def _rebuilt(text: str) -> Plasma | None:
    found = rebuild_from_attribute(text)
    return found if isinstance(found, Plasma) else None

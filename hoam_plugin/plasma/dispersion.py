"""Linear theory of electrostatic plasma waves: roots of the dielectric function of drifting Maxwellians.

Units and conventions are those of the Vlasov-Poisson steppers: mu^2 phi'' = n - 1, electrons of charge -1, mass 1 and
mean density 1, so that the plasma frequency is 1 / mu. A wave goes as exp(i (k x - omega t)): Im omega is the growth
rate of its amplitude, energies grow twice as fast, and Re omega > 0 travels towards larger x.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Complex, Float

from hoam_plugin._internal.checks import increasing_pair, numeric_array, positive_float, positive_int
from hoam_plugin._types import ArrayLike, Numbers, Scalar
from hoam_plugin.plasma.root_finding import Analytic, Rectangle, count_zeros, zeros

# Beyond this many thermal widths below the real axis, exp(y^2) would overflow.
_DEEPEST = 25.0
_SERIES_BEYOND = 30.0
_SERIES_TERMS = 8
# Growth rates closer than this, relative to the largest |omega|, count as equal when roots are put in order.
_TIE = 1e-9

# Weight, drift and width.
Maxwellian: TypeAlias = Sequence[Scalar]


@runtime_checkable
class SpeciesOfBeams(Protocol):
    """A species of charges whose velocities are distributed as a sum of Maxwellians, such as `simulators.Species`."""

    @property
    def beams(self) -> Sequence[Maxwellian]:
        """The Maxwellians."""
        ...

    @property
    def charge(self) -> float:
        """Of one particle."""
        ...

    @property
    def mass(self) -> float:
        """Of one particle."""
        ...

    @property
    def density(self) -> float:
        """Mean number density."""
        ...


Populations: TypeAlias = Sequence[Maxwellian | SpeciesOfBeams]


def dielectric(omega: Numbers, k: Numbers, beams: Populations, mu: float = 1.0) -> complex | Complex[np.ndarray, "..."]:
    """The dielectric function, continued analytically below the real axis (Landau's contour).

    With zeta_s = (omega / k - drift_s) / (sqrt(2) width_s) and the plasma dispersion function Z (Fried and Conte 1961),

        epsilon(omega, k) = 1 + sum_s density_s charge_s^2 / (mass_s (mu k width_s)^2) [1 + zeta_s Z(zeta_s)].

    Args:
        omega: complex frequencies, any shape.
        k: wavenumbers above 0, of a shape that broadcasts with that of `omega`.
        beams: drifting Maxwellians (weight, drift, width), such as `simulators.Beam`s: shares of the electrons'
            density, which are scaled to sum to 1 as in the steppers, mean velocity, and standard deviation of the
            velocity. Or several species, such as `simulators.Species`: objects with `beams` (Maxwellians), `charge`,
            `mass` and `density`. Charge that no species accounts for is an immobile background.
        mu: of mu^2 phi'' = n - 1.

    Returns:
        A complex number, or an array of the shape that `omega` and `k` broadcast to.

    Raises:
        ValueError: k, mu, a weight, width, mass or density that is not positive, anything that is not finite, or
            damping so strong that the result overflows.

    Example:
        >>> beams = [simulators.Beam(1.0, 0.0, 1.0)]
        >>> omega = hoam.dispersion.least_damped(0.5, beams)
        >>> bool(abs(hoam.dispersion.dielectric(omega, 0.5, beams)) < 1e-10)
        True
    """
    populations = _Populations(beams)
    wavenumber = _positive_wavenumbers(k)
    mu = positive_float("mu", mu)
    frequency = np.asarray(omega, np.complex128)
    if not np.isfinite(frequency).all():
        raise ValueError(f"omega={omega!r} must be finite")
    value, _ = populations.at(frequency / wavenumber, mu * wavenumber)
    if not np.isfinite(value).all():
        raise ValueError(f"omega={omega!r} lies so far below the real axis that the dielectric function overflows")
    return value[()]


def roots(k: float, beams: Populations, mu: float = 1.0, *, n: int = 1) -> Complex[np.ndarray, " n"]:
    """The `n` least damped (or fastest growing) roots omega of the dielectric function, by descending Im omega.

    None is missed: all roots above a line in the complex plane lie in a known rectangle, where the argument principle
    counts them; the rectangle is cut until each root is alone, and Newton's method ends in every piece. Of roots with
    the same growth rate, such as the two Langmuir waves of a plasma at rest, the one of larger Re omega comes first.

    Args:
        k: wavenumber above 0.
        beams: see `dielectric`.
        mu: see `dielectric`.
        n: number of roots.

    Raises:
        ValueError: as `dielectric`, or so many roots that the last ones cannot be computed in double precision.

    Example:
        >>> hoam.dispersion.roots(0.5, [simulators.Beam(1.0, 0.0, 1.0)], n=3).shape
        (3,)
    """
    populations = _Populations(beams)
    k, mu, n = positive_float("k", k), positive_float("mu", mu), positive_int("n", n)
    function = populations.function(mu * k)
    depth = float(populations.width.min())
    deepest = _DEEPEST * math.sqrt(2) * depth
    while depth < deepest:
        box = populations.rectangle(depth, mu * k)
        if count_zeros(function, box) >= n:
            found = zeros(function, box)
            return k * np.asarray(_in_order(found)[:n], np.complex128)
        depth *= 1.5
    raise ValueError(f"n={n!r} asks for roots too strongly damped to be computed; ask for fewer")


def least_damped(k: Numbers, beams: Populations, mu: float = 1.0) -> complex | Complex[np.ndarray, "..."]:
    """The root omega with the largest imaginary part: the wave that is left after a long time.

    Args:
        k: a wavenumber, or an array of them.
        beams: see `dielectric`.
        mu: see `dielectric`.

    Returns:
        A complex number, or an array of the shape of `k`.

    Raises:
        ValueError: as `dielectric`.

    Example:
        >>> omega = hoam.dispersion.least_damped(0.5, [simulators.Beam(1.0, 0.0, 1.0)])
        >>> round(omega.real, 4), round(omega.imag, 4)
        (1.4157, -0.1534)
    """
    wavenumber = _positive_wavenumbers(k)
    found = [complex(roots(one, beams, mu=mu)[0]) for one in wavenumber.ravel().tolist()]
    return np.asarray(found).reshape(wavenumber.shape) if wavenumber.ndim else found[0]


def growth_rate(k: Numbers, beams: Populations, mu: float = 1.0) -> float | Float[np.ndarray, "..."]:
    """Im omega of the `least_damped` root: the growth rate of the amplitude, negative for damping.

    Args:
        k: a wavenumber, or an array of them.
        beams: see `dielectric`.
        mu: see `dielectric`.

    Example:
        >>> round(hoam.dispersion.growth_rate(0.5, [simulators.Beam(1.0, 0.0, 1.0)]), 4)
        -0.1534
    """
    return least_damped(k, beams, mu=mu).imag


def count_roots(
    k: float, beams: Populations, real: tuple[float, float], imaginary: tuple[float, float], *, mu: float = 1.0
) -> int:
    """Number of roots omega in a rectangle of the complex plane, by the argument principle; to check `roots` with.

    Args:
        k: wavenumber above 0.
        beams: see `dielectric`.
        real: range of Re omega.
        imaginary: range of Im omega.
        mu: see `dielectric`.

    Raises:
        ValueError: as `dielectric`, a range that is not increasing, or a root on the rectangle's edge.

    Example:
        >>> beams = [simulators.Beam(0.5, -3.0, 1.0), simulators.Beam(0.5, 3.0, 1.0)]
        >>> hoam.dispersion.count_roots(0.2, beams, (-1.0, 1.0), (0.01, 1.0))
        1
    """
    populations = _Populations(beams)
    k, mu = positive_float("k", k), positive_float("mu", mu)
    for name, (low, high) in {"real": real, "imaginary": imaginary}.items():
        increasing_pair(name, (low, high), wanted="(low, high) with low < high")
    box = Rectangle(real[0] / k, real[1] / k, imaginary[0] / k, imaginary[1] / k)
    return count_zeros(populations.function(mu * k), box)


class _Populations:
    """The Maxwellians as arrays: squared plasma frequencies (in units of 1 / mu^2), drifts and widths."""

    def __init__(self, beams: Populations) -> None:
        beams = tuple(beams)
        species = [one for one in beams if isinstance(one, SpeciesOfBeams)]
        alone = [one for one in beams if not isinstance(one, SpeciesOfBeams)]
        if species and alone:
            raise ValueError(f"beams={beams!r} mixes species and Maxwellians; put every Maxwellian into a species")
        rows = [_rows(one.beams, one.charge, one.mass, one.density) for one in species] or [_rows(tuple(alone))]
        self.strength, self.drift, self.width = np.concatenate(rows).T

    def at(self, u: ArrayLike, k: ArrayLike) -> tuple[Complex[np.ndarray, "..."], Complex[np.ndarray, "..."]]:
        """The dielectric function and its derivative, over phase velocities u, at wavenumbers k in units of 1 / mu."""
        scale = math.sqrt(2) * self.width
        zeta = (np.asarray(u, np.complex128)[..., None] - self.drift) / scale
        factor = self.strength / (np.asarray(k)[..., None] * self.width) ** 2
        # Far below the real axis everything overflows; callers look at what comes back.
        with np.errstate(over="ignore", invalid="ignore"):
            response, slope = _response(zeta)
            value, change = 1 + (factor * response).sum(-1), (factor / scale * slope).sum(-1)
        return np.asarray(value), np.asarray(change)

    def function(self, k: float) -> Analytic:
        """The dielectric function over phase velocities, which varies over a width near a drift, and slowly far off."""

        def resolution(u: np.ndarray) -> np.ndarray:
            return np.maximum(self.width / 2, np.abs(u[..., None] - self.drift) / 3).min(-1)

        return Analytic(functools.partial(self.at, k=k), resolution)

    def rectangle(self, depth: float, k: float) -> Rectangle:
        """A rectangle of phase velocities that holds every root with Im u >= -depth.

        Above the real axis |1 + zeta Z| <= 1 / (2 (Im zeta)^2), from an integration by parts, and <= 1 / |zeta|^2
        (zeta^2 (1 + zeta Z) is bounded there, and its modulus stays below 0.91 on the axis); below it, the continuation
        adds 2 sqrt(pi) |zeta| exp(y^2 - x^2). There is no root where these bounds add up to less than 1.
        """
        top = 1.01 * math.sqrt(self.strength.sum()) / k
        factor = self.strength / (k * self.width) ** 2
        y = depth / (math.sqrt(2) * self.width)

        def bound(u: float) -> float:
            x = np.abs(u - self.drift) / (math.sqrt(2) * self.width)
            # The bound falls with x from here on only.
            if x.min() < 1:
                return math.inf
            tail = 2 * math.sqrt(math.pi) * np.hypot(x, y) * np.exp(y**2 - x**2)
            return float((factor * (1 / x**2 + tail)).sum())

        low, high, reach = float(self.drift.min()), float(self.drift.max()), float(self.width.max())
        while bound(low - reach) >= 1 or bound(high + reach) >= 1:
            reach *= 1.1
        return Rectangle(low - reach, high + reach, -depth, top)


def _rows(beams: Sequence[Maxwellian], charge: float = -1.0, mass: float = 1.0, density: float = 1.0) -> np.ndarray:
    """(squared plasma frequency, drift, width) of every Maxwellian of a species."""
    table = numeric_array("beams", beams)
    if table.ndim != 2 or table.shape[1] != 3 or not np.isfinite(table).all() or (table[:, [0, 2]] <= 0).any():
        raise ValueError(
            f"beams={beams!r} must be one or more Maxwellians (weight, drift, width) with positive weight and width"
        )
    for name, value in {"mass": mass, "density": density, "charge": charge}.items():
        if not math.isfinite(value) or value == 0 or (value < 0 and name != "charge"):
            raise ValueError(f"{name}={value!r} of a species must be finite and above 0 (a charge: other than 0)")
    table[:, 0] *= density * charge**2 / (mass * table[:, 0].sum())
    return table


def _positive_wavenumbers(k: Numbers) -> np.ndarray:
    wavenumber = numeric_array("k", k)
    if not (np.isfinite(wavenumber) & (wavenumber > 0)).all():
        raise ValueError(f"k={k!r} must be finite and above 0")
    return wavenumber


def _response(zeta: Complex[np.ndarray, "..."]) -> tuple[Complex[np.ndarray, "..."], Complex[np.ndarray, "..."]]:
    """1 + zeta Z(zeta) and its derivative Z - 2 zeta (1 + zeta Z)."""
    from scipy.special import wofz

    far = np.abs(zeta) > _SERIES_BEYOND
    near = np.where(far, 0, zeta)
    z = 1j * math.sqrt(math.pi) * wofz(near)
    response = 1 + near * z
    slope = z - 2 * near * response
    if far.any():
        # 1 and zeta Z nearly cancel; the asymptotic series -sum_n (2n - 1)!! / (2 zeta^2)^n has no such loss.
        away = np.where(far, zeta, _SERIES_BEYOND)
        term = np.ones_like(away)
        series, series_slope = np.zeros_like(away), np.zeros_like(away)
        for n in range(1, _SERIES_TERMS + 1):
            term = term * (2 * n - 1) / (2 * away**2)
            series -= term
            series_slope += 2 * n * term / away
        continued = 2j * math.sqrt(math.pi) * np.exp(np.where(away.imag < 0, -(away**2), -math.inf))
        response = np.where(far, series + away * continued, response)
        slope = np.where(far, series_slope + (1 - 2 * away**2) * continued, slope)
    return response, slope


def _in_order(found: Sequence[complex]) -> list[complex]:
    """By descending imaginary part; where these are equal but for round-off, by descending real part."""
    tolerance = _TIE * max(map(abs, found))
    ordered: list[complex] = []
    group: list[complex] = []
    for u in sorted(found, key=lambda u: -u.imag):
        if group and group[0].imag - u.imag > tolerance:
            ordered += sorted(group, key=lambda u: -u.real)
            group = []
        group.append(u)
    return ordered + sorted(group, key=lambda u: -u.real)

"""The Vlasov-Poisson problems of Berman, Blickhan and Peherstorfer 2024 (arXiv:2410.12000), and Landau damping."""

from __future__ import annotations

import math
from typing import Any, Literal

from hoam_plugin._internal.checks import positive_float

from .grid.vlasov_poisson_grid import VlasovPoissonGrid
from .particles.vlasov_poisson_1d import VlasovPoissonPIC
from .particles.vlasov_poisson_3d import VlasovPoissonPIC3D
from .species import Beam

Solver = Literal["particles", "grid"]


def two_stream(
    amplitude: float = 0.05,
    start: Literal["quiet", "random"] = "quiet",
    solver: Solver = "particles",
    **options: Any,
) -> VlasovPoissonPIC | VlasovPoissonGrid:
    """Two-stream instability: equal Maxwellians at v = +-3, width 1, box length 50; parameter `mu` in [1.2, 1.9].

    Args:
        amplitude: relative density perturbation in the longest wave of the box.
        start: "quiet" or "random" particle positions and velocities.
        solver: "particles" (particle-in-cell) or "grid" (semi-Lagrangian: a field without noise).
        options: further attributes of `VlasovPoissonPIC` or `VlasovPoissonGrid`, such as `dt` or `horizon`.

    Raises:
        ValueError: an unknown solver, or an attribute out of its range.

    Example:
        >>> sim = simulators.two_stream(amplitude=0.01, n_cells=64)
        >>> sim.parameters, [v.name for v in sim.variables]
        (('mu',), ['x', 'v'])
    """
    beams = (Beam(0.5, -3.0, 1.0), Beam(0.5, 3.0, 1.0))
    own = {"beams": beams, "length": 50.0, "amplitude": amplitude, "start": start}
    return _one_dimensional(solver, own | options)


def bump_on_tail(
    amplitude: float = 0.05,
    start: Literal["quiet", "random"] = "quiet",
    solver: Solver = "particles",
    **options: Any,
) -> VlasovPoissonPIC | VlasovPoissonGrid:
    """Bump-on-tail instability: 0.9 N(0, 1) + 0.1 N(4, 0.5^2) on a box of length 50; parameter `mu` in [1.3, 2.0].

    Arguments and errors as in `two_stream`. The width 0.5 is that of the authors' code (their text prints 1/sqrt 2).

    Args:
        amplitude: as in `two_stream`.
        start: as in `two_stream`.
        solver: as in `two_stream`.
        options: as in `two_stream`.

    Example:
        >>> simulators.bump_on_tail(start="random").horizon
        (0.0, 40.0)
    """
    beams = (Beam(0.9, 0.0, 1.0), Beam(0.1, 4.0, 0.5))
    own = {"beams": beams, "length": 50.0, "amplitude": amplitude, "start": start}
    return _one_dimensional(solver, own | options)


def landau_damping(
    k: float = 0.5,
    amplitude: float = 1e-3,
    length: float | None = None,
    solver: Solver = "particles",
    **options: Any,
) -> VlasovPoissonPIC | VlasovPoissonGrid:
    """Linear Landau damping of a wave in a Maxwellian plasma of width 1; at mu = 1, k is in inverse Debye lengths.

    At k = 0.5 and mu = 1 the field oscillates with frequency 1.4157 and decays with rate 0.1534. Particles deposit by a
    control variate (`deposit="delta_f"`), since the noise of a plain deposit soon hides the wave.

    Args:
        k: wavenumber of the perturbation.
        amplitude: relative density perturbation.
        length: of the box, a whole number of wavelengths 2 pi / k; one wavelength by default.
        solver: "particles" (particle-in-cell) or "grid" (semi-Lagrangian).
        options: further attributes of `VlasovPoissonPIC` or `VlasovPoissonGrid`, such as `dt` or `beams`.

    Raises:
        ValueError: an unknown solver, a box that is no multiple of the wavelength, or an attribute out of its range.

    Example:
        >>> wave = simulators.landau_damping(k=0.5, solver="grid")
        >>> round(wave.length / np.pi, 6)
        4.0
    """
    own = {**_box(k, length), "amplitude": amplitude, "horizon": (0.0, 20.0)}
    return _one_dimensional(solver, own | options, n_cells=64, deposit="delta_f")


def strong_landau(
    k: float = 0.5,
    amplitude: float = 0.5,
    dimensions: Literal[1, 3] = 3,
    solver: Solver = "particles",
    **options: Any,
) -> VlasovPoissonPIC | VlasovPoissonGrid | VlasovPoissonPIC3D:
    """Strong (nonlinear) Landau damping; by default the 3D3V problem, box 4 pi x 1 x 1, `mu` in [0.5, 1.5] the mass.

    The field first decays, then grows again as particles trapped in the wave turn round.

    Args:
        k: wavenumber of the perturbation along the first axis, of which the box holds one wavelength.
        amplitude: relative density perturbation.
        dimensions: 3 for x1, x2, x3, v1, v2, v3 with the particles' mass as `mu`; 1 for x, v, where the same motion is
            that of `VlasovPoissonPIC` with the square root of the mass as `mu`.
        solver: "particles" (particle-in-cell), or in one dimension "grid" (semi-Lagrangian).
        options: further attributes of `VlasovPoissonPIC3D`, `VlasovPoissonPIC` or `VlasovPoissonGrid`.

    Raises:
        ValueError: an unknown solver or number of dimensions, or an attribute out of its range.

    Example:
        >>> [v.name for v in simulators.strong_landau().variables]
        ['x1', 'x2', 'x3', 'v1', 'v2', 'v3']
    """
    if dimensions == 1:
        own = {**_box(k, None), "amplitude": amplitude, "horizon": (0.0, 8.75), "velocity_scale": 1.0}
        return _one_dimensional(solver, own | options, n_cells=128)
    if dimensions != 3:
        raise ValueError(f"dimensions={dimensions!r} must be 1 or 3")
    if solver != "particles":
        raise ValueError(f"solver={solver!r} is not available in three dimensions; choose 'particles'")
    box: dict[str, Any] = {"lengths": (_box(k, None)["length"], 1.0, 1.0), "amplitude": amplitude}
    return VlasovPoissonPIC3D(**box | options)


def _one_dimensional(solver: str, arguments: dict[str, Any], **particles: Any) -> VlasovPoissonPIC | VlasovPoissonGrid:
    """The chosen solver; `particles` are defaults of the particle code alone."""
    if solver == "particles":
        return VlasovPoissonPIC(**particles | arguments)
    if solver == "grid":
        return VlasovPoissonGrid(**arguments)
    raise ValueError(f"solver={solver!r} is not available; choose 'particles' or 'grid'")


def _box(k: float, length: float | None) -> dict[str, Any]:
    """Length and mode of a box that holds whole wavelengths 2 pi / k."""
    wavelength = 2 * math.pi / positive_float("k", k)
    waves = 1.0 if length is None else positive_float("length", length) / wavelength
    if round(waves) < 1 or abs(waves - round(waves)) > 1e-6 * waves:
        raise ValueError(
            f"length={length!r} holds {waves:.4g} wavelengths 2 pi / k = {wavelength:.6g}; a periodic box must hold a "
            "whole number of them"
        )
    return {"length": wavelength if length is None else float(length), "mode": round(waves)}

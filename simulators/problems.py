"""The benchmark problems of Berman, Blickhan and Peherstorfer 2024 (arXiv:2410.12000) as ready steppers."""

from __future__ import annotations

from typing import Any, Literal

from hoam_plugin.simulators.vlasov_poisson_pic import Beam, VlasovPoissonPIC


def two_stream(
    amplitude: float = 0.05,
    start: Literal["quiet", "random"] = "quiet",
    solver: Literal["particles"] = "particles",
    **options: Any,
) -> VlasovPoissonPIC:
    """Two-stream instability: equal Maxwellians at v = +-3, width 1, box length 50; parameter `mu` in [1.2, 1.9].

    Args:
        amplitude: relative density perturbation in the longest wave of the box.
        start: "quiet" or "random" particle positions and velocities.
        solver: "particles" (particle-in-cell).
        options: further attributes of `VlasovPoissonPIC`, such as `n_cells`, `dt` or `horizon`.

    Raises:
        ValueError: an unknown solver, or an attribute out of its range.
    """
    _require_particles(solver)
    beams = (Beam(0.5, -3.0, 1.0), Beam(0.5, 3.0, 1.0))
    return _long_box(beams, amplitude=amplitude, start=start, **options)


def bump_on_tail(
    amplitude: float = 0.05,
    start: Literal["quiet", "random"] = "quiet",
    solver: Literal["particles"] = "particles",
    **options: Any,
) -> VlasovPoissonPIC:
    """Bump-on-tail instability: 0.9 N(0, 1) + 0.1 N(4, 0.5^2) on a box of length 50; parameter `mu` in [1.3, 2.0].

    Arguments and errors as in `two_stream`. The width 0.5 is that of the authors' code (their text prints 1/sqrt 2).
    """
    _require_particles(solver)
    beams = (Beam(0.9, 0.0, 1.0), Beam(0.1, 4.0, 0.5))
    return _long_box(beams, amplitude=amplitude, start=start, **options)


def _long_box(beams: tuple[Beam, ...], **options: Any) -> VlasovPoissonPIC:
    arguments: dict[str, Any] = {"beams": beams, "length": 50.0}
    return VlasovPoissonPIC(**arguments | options)


def _require_particles(solver: str) -> None:
    if solver != "particles":
        raise ValueError(f"solver={solver!r} is not available; choose 'particles'")

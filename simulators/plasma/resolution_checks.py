"""Whether the time step and the cells of a particle run resolve the plasma, checked before the run starts."""

from __future__ import annotations

import numpy as np

from hoam_plugin._internal import warned

from .splitting import STABILITY_LIMITS

# The phase of a leapfrog oscillation is off by (omega_p dt)^2 / 24: 1 % at 0.5.
_COARSE_STEP = 0.5
# Momentum-conserving codes heat themselves up to about this cell size in Debye lengths (Birdsall and Langdon, Plasma
# Physics via Computer Simulation, section 8-13).
_COARSE_CELL = np.pi


def check_resolution(
    runs: str,
    plasma_frequencies: float | np.ndarray,
    debye_lengths: float | np.ndarray,
    *,
    dt: float,
    integrator: str,
    cell: float,
    wavelength: float,
    speed: float,
    stacklevel: int = 3,
) -> None:
    """Warn of, or refuse, a time step or cells that are too large.

    Args:
        runs: name of the physics parameter, for messages.
        plasma_frequencies: of every run.
        debye_lengths: of every run.
        dt: time step.
        integrator: name of the integrator, which limits the step.
        cell: size of the largest cell.
        wavelength: of the perturbation.
        speed: largest speed that matters.
        stacklevel: of the warnings.

    Raises:
        ValueError: the step is beyond the plasma-period limit of the integrator, where any noise explodes.
    """
    frequency, limit = float(np.max(plasma_frequencies)), STABILITY_LIMITS[integrator]
    product = frequency * dt
    if not product < limit:
        raise ValueError(
            f"dt={dt:g} gives omega_p dt = {product:.3g} at the plasma frequency {frequency:.3g} (from {runs}), and "
            f"integrator={integrator!r} is unstable from {limit:g} on; take dt below {limit / frequency:.3g}, better "
            f"{_COARSE_STEP / frequency:.3g}"
        )
    problems = []
    if product > _COARSE_STEP * (1 + 1e-6):
        problems.append(
            f"dt={dt:g} resolves the plasma period coarsely (omega_p dt = {product:.2f}): frequencies and growth rates "
            f"will be off; take dt of at most {_COARSE_STEP / frequency:.3g}"
        )
    debye = float(np.min(debye_lengths))
    if cell > _COARSE_CELL * debye:
        problems.append(
            f"cells of size {cell:.3g} are {cell / debye:.1f} Debye lengths ({debye:.3g}, from {runs}): the plasma "
            f"will heat itself on the grid; take cells of at most {_COARSE_CELL * debye:.3g}"
        )
    if speed * dt > wavelength / 4:
        problems.append(
            f"dt={dt:g} lets the fastest particles (speed {speed:.3g}) cross {speed * dt / wavelength:.2f} of the "
            f"wavelength {wavelength:.3g} in a step; take dt of at most {wavelength / 4 / speed:.3g}"
        )
    for problem in problems:
        warned.warn(problem, stacklevel=stacklevel)

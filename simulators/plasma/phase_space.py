"""States and variables of particles in one space and one velocity dimension."""

from __future__ import annotations

from hoam_plugin.steppers import Variable, state_type

PhaseSpaceState = state_type(("x", "v"))


def phase_space_variables(
    length: float, velocity_bounds: tuple[float, float], velocity_scale: float
) -> tuple[Variable, Variable]:
    """Position on a torus and velocity.

    Args:
        length: period of the position.
        velocity_bounds: range in which velocities are expected.
        velocity_scale: velocity by which scores make v dimensionless.

    Example:
        >>> x, v = simulators.phase_space_variables(50.0, (-8.0, 8.0), 1.0)
        >>> x.period, v.velocity_of
        (50.0, 'x')
    """
    x = Variable("x", period=length, units="1", long_name="position", bounds=(0.0, length))
    v = Variable("v", velocity_of="x", units="1", long_name="velocity", scale=velocity_scale, bounds=velocity_bounds)
    return x, v

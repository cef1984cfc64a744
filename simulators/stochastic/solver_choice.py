"""Which diffrax solvers suit which stochastic differential equation. Decided without importing diffrax for names."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hoam_plugin._internal.checks import suggestion

if TYPE_CHECKING:
    import diffrax

# For any Ito noise; for noise that does not depend on the state, where Ito and Stratonovich agree; for none at all.
_ITO = ("Euler", "ItoMilstein")
_ADDITIVE = ("Heun", "Midpoint", "Ralston", "SEA", "SRA1", "ShARK")
_QUIET = ("Bosh3", "Dopri5", "Dopri8", "Tsit5")
_NAMES = (*_ITO, *_ADDITIVE, *_QUIET)
_NEED_NOISE = ("ItoMilstein", "SEA", "SRA1", "ShARK")
_WITHOUT_ERROR_ESTIMATE = ("Euler", "ItoMilstein", "SEA")
# Subdivisions of a step down to which the Brownian path of an adaptive solve is resolved.
FINEST = 2.0**-12


def check_solver(solver: object, controller: object, *, noisy: bool, additive: bool) -> None:
    """Check that a solver converges to the Ito solution, and that it can adapt its steps where it should.

    Args:
        solver: name of a diffrax solver, or a solver object.
        controller: None for fixed steps; (rtol, atol) or a diffrax step size controller for adaptive ones.
        noisy: whether there is noise.
        additive: whether the noise does not depend on the state.

    Raises:
        ValueError: an unknown name, a solver that does not suit the noise or the controller, or bad tolerances.
        TypeError: neither a name nor a diffrax solver, or one that cannot be hashed.
    """
    if isinstance(solver, str):
        if solver not in _NAMES:
            raise ValueError(
                f"solver={solver!r} is not one of {', '.join(_NAMES)}; {suggestion(solver, _NAMES)} "
                "(any other may be given as a diffrax object)"
            )
        converges = not noisy or solver in _ITO or (additive and solver in _ADDITIVE)
        needs_noise, estimates_error = solver in _NEED_NOISE, solver not in _WITHOUT_ERROR_ESTIMATE
    else:
        converges, needs_noise, estimates_error = _examine(
            solver, noisy=noisy, additive=additive, controller=controller
        )
    if not converges:
        right = "'Euler', 'Heun' or 'SRA1'" if additive else "'Euler' or 'ItoMilstein'"
        raise ValueError(f"solver={solver!r} does not converge to the Ito solution for this noise; use {right}")
    if needs_noise and not noisy:
        raise ValueError(f"solver={solver!r} is for equations with noise; without any use 'Heun' or 'Tsit5'")
    if controller is not None:
        _check_controller(controller)
        if not estimates_error:
            right = "'Heun' or 'SRA1'" if additive else "diffrax.HalfSolver(diffrax.ItoMilstein())"
            raise ValueError(f"solver={solver!r} has no error estimate for adaptive steps; use {right}")


def solver_object(solver: object) -> diffrax.AbstractSolver:
    """The diffrax solver of a name, or the object itself."""
    if not isinstance(solver, str):
        return cast("diffrax.AbstractSolver", solver)
    import diffrax

    return getattr(diffrax, solver)()


def controller_object(controller: object, *, noisy: bool) -> diffrax.AbstractAdaptiveStepSizeController:
    """The diffrax step size controller of (rtol, atol), or the object itself."""
    import diffrax

    if not isinstance(controller, tuple):
        return cast("diffrax.AbstractAdaptiveStepSizeController", controller)
    rtol, atol = controller
    if not noisy:
        return diffrax.PIDController(rtol=rtol, atol=atol)
    # The coefficients that diffrax recommends for stochastic equations (Ilie, Jackson and Enright 2015); the Brownian
    # path does not resolve smaller steps.
    return diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=0.1, icoeff=0.3, dtmin=2 * FINEST)


def _examine(solver: object, *, noisy: bool, additive: bool, controller: object) -> tuple[bool, bool, bool]:
    """Whether a solver object converges, needs noise, and estimates its error."""
    import diffrax

    if not isinstance(solver, diffrax.AbstractSolver):
        if isinstance(solver, type) and issubclass(solver, diffrax.AbstractSolver):
            raise TypeError(f"solver={solver.__name__} is a class; call it, as in solver=diffrax.{solver.__name__}()")
        raise TypeError(f"solver={solver!r} must be the name of a diffrax solver, such as 'Euler', or such an object")
    try:
        hash(solver)
    except TypeError as error:
        raise TypeError(f"solver={solver!r} must be hashable; build it from plain numbers instead of arrays") from error
    if isinstance(solver, diffrax.HalfSolver) and controller is None:
        raise ValueError(f"solver={solver!r} halves its steps, which needs a stepsize_controller such as (1e-3, 1e-5)")
    suits_additive = additive and isinstance(solver, diffrax.AbstractStratonovichSolver)
    converges = not noisy or suits_additive or isinstance(solver, diffrax.AbstractItoSolver)
    needs_noise = isinstance(solver, diffrax.AbstractSRK | diffrax.ItoMilstein)
    return converges, needs_noise, isinstance(solver, diffrax.AbstractAdaptiveSolver)


def _check_controller(controller: object) -> None:
    if isinstance(controller, tuple):
        if len(controller) != 2 or not all(isinstance(t, float | int) and 0 < t < float("inf") for t in controller):
            raise ValueError(f"stepsize_controller={controller!r} must be (rtol, atol), two positive numbers")
        return
    import diffrax

    if not isinstance(controller, diffrax.AbstractAdaptiveStepSizeController):
        raise TypeError(
            f"stepsize_controller={controller!r} must be None, (rtol, atol) or an adaptive diffrax controller"
        )

"""Anybody's diffrax problem as a stepper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hoam_plugin.simulators import DiffraxStepper
from hoam_plugin.steppers import Variable

from .function_types import Initial, VectorField

if TYPE_CHECKING:
    import diffrax


def from_terms(
    terms: diffrax.AbstractTerm,
    *,
    initial: Initial,
    parameters: Sequence[str] = (),
    variables: Sequence[Variable] | None = None,
    batched: bool = False,
    dt: float = 0.01,
    horizon: tuple[float, float] = (0.0, 1.0),
    solver: str | diffrax.AbstractSolver = "Euler",
    stepsize_controller: tuple[float, float] | diffrax.AbstractStepSizeController | None = None,
    additive: bool | None = None,
    known: VectorField | None = None,
) -> DiffraxStepper:
    """Anybody's diffrax problem as a stepper: a `DiffraxStepper` that calls the functions in the terms.

    Every sample gets Brownian motions of its own; of the one in the terms only the shape counts. Arrays inside the
    terms are constants of the stepper: what is to vary belongs into args, the dict of the parameters. Make the stepper
    once and reuse it, since new functions are compiled anew.

    Args:
        terms: an `ODETerm`, or a `MultiTerm` of one and a `ControlTerm` with a Brownian path. y may be any pytree.
        initial: (key, n_samples, args) -> y0 with a leading sample axis on every leaf.
        parameters: names of the entries of args.
        variables: descriptions of the leaves of y, in their order; by default named after dict keys, or `x` (a single
            leaf) or `y0`, `y1`, ....
        batched: whether the functions take the whole population (sample axis first) instead of one sample, as those of
            interacting particles do. Its noise has to be diagonal.
        dt: default time step.
        horizon: default time range.
        solver: name of a diffrax solver, or one as an object; see `DiffraxStepper`.
        stepsize_controller: None, (rtol, atol) or a diffrax controller; see `DiffraxStepper`.
        additive: whether the diffusion does not depend on y; None finds out.
        known: (t, y, args) -> dy/dt, a part of the drift that a learned force need not have.

    Raises:
        TypeError: terms of another kind or a function that makes them, one name in the place of a list, or an `initial`
            that is no function.
        ValueError: variables that do not fit y, or as `DiffraxStepper`.

    Example:
        >>> import diffrax
        >>> from hoam_plugin.adapters.diffrax import from_terms
        >>> decay = diffrax.ODETerm(lambda t, y, args: -args["rate"] * y)
        >>> from_terms(decay, initial=lambda key, n, args: jnp.ones((n, 2)), parameters=("rate",)).parameters
        ('rate',)
    """
    if isinstance(parameters, str):
        raise TypeError(f"parameters={parameters!r} must be a list of names, such as ({parameters!r},)")
    from . import terms_as_functions

    return terms_as_functions.stepper(
        terms,
        initial,
        tuple(parameters),
        variables,
        batched,
        additive,
        known,
        dt=dt,
        horizon=horizon,
        solver=solver,
        stepsize_controller=stepsize_controller,
    )

"""Anybody's own stochastic differential equation as a stepper, solved by diffrax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from hoam_plugin._internal.checks import a_function, positive_int
from hoam_plugin._internal.static import pytree
from hoam_plugin.steppers import OfState, Variable, require_field_name

from .ito_problem import Diffusion, Initial, OfSample
from .ito_stepper import ItoStepper, of_samples


@pytree()
class DiffraxStepper(ItoStepper):
    """A population of independent samples of dX = drift dt + diffusion dW (Ito).

    The functions say what happens to one sample; they are vectorised over the population, so that a fixed step is one
    call of the diffrax solver for all samples, with the random numbers of all drawn at once. The functions are static:
    make the stepper once and reuse it, since new functions (also equal lambdas) are compiled anew. Samples, time and
    parameters enter them in the samples' dtype, of at least single precision: late times and positions far from 0 are
    rounded to it. Steps lose nothing by that, since states carry what rounding cuts off the time and the samples.

    >>> ou = simulators.DiffraxStepper(
    ...     drift=lambda time, x, parameters: -parameters["theta"] * x,
    ...     diffusion=0.5,
    ...     initial=lambda key, n, parameters: jax.random.normal(key, (n, 2)),
    ...     parameters=("theta",),
    ... )

    Attributes:
        drift: (time, x, parameters) -> (D,); x of shape (D,) holds the variables of one sample, flattened in order.
        diffusion: None for an ordinary differential equation; a number, D numbers (diagonal noise) or (D, M) numbers
            (full noise, M independent sources); or a function (time, x, parameters) -> (D,) or (D, M).
        initial: (key, n_samples, parameters) -> (n_samples, D), samples of the initial distribution.
        parameters: names of the physics parameters.
        variables: the variables of a sample.
        sizes: lengths of the variables' extra dimensions, as a mapping; one of them may be left to be found from D.
        dt: default time step.
        horizon: default time range.
        solver: name of a diffrax solver, or one as an object. "Euler" (weak order 1) suits any noise, "ItoMilstein"
            commutative noise; for additive noise "Heun" (weak order 2, two drifts and one normal variate per source and
            step) and "SRA1", "ShARK" (strong order 1.5, two normal variates); without noise also "Tsit5", "Dopri8".
        stepsize_controller: None for fixed steps. (rtol, atol), or an adaptive diffrax controller, solves every sample
            over `dt` in steps of its own, on a virtual Brownian tree: far slower, and differentiable in reverse mode
            only. A sample whose solve fails becomes NaN. For noise that depends on x the tolerance should be 1e-3 or
            less: at 1e-2 the variance of a geometric Brownian motion came out a tenth too small.
        additive: True declares that a diffusion given as a function does not depend on x, which allows for the solvers
            of additive noise and lets a surrogate know the noise.
        known: (time, x, parameters) -> (D,), a part of the drift that a learned force need not learn, or None.

    Raises:
        ValueError: an argument out of its range, a variable's name that no State can hold, or a solver that does not
            converge to the Ito solution.
        TypeError: a drift, diffusion or initial that is neither a function nor numbers, or one name or variable in the
            place of a list.
    """

    keeps_remainders: ClassVar[bool] = True

    drift: OfSample
    diffusion: Any
    initial: Initial
    parameters: tuple[str, ...] = ()
    variables: tuple[Variable, ...] = (Variable("x", dims=("axis",)),)
    sizes: Any = ()
    dt: float = 0.01
    horizon: tuple[float, float] = (0.0, 1.0)
    solver: object = "Euler"
    stepsize_controller: object = None
    additive: bool = False
    known: OfSample | None = None

    def __post_init__(self) -> None:
        for name in ("drift", "initial"):
            a_function(name, getattr(self, name))
        if self.known is not None:
            a_function("known", self.known, "a function or None")
        if isinstance(self.parameters, str):
            raise TypeError(f"parameters={self.parameters!r} must be a list of names, such as ({self.parameters!r},)")
        if isinstance(self.variables, Variable):
            raise TypeError(f"variables={self.variables.name!r} must be a list of them, such as (variable,)")
        if not self.variables:
            raise ValueError("variables=() must name at least one variable, such as (Variable('x', dims=('axis',)),)")
        for name, value in (
            ("parameters", tuple(self.parameters)),
            ("variables", tuple(self.variables)),
            ("horizon", tuple(float(end) for end in self.horizon)),
            ("diffusion", _constant(self.diffusion)),
            ("sizes", _pairs(self.sizes, self.variables)),
        ):
            object.__setattr__(self, name, value)
        for variable in self.variables:
            require_field_name(variable.name)
        if not callable(self.diffusion):
            object.__setattr__(self, "additive", True)
        self.check_numerics()

    @property
    def known_drift(self) -> OfState | None:
        """(state, parameters) -> what `known` says, by variable; None where nothing is declared as known."""
        known = self.known
        if known is None:
            return None
        return lambda state, parameters: of_samples(self, known, state, parameters)


def _constant(diffusion: Any) -> Diffusion:
    """Numbers as hashable nested tuples; functions and None as they are."""
    if diffusion is None or callable(diffusion):
        return diffusion
    try:
        numbers = np.asarray(diffusion, np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"diffusion={diffusion!r} must be None, numbers or a function") from error
    if numbers.ndim > 2 or not np.isfinite(numbers).all():
        raise ValueError(f"diffusion={diffusion!r} must be a finite number, D numbers or (D, M) numbers")
    if numbers.ndim == 2:
        return tuple(map(tuple, numbers.tolist()))
    return tuple(numbers.tolist()) if numbers.ndim else float(numbers)


def _pairs(
    sizes: Mapping[str, int] | Sequence[tuple[str, int]], variables: tuple[Variable, ...]
) -> tuple[tuple[str, int], ...]:
    """A mapping as hashable pairs, checked against the variables' dimensions."""
    mapping = dict(sizes)
    dims = {dim for variable in variables for dim in variable.dims}
    for name in mapping:
        if name not in dims:
            raise ValueError(f"sizes names the dimension {name!r}, but the variables have {sorted(dims)!r}")
    return tuple(sorted((name, positive_int(f"sizes[{name!r}]", size)) for name, size in mapping.items()))

"""Coefficients c_k(t, mu) of potentials that are linear in them: splines in time, interpolated between the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.dynamics import RunWeights
from hoam_plugin.numerics.uniform_splines import TAPS, Axis, taps
from hoam_plugin.potentials.interface import Weights


def no_coefficients(n: int, n_conditions: int) -> Weights:
    """Coefficients of zero, of one run; as weights of a potential.

    Args:
        n: of them.
        n_conditions: time, and so many parameters but one.
    """
    shift, nowhere = jnp.zeros(n_conditions - 1), jnp.zeros((1, 0))
    # What `weights_of_runs` gives for runs that do not differ.
    basis, table = jnp.zeros((n_conditions - 1, 0)), jnp.ones((1, 1, 1))
    runs = {"shift": shift, "scale": jnp.ones_like(shift), "basis": basis, "points": nowhere, "table": table}
    return {"coefficients": jnp.zeros((TAPS, 1, n)), "runs": runs}


# Of the arrays of coefficients: axes whose length follows from the potential. They have as many splines in time and
# runs as what they were solved from, and there are as many directions in which these runs differ.
_FIXED_AXES = {"coefficients": (2,), "basis": (0,), "points": (), "table": ()}


def shape_fits(path: Sequence[str], found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether an array of weights may have this shape, where `init` gives another.

    Args:
        path: names of the array within the weights, the innermost last.
        found: its shape.
        expected: that of the array that `init` makes.
    """
    own = "runs" in path or path[-1:] == ["coefficients"]
    if not own or path[-1] not in _FIXED_AXES:
        return found == expected
    return len(found) == len(expected) and all(found[axis] == expected[axis] for axis in _FIXED_AXES[path[-1]])


def coefficients_fit(weights: object) -> bool:
    """Whether all coefficients in a tree of weights are of the runs beside them."""
    if not isinstance(weights, Mapping):
        return True
    if not {"coefficients", "runs"} <= weights.keys():
        return all(coefficients_fit(part) for part in weights.values())
    coefficients, runs = weights["coefficients"], weights["runs"]
    n_splines, n_runs, _ = coefficients.shape
    of_runs = runs["table"].shape[2] == n_runs and runs["points"].shape[1] == runs["basis"].shape[1]
    return n_splines >= TAPS and of_runs


def coefficients_at(weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T k"]:
    """The coefficients for every row of conditions (time and parameters, normalised).

    Args:
        weights: "coefficients" of the splines in time, (spline, run, k), and "runs", the arrays of `RunWeights`.
        conditions: time from -1 to 1, and standardised parameters.
    """
    names = tuple(str(i) for i in range(conditions.shape[1] - 1))
    runs = RunWeights(names, **weights["runs"])
    coefficients = weights["coefficients"]
    steps = Axis(-1.0, 1.0, len(coefficients), periodic=False)

    def of_row(condition: Float[Array, " C"]) -> Float[Array, " k"]:
        at = taps(steps, condition[:1])
        several = jnp.einsum("j,jrk->rk", at.value[0], coefficients[at.which[0]])
        return runs({name: condition[1 + i] for i, name in enumerate(names)}) @ several

    return jax.vmap(of_row)(conditions)

"""Where the training runs lie among the parameters, and how far a parameter is from the nearest of them.

A box of ranges says nothing of corners and gaps that no run is near. Distances are in units of the runs' own spacing:
that of a grid of as many runs over the same ranges, with no more levels along a parameter than it has values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hoam_plugin._internal.static import pytree
from hoam_plugin.dynamics import Normalisation
from hoam_plugin.numerics import tolerances
from hoam_plugin.scores import labels
from hoam_plugin.steppers import default_float

# The middle of a cell of a grid is half its diagonal from the nearest run: beyond this share of the diagonal, and
# beyond one spacing, is a hole.
_SHARE_OF_DIAGONAL = 0.55


@pytree(data=("points", "spacing"), eq=False)
class TrainingRuns:
    """The parameters of the training runs, standardised as `Normalisation` does.

    Attributes:
        points: one row per run.
        spacing: of the runs along each parameter; infinite for one that is the same in all runs.
    """

    points: Float[Array, "R P"]
    spacing: Float[Array, " P"]

    @property
    def reach(self) -> float:
        """Beyond so many spacings from the nearest run is a hole."""
        return max(1.0, _SHARE_OF_DIAGONAL * math.sqrt(self.points.shape[1]))

    def distance(self, at: Float[Array, " P"]) -> Float[Array, ""]:
        """Of standardised parameters from the nearest run, in spacings; traceable, and differentiable."""
        away = (at[None] - self.points) / self.spacing[None]
        squared = jnp.min(jnp.sum(away**2, axis=1))
        # The root has no derivative at 0.
        return jnp.where(squared > 0, jnp.sqrt(jnp.where(squared > 0, squared, 1)), 0)


def runs_at(columns: Mapping[str, np.ndarray], normalisation: Normalisation) -> TrainingRuns | None:
    """The runs of an ensemble of these parameters; None where there are none.

    Args:
        columns: the parameters of the runs by name, physical units.
        normalisation: of the same parameters.
    """
    if not normalisation.parameters:
        return None
    points = np.stack([np.asarray(columns[name], np.float64) for name in normalisation.parameters], axis=1)
    shift, scale = _units(normalisation)
    return TrainingRuns(
        jnp.asarray((points - shift) / scale, default_float()), jnp.asarray(_spacing(points) / scale, default_float())
    )


def physical_points(runs: TrainingRuns, normalisation: Normalisation) -> Float[np.ndarray, "R P"]:
    """The parameters of the runs in physical units, one row per run; not while it is traced."""
    shift, scale = _units(normalisation)
    return shift + scale * np.asarray(runs.points, np.float64)


def hole(runs: TrainingRuns | None, normalisation: Normalisation, parameters: Mapping[str, ArrayLike]) -> str | None:
    """One sentence about the first concrete parameters that no run is near, or None.

    Args:
        runs: of the training, or None where they are not known.
        normalisation: of the parameters.
        parameters: of one run, or a column of each for several.
    """
    names = normalisation.parameters
    leaves = jax.tree.leaves((dict(parameters), runs, normalisation))
    if runs is None or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return None
    rows = np.stack(np.broadcast_arrays(*(np.atleast_1d(np.asarray(parameters[n], np.float64)) for n in names)), 1)
    points, (_, scale) = physical_points(runs, normalisation), _units(normalisation)
    spacing = np.asarray(runs.spacing, np.float64) * scale
    for row in rows:
        distances = np.sqrt((((row - points) / spacing) ** 2).sum(axis=1))
        nearest = int(distances.argmin())
        if distances[nearest] > runs.reach:
            return (
                f"parameters {_text(names, row, points)} lie within the trained ranges, but {distances[nearest]:.2g} "
                f"times the spacing of the training runs from the nearest one, {_text(names, points[nearest], points)}"
            )
    return None


def _spacing(points: Float[np.ndarray, "R P"]) -> Float[np.ndarray, " P"]:
    """Of a grid with as many points, along each axis, in the axis's own units."""
    spans = np.ptp(points, axis=0)
    indices = [tolerances.distinct_levels(column)[1] for column in points.T]
    n = len(np.unique(np.stack(indices, axis=1), axis=0))
    levels = _levels([int(index.max()) + 1 for index in indices], n)
    return np.where(spans > 0, spans / np.maximum(levels - 1, 1), np.inf)


def _levels(most: list[int], n: int) -> Float[np.ndarray, " P"]:
    """Levels of a grid of n points: equal ones, but no more along an axis than there are."""
    levels = np.ones(len(most))
    # Those with few values first: what they leave, the others share.
    left, order = float(n), sorted(range(len(most)), key=most.__getitem__)
    for i, axis in enumerate(order):
        levels[axis] = min(most[axis], left ** (1 / (len(order) - i)))
        left = max(left / levels[axis], 1.0)
    return levels


def _units(normalisation: Normalisation) -> tuple[np.ndarray, np.ndarray]:
    """Shift and scale of the parameters as the network has them, in double precision."""
    return np.asarray(normalisation.parameter_shift, np.float64), np.asarray(normalisation.parameter_scale, np.float64)


def _text(names: tuple[str, ...], row: np.ndarray, points: np.ndarray) -> str:
    told = (f"{name}={labels.number(x, column)}" for name, x, column in zip(names, row, points.T, strict=True))
    return ", ".join(told)

"""A population as the cells of a grid, each with its density, momentum and pressure.

In action matching around known kinematics with a force g(x, t, mu), the samples enter the loss through sums of g,
v g and v v g over the population only. Merging the samples of a cell, as particle-in-cell codes do to reduce their
number (Vranic et al. 2015, doi:10.1016/j.cpc.2015.01.020), keeps these sums up to the second order in the cell size,
and so the whole population takes part in every iteration. Nothing links the samples of different times. The cells are
the same at all times of an iteration: what is exact for each sample, that its linear terms add up to the ends, must not
be lost in a grid that changes with time.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.dynamics import Structure
from hoam_plugin.losses.batch import Nodes, rows_of
from hoam_plugin.potentials import Embedding, Force, Streams, Weights, per_row

# Cells of the grid, and its positions: the error of one of them averages out.
CELLS = 64
SHIFTS = 4
# Half of the range, in standard deviations, that the cells of a coordinate without a period cover.
_REACH = 4.0


def merged(
    points: Float[np.ndarray, "N D"], structure: Structure, period: float | None
) -> tuple[Float[np.ndarray, "B n D"], Float[np.ndarray, "B n"], Float[np.ndarray, "B n"]]:
    """The cells of a population with one position and one velocity, for each of B positions of the grid.

    Args:
        points: normalised samples.
        structure: which column is which.
        period: of the position in normalised units, or None.

    Returns:
        mean position and velocity of each cell, its share of the samples over the mean share, and the variance of the
        velocity in it.
    """
    ((position, velocity),) = structure.kinematics
    low, length = (-_REACH, 2 * _REACH) if period is None else (0.0, period)
    x, v = points[:, position].astype(np.float64), points[:, velocity].astype(np.float64)
    place = (x - low) * (CELLS / length)
    means = np.zeros((SHIFTS, CELLS, points.shape[1]), points.dtype)
    shares, variances = np.zeros((2, SHIFTS, CELLS), points.dtype)
    for b in range(SHIFTS):
        shifted = place - b / SHIFTS
        cell = np.floor(shifted).astype(np.int64)
        cell = np.clip(cell, 0, CELLS - 1) if period is None else cell % CELLS
        # Periodic samples count from the start of their cell, which may lie on the other side of the box.
        within = shifted - cell if period is None else shifted % 1
        count, sum_x, sum_v, sum_vv = (
            np.bincount(cell, weights=w, minlength=CELLS) for w in (np.ones_like(v), within, v, v * v)
        )
        n = np.maximum(count, 1)
        means[b, :, position] = low + (np.arange(CELLS) + b / SHIFTS + sum_x / n) * (length / CELLS)
        means[b, :, velocity] = sum_v / n
        shares[b] = count * (CELLS / len(x))
        variances[b] = np.maximum(sum_vv / n - (sum_v / n) ** 2, 0)
    return means, shares, variances


def terms_of_cells(
    force: Force,
    weights: Weights,
    embedding: Embedding,
    nodes: Nodes,
    modulations: Float[Array, "T width"],
    rates: Float[Array, "T width"],
) -> tuple[Float[Array, " N"], Float[Array, " N"], Float[Array, " N"]]:
    """Means of v g, of g^2, and of the rate of v g over the samples of a cell, of which only moments are known.

    The mean of v (d_t + b_x d_x) g + b_v g is the derivative of g in the direction (<v>, <v b_x>) of (t, x), and
    <b_v> g; b_v is taken at the mean velocity, as if friction were linear.
    """
    ((position, velocity),) = force.kinematics
    assert nodes.flux is not None
    assert nodes.drift is not None
    rows, at = rows_of(nodes.points), force.positions
    along = jnp.zeros_like(rows).at[:, position].set(rows_of(nodes.flux))
    features = embedding.streams(rows, laplacian=False, drift=along)
    own = Streams(features.value[:, at], features.gradient[:0, :, at], None, features.rate[:, at])
    phi, phi_rate = per_row(modulations, own), per_row(rates, own) * rows[:, velocity, None]
    g, g_rate = force.force_and_rate(weights, own, phi, phi_rate)
    return rows[:, velocity] * g[:, 0], g[:, 0] ** 2, g_rate[:, 0] + rows_of(nodes.drift)[:, velocity] * g[:, 0]

"""Derivatives of what is known at given nodes only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from hoam_plugin._internal.checks import positive_int


def differentiation_matrix(
    nodes: Float[np.ndarray, " T"], width: int = 5
) -> tuple[Int[np.ndarray, "T K"], Float[np.ndarray, "T K"]]:
    """The banded differentiation matrix that is exact for polynomials of degree below `width`, on any spacing.

    At every node it differentiates the Lagrange polynomial through the `width` neighbouring nodes around it, at the two
    ends through the first and the last ones (Berrut and Trefethen 2004, SIAM Review 46, section 9.3, with barycentric
    weights; the diagonal is minus the sum of the others, so that constants have derivative 0 to round-off).

    Args:
        nodes: increasing.
        width: nodes that take part in each derivative, K; all of them where there are fewer. The error is of order
            `width` - 1 in their distance.

    Returns:
        (indices, coefficients): df/dt at node j is the sum over k of coefficients[j, k] f(nodes[indices[j, k]]). Both
        are of double precision.

    Raises:
        ValueError: nodes that do not increase, fewer than two, or a width below 2.
    """
    t = np.asarray(nodes, np.float64)
    if len(t) < 2 or not (np.diff(t) > 0).all():
        raise ValueError(f"nodes={nodes!r} must be at least two increasing numbers")
    k = min(positive_int("width", width, 2), len(t))
    first = np.clip(np.arange(len(t)) - k // 2, 0, len(t) - k)
    indices = first[:, None] + np.arange(k)[None, :]
    window = t[indices]
    # In units of each window, so that the products below neither overflow nor vanish.
    window = window / (window[:, -1:] - window[:, :1])
    distance = window[:, :, None] - window[:, None, :]
    off_diagonal = ~np.eye(k, dtype=bool)
    barycentric = 1 / np.prod(distance, axis=2, where=off_diagonal[None])
    own = np.arange(len(t)) - first
    every = np.arange(len(t))
    distance_from_own = t[:, None] - t[indices]
    distance_from_own[every, own] = 1
    coefficients = barycentric / barycentric[every, own][:, None] / distance_from_own
    coefficients[every, own] = 0
    coefficients[every, own] = -coefficients.sum(axis=1)
    return indices, coefficients

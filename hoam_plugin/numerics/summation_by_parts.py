"""Derivatives at given nodes that go with a quadrature rule on them: banded, and nearly summation by parts."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int

# Degree of the polynomials that every derivative is exact for, and up to which its errors are made small.
_EXACT, _SMALL = 2, 4
# Size of the coefficients against the errors, in the units of the objective.
_SIZE = 0.03


def derivatives_by_parts(
    nodes: Float[np.ndarray, " T"], weights: Float[np.ndarray, " T"], width: int = 5
) -> tuple[Int[np.ndarray, "T K"], Float[np.ndarray, "T K"]]:
    """Derivatives D at the nodes of positive weight whose weighted sum integrates by parts.

    For functions f, g of time, summation by parts is

        sum_j w_j g_j (D f)_j  =  [g f]_0^1 - sum_l w_l f_l g'_l ,

    and where it holds, independent errors of the f_l meet g' only: without it they meet g itself, divided by the
    distance of the nodes. Lagrange differentiation is far from it near the ends of Gauss nodes and everywhere on uneven
    nodes. D has more freedom than it needs to be accurate: D_jl is exact for polynomials of degree 2, and minimises the
    squares of the errors of degrees 3 and 4, of those of the sum above for g of degrees 0 to 3 (all in units of the
    mean distance of nodes), and, hardly, of its own size. On Gauss nodes it is as accurate as the Lagrange polynomial
    through 5 nodes, and the sum holds to some 1e-3.

    Operators with this property are due to Kreiss and Scherer (1974); Svaerd and Nordstroem 2014
    (doi:10.1016/j.jcp.2014.02.031) review them.

    Args:
        nodes: increasing, with the ends of the range as the first and the last one.
        weights: of the rule; those of weight 0 take part in the derivatives at others.
        width: nodes that take part in each derivative, K; all of them where there are fewer.

    Returns:
        (indices, coefficients): df/dt at node j is the sum over k of coefficients[j, k] f(nodes[indices[j, k]]); rows
        sum to 0, and those of weight 0 hold zeros.
    """
    from scipy import sparse
    from scipy.sparse.linalg import spsolve

    t, w = np.asarray(nodes, np.float64), np.asarray(weights, np.float64)
    n, k = len(t), min(width, len(t))
    indices = np.clip(np.arange(n) - k // 2, 0, n - k)[:, None] + np.arange(k)[None, :]
    at = np.flatnonzero(w > 0)
    scale = len(at) / (t[-1] - t[0])
    distance = (t[indices[at]] - t[at, None]) * scale
    exact = min(_EXACT, k - 1)

    # The unknowns are w_j D_jl / scale, node after node.
    def of_rows(values: np.ndarray) -> sparse.csr_array:
        """One equation for each node."""
        rows = np.repeat(np.arange(len(at)), k)
        return sparse.csr_array((values.ravel(), (rows, np.arange(values.size))), (len(at), values.size))

    def of_columns(values: np.ndarray) -> sparse.csr_array:
        """One equation for each node that others look at."""
        return sparse.csr_array((values.ravel(), (indices[at].ravel(), np.arange(values.size))), (n, values.size))

    powers = [distance**degree / math.factorial(degree) for degree in range(_SMALL + 1)]
    zero = np.zeros(len(at))
    largest = [np.abs(power).max(axis=1, keepdims=True) for power in powers]
    must = [of_rows(powers[degree] / largest[degree]) for degree in range(exact + 1)]
    must_be = [zero, w[at] / largest[1][:, 0], *[zero] * (exact - 1)]
    should = [of_rows(power) for power in powers[exact + 1 :]]
    should += [of_columns(power * (-1) ** degree) for degree, power in enumerate(powers[:_SMALL])]
    ends = np.zeros(n)
    ends[[0, -1]] = -1, 1
    should_be = [*[zero] * (_SMALL - exact), ends / scale, -w, *[np.zeros(n)] * (_SMALL - 2)]
    equations, constraints = sparse.vstack(should), sparse.vstack(must)
    normal = equations.T @ equations + _SIZE**2 * sparse.eye_array(distance.size)
    system = sparse.block_array([[normal, constraints.T], [constraints, None]], format="csc")
    right = np.concatenate([equations.T @ np.concatenate(should_be), *must_be])
    solution = spsolve(system, right)[: distance.size].reshape(distance.shape)
    coefficients = np.zeros((n, k))
    coefficients[at] = solution * (scale / w[at, None])
    own = np.arange(n) - indices[:, 0]
    coefficients[np.arange(n), own] -= coefficients.sum(axis=1)
    return indices, coefficients


def differences_of_pairs(
    nodes: Float[np.ndarray, " T"], weights: Float[np.ndarray, " T"]
) -> tuple[Int[np.ndarray, "T K"], Float[np.ndarray, "T K"]]:
    """Derivatives that go with the trapezoidal rule: half the difference of both neighbours, over the weight.

    Summation by parts holds for them with the slope of a piecewise linear g between neighbours; they are what the
    discrete inverse continuity equation (arXiv:2507.05107) has in the place of a derivative.

    Args:
        nodes: increasing.
        weights: of the trapezoidal rule on them.

    Returns:
        See `derivatives_by_parts`.
    """
    at = np.arange(len(nodes))
    indices = np.stack([np.maximum(at - 1, 0), np.minimum(at + 1, len(nodes) - 1)], axis=1)
    return indices, np.asarray([[-0.5, 0.5]]) / np.asarray(weights, np.float64)[:, None]

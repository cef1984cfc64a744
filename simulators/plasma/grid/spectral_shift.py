"""Translation of periodic functions on a uniform grid by any distance: exact (Fourier) or by cubic splines.

Both are products in Fourier space, so that every row may move by its own distance, nothing is interpolated cell by cell
and the sum over the grid is kept to round-off.
"""

from __future__ import annotations

from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import one_of

Interpolation = Literal["fourier", "spline"]


def require_interpolation(name: str, kind: str) -> None:
    """Raise ValueError for anything but a known kind of interpolation."""
    one_of(name, kind, get_args(Interpolation))


def shifted(f: Float[Array, "... n"], cells: Float[Array, "... 1"], kind: Interpolation) -> Float[Array, "... n"]:
    """The function g(y) = f(y - cells) at the grid's nodes, along the last axis.

    Args:
        f: values at the nodes of a periodic grid.
        cells: distance to the right, in cells, for every row.
        kind: "fourier": the trigonometric interpolant, of spectral accuracy, whose sum of squares does not grow.
            "spline": the interpolating cubic spline, of fourth order, which damps the shortest waves instead of letting
            them ring (Cheng and Knorr 1976, doi:10.1016/0021-9991(76)90053-X; Sonnendruecker et al. 1999).
    """
    n = f.shape[-1]
    angle = (2 * np.pi / n * np.arange(n // 2 + 1)).reshape((1,) * (f.ndim - 1) + (-1,))
    if kind == "fourier":
        phase = jnp.asarray(angle, f.dtype) * cells
        factor = jax.lax.complex(jnp.cos(phase), -jnp.sin(phase))
    else:
        whole = jnp.floor(cells)
        r = cells - whole
        # Values of the cubic B-spline at the distances of the four nodes around, and the filter that makes the spline
        # pass through the given values.
        weights = ((1 - r) ** 3 / 6, 2 / 3 - r**2 + r**3 / 2, 2 / 3 - (1 - r) ** 2 + (1 - r) ** 3 / 2, r**3 / 6)
        filtered = 1 / (2 / 3 + np.cos(angle) / 3)
        nodes = list(zip((-1, 0, 1, 2), weights, strict=True))
        real = sum(w * jnp.asarray(np.cos(m * angle) * filtered, f.dtype) for m, w in nodes)
        imaginary = sum(w * jnp.asarray(-np.sin(m * angle) * filtered, f.dtype) for m, w in nodes)
        phase = jnp.asarray(angle, f.dtype) * whole
        factor = jax.lax.complex(real, imaginary) * jax.lax.complex(jnp.cos(phase), -jnp.sin(phase))
    return jnp.fft.irfft(jnp.fft.rfft(f) * factor, n)


def refined(f: Float[Array, " n"], n_fine: int) -> Float[Array, " n_fine"]:
    """The trigonometric interpolant of a periodic function on a finer grid with the same first node.

    Args:
        f: values at the nodes.
        n_fine: nodes of the finer grid.
    """
    return jnp.fft.irfft(jnp.fft.rfft(f), n_fine) * (n_fine / f.shape[-1])


def antiderivative(f: Float[Array, " n"], length: float) -> Float[Array, " n"]:
    """The periodic antiderivative with mean 0 of f minus its mean."""
    n = f.shape[-1]
    waves = 2 * np.pi / length * np.arange(n // 2 + 1)
    inverse = np.zeros_like(waves)
    # The derivative of the shortest wave of an even grid vanishes at its nodes, so it has no antiderivative.
    inner = slice(1, len(waves) - (n % 2 == 0))
    inverse[inner] = 1 / waves[inner]
    factor = jnp.asarray(-1j * inverse, np.result_type(f.dtype, np.complex64))
    return jnp.fft.irfft(jnp.fft.rfft(f) * factor, n)

"""Samples x and v of densities on a grid of phase space."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import positive_int, random_key
from hoam_plugin._types import Key, Numbers, State
from hoam_plugin.numerics import tolerances
from hoam_plugin.numerics.periodic import wrapped
from hoam_plugin.simulators import VlasovPoissonGrid, sampling
from hoam_plugin.steppers import default_float

Start = Literal["quiet", "random"]


def particles(
    solver: VlasovPoissonGrid, state: State, key: Key, n_samples: int, start: Start = "quiet"
) -> dict[str, Float[Array, " sample"]]:
    """Samples {"x", "v"} of the distribution that a grid solver's state holds, of its first species.

    `steppers.state_from_samples(stepper, samples, time, parameters, key)` makes a state of any stepper of them.

    Args:
        solver: whose grid.
        state: of that solver.
        key: JAX random key.
        n_samples: number of samples.
        start: "quiet" (evenly spread) or "random".

    Example:
        >>> from hoam_plugin.adapters import vlasov
        >>> grid = simulators.two_stream(solver="grid", n_x=32, n_v=64)
        >>> drawn = vlasov.particles(grid, vlasov.grid_state(grid, state, {"mu": 1.4}), key, 100)
        >>> {name: values.shape for name, values in drawn.items()}
        {'x': (100,), 'v': (100,)}
    """
    grid = solver.grid()
    f = state.aux.distributions[0]
    return draw(key, f, np.asarray(grid.positions()), np.asarray(grid.velocities()), n_samples, start)


def draw(
    key: Key,
    f: Float[Array, "n_x n_v"] | Float[np.ndarray, "n_x n_v"],
    x: Float[np.ndarray, " n_x"],
    v: Float[np.ndarray, " n_v"],
    n_samples: int,
    start: Start = "quiet",
) -> dict[str, Float[Array, " sample"]]:
    """Samples {"x", "v"} of a density on a grid, by inverse transform; it is taken as linear between the nodes.

    Args:
        key: JAX random key.
        f: density of any norm; what is below zero, as left by high-order advection, counts as zero.
        x: nodes, evenly spaced over one period: the box is [0, n_x dx).
        v: nodes, evenly spaced.
        n_samples: number of samples.
        start: "quiet" (scrambled Hammersley points, evenly spread) or "random".

    Raises:
        ValueError: nodes that are not evenly spaced or do not fit f, or a density without anything above zero.

    Example:
        >>> from hoam_plugin.adapters import vlasov
        >>> x, v = np.arange(8) * 0.5, np.linspace(-3, 3, 16)
        >>> drawn = vlasov.draw(key, np.ones((8, 16)), x, v, 100)
        >>> {name: values.shape for name, values in drawn.items()}
        {'x': (100,), 'v': (100,)}
    """
    n_samples, key = positive_int("n_samples", n_samples), random_key(key)
    if np.shape(f) != (len(x), len(v)):
        raise ValueError(f"f has the shape {np.shape(f)}; it must be (x, v) = {(len(x), len(v))}")
    dx, _ = spacing("x", x), spacing("v", v)
    density = jnp.maximum(jnp.asarray(f if isinstance(f, jax.Array) else ensembles.native(f), default_float()), 0)
    if not isinstance(density, jax.core.Tracer) and not float(jnp.sum(density)) > 0:
        raise ValueError("f holds nothing above zero; it must be a density")
    u = sampling.uniform_points(key, n_samples, 2, start)
    length = dx * len(x)
    own_x, own_v = sampling.samples_of_table(u.astype(density.dtype), density, length, float(v[0]), float(v[-1]))
    # The first node within the box: of an origin far off, single precision would leave nothing of the positions.
    shifted = own_x + float(np.asarray(x[0], np.float64) % length)
    return {"x": wrapped(shifted, length), "v": own_v}


def spacing(name: str, nodes: Numbers) -> float:
    """Distance of evenly spaced nodes.

    Raises:
        ValueError: fewer than two, or uneven ones.
    """
    array = np.asarray(nodes, np.float64)
    steps = np.diff(array)
    # Nodes far from the origin, in the precision of their file, are uneven by its round-off.
    uneven = 1e-3 * steps.mean() + tolerances.resolution(np.asarray(nodes)) if steps.size else 0.0
    if array.ndim != 1 or steps.size == 0 or not (steps > 0).all() or np.ptp(steps) > uneven:
        raise ValueError(f"{name}={array.tolist()!r} must be evenly spaced, increasing nodes")
    return float((array[-1] - array[0]) / len(steps))

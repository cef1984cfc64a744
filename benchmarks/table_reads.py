"""A learned force of one periodic position at many samples: through our table, by interpax, and by the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import interpax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report
from hoam_plugin.numerics import tabulation

LENGTH = 50.0
COUNTS = (1_000, 25_000, 1_000_000)
_INTERPAX_POINTS = 256
_WIDTH = 96


def force(points: Any) -> Any:
    """A force of eight waves, computed by products of the size of the default network."""
    angle = 2 * jnp.pi / LENGTH * points[:, 0]
    hidden = jnp.stack([jnp.sin(m * angle + m) for m in range(1, 9)], axis=-1)
    weights = jnp.asarray(np.random.default_rng(0).standard_normal((8, _WIDTH)) / 8, points.dtype)
    features = jnp.sin(hidden @ weights)
    for seed in (1, 2):
        square = np.random.default_rng(seed).standard_normal((_WIDTH, _WIDTH)) / _WIDTH**0.5
        features = jnp.sin(features @ jnp.asarray(square, points.dtype))
    return jnp.mean(features, axis=1, keepdims=True)


def ours(x: Any) -> Any:
    """64 evaluations, spectral refinement to 2048 entries, linear reads."""
    return tabulation.at_samples(force, x[:, None], (LENGTH,))[:, 0]


def by_interpax(x: Any, method: str) -> Any:
    """256 evaluations and interpax's cubic spline."""
    knots = jnp.arange(_INTERPAX_POINTS + 1) * (LENGTH / _INTERPAX_POINTS)
    values = force(knots[:-1, None])[:, 0]
    return interpax.interp1d(x, knots[:-1], values, method=method, period=LENGTH)


METHODS: dict[str, Callable[[Any], Any]] = {
    "network at every sample": lambda x: force(x[:, None])[:, 0],
    "table of 2048 entries, linear (ours)": ours,
    "interpax, cubic (local slopes), 256 knots": lambda x: by_interpax(x, "cubic"),
    "interpax, cubic2 (spline), 256 knots": lambda x: by_interpax(x, "cubic2"),
}


def main() -> None:
    """Write `results/table_reads.md`."""
    rows = []
    for name, method in METHODS.items():
        run = jax.jit(method)
        row = [name]
        for n in COUNTS:
            x = jax.random.uniform(jax.random.key(0), (n,)) * LENGTH
            row.append(f"{1e3 * report.median_seconds(lambda run=run, x=x: jax.block_until_ready(run(x)), 7):.2f}")
        x = jax.random.uniform(jax.random.key(1), (5000,)) * LENGTH
        exact = METHODS["network at every sample"](x)
        row.append(f"{float(jnp.abs(run(x) - exact).max() / jnp.abs(exact).max()):.1e}")
        rows.append(row)
    header = ["", *(f"N = {n:,}, ms".replace(",", " ") for n in COUNTS), "largest error"]
    report.write(
        "table_reads",
        "# Reading a force from a table\n\n`python -m benchmarks.table_reads`: a function of one periodic position, as "
        "dear as the default network, at N samples; medians of 7 after compilation; errors are relative to the largest "
        f"value.\n\n{report.machine(['hoam-plugin', 'jax', 'interpax'])}\n\n{report.table(header, rows)}",
    )


if __name__ == "__main__":
    main()

"""The Sinkhorn divergence of Table 1 of Berman, Blickhan and Peherstorfer (arXiv:2410.12000), by ott-jax."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal import checks
from hoam_plugin.numerics.periodic import wrapped_closed_on_host
from hoam_plugin.scores.distances import Coordinate

# Entries of a cost matrix that are made at a time, so that they stay in a core's cache.
_ENTRIES = 1 << 17
# ott-jax looks whether it is done every so many iterations.
_BETWEEN_CHECKS = 10


@dataclasses.dataclass(frozen=True)
class PaperSinkhorn:
    """Settings of the score `paper_sinkhorn_divergence`; the defaults are the paper's.

    Cost is the squared Euclidean distance in raw units (a periodic coordinate is wrapped into one period), the
    regularisation is absolute, and potentials start from 0. Sinkhorn's iteration is slow where epsilon is far below
    the cost between clusters: it then ends at `max_iterations` and the value is too low, in the paper as here. That is
    the published score, so that a comparison with it needs the same two numbers; attributes of the scores say how many
    transport problems converged.

    Fewer samples give a larger divergence, also of two runs of the truth, by about the squared distance between
    neighbours: then compare with the noise floor of the same setting. Time is that of
    2 n^2 exponentials per iteration and transport problem, one per time and reference (those of a set with itself
    converge within tens of iterations).

    Attributes:
        n_samples: random samples of each ensemble; all by default.
        n_times: saved times, those nearest to equally spaced ones without the first.
        epsilon: regularisation, in squared raw units.
        max_iterations: of a transport problem.
        threshold: L1 error of the marginals below which a problem counts as converged.

    Example:
        >>> from hoam_plugin.scores import PaperSinkhorn
        >>> PaperSinkhorn(n_samples=500).n_samples
        500
    """

    n_samples: int | None = None
    n_times: int = 31
    epsilon: float = 0.01
    max_iterations: int = 2000
    threshold: float = 1e-3

    def __post_init__(self) -> None:
        if self.n_samples is not None:
            checks.positive_int("n_samples", self.n_samples, 2)
        checks.positive_int("n_times", self.n_times)
        checks.positive_float("epsilon", self.epsilon)
        checks.positive_int("max_iterations", self.max_iterations)
        checks.positive_float("threshold", self.threshold)

    def verdict(self, converged: Sequence[bool]) -> str:
        """The settings in words, and how many transport problems converged."""
        samples = "all" if self.n_samples is None else str(self.n_samples)
        return (
            f"epsilon {self.epsilon:g}, raw units, {samples} samples, {self.n_times} times; {sum(converged)} "
            f"of {len(converged)} transport problems converged to {self.threshold:g} within {self.max_iterations} "
            "iterations"
        )


class PaperDivergences:
    """Divergences from one set of samples of the truth, whose transport to itself is computed once.

    Args:
        truth: the samples.
        coordinates: their columns.
        settings: of the score.
        seed: of the subsets.

    Attributes:
        converged: of every transport problem between two sets, whether it did.
    """

    def __init__(
        self,
        truth: Float[np.ndarray, "n D"],
        coordinates: tuple[Coordinate, ...],
        settings: PaperSinkhorn,
        seed: Sequence[int],
    ) -> None:
        self._coordinates, self._settings = coordinates, settings
        self._rng = np.random.default_rng((*seed, 2))
        raw = self._raw(truth)
        # Distances do not change, and single precision keeps its digits.
        self._centre = raw.mean(axis=0)
        self._truth = jnp.asarray(raw - self._centre, jnp.float32)
        self._own = self._solved(self._truth, self._truth, symmetric=True)[0]
        self.converged: list[bool] = []

    def to(self, other: Float[np.ndarray, "m D"]) -> float:
        """The divergence of other samples."""
        points = jnp.asarray(self._raw(other) - self._centre, jnp.float32)
        cost, converged = self._solved(self._truth, points, symmetric=False)
        self.converged.append(converged)
        return cost - (self._own + self._solved(points, points, symmetric=True)[0]) / 2

    def _raw(self, x: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "k D"]:
        n = self._settings.n_samples
        if n is not None and n < len(x):
            x = x[self._rng.choice(len(x), n, replace=False)]
        columns = [
            column if c.period is None else wrapped_closed_on_host(column, c.period)
            for column, c in zip(x.T.astype(np.float64), self._coordinates, strict=True)
        ]
        return np.stack(columns, axis=1)

    def _solved(self, x: Float[Array, "n D"], y: Float[Array, "m D"], *, symmetric: bool) -> tuple[float, bool]:
        settings = self._settings
        solve = solver(settings.max_iterations, settings.threshold, symmetric)
        # ott-jax relies on the promotions that a user may have switched off.
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
            cost, converged = solve(x, y, jnp.asarray(settings.epsilon, jnp.float32))
        return float(cost), bool(converged)


@functools.cache
def solver(
    max_iterations: int, threshold: float, symmetric: bool
) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
    """The compiled regularised transport cost (its dual) between two sets at an epsilon, and whether it converged.

    A set and itself are solved by averaged simultaneous updates, as in ott-jax's `sinkhorn_divergence`.

    Raises:
        ImportError: without the extra `ot`.
    """
    try:
        from ott.problems.linear.linear_problem import LinearProblem
        from ott.solvers.linear.acceleration import Momentum
        from ott.solvers.linear.sinkhorn import Sinkhorn
    except ImportError as error:
        raise ImportError("sinkhorn='paper' needs the extra 'ot': python -m pip install 'hoam-plugin[ot]'") from error
    # mypy does not see the fields of what is a dataclass by a decorator.
    averaged = Momentum(start=0, value=0.5) if symmetric else None  # type: ignore[call-arg]
    own = Sinkhorn(
        threshold=threshold,
        max_iterations=max_iterations,
        inner_iterations=min(_BETWEEN_CHECKS, max_iterations),
        parallel_dual_updates=symmetric,
        momentum=averaged,
    )
    cloud = _point_cloud()

    def solve(x: Array, y: Array, epsilon: Array) -> tuple[Array, Array]:
        solved = own(LinearProblem(cloud(x, y, epsilon=epsilon)))
        return jnp.asarray(solved.reg_ot_cost), jnp.asarray(solved.converged)

    return jax.jit(solve)


@functools.cache
def _point_cloud() -> type:
    """ott-jax's `PointCloud` that makes the matrix of costs a few rows at a time.

    Its own `batch_size` does so as well, but ott-jax 0.6 calls there what jax 0.10 no longer has, and a matrix of
    25 000 samples takes 2.5 GB. With rows that stay in the cache it is also faster than a stored matrix.
    """
    from ott.geometry.pointcloud import PointCloud

    @jax.tree_util.register_pytree_node_class
    class RowsAtATime(PointCloud):
        def apply_lse_kernel(
            self, f: Array, g: Array, eps: Array | float, vec: Array | None = None, axis: int = 0
        ) -> tuple[Array, Array]:
            """eps log sum exp((f + g - cost) / eps) along an axis, less the potential of the other; and its sign."""
            if vec is not None:
                return super().apply_lse_kernel(f, g, eps, vec, axis)  # type: ignore[arg-type]
            rows, columns, potential = (self.x, self.y, g) if axis == 1 else (self.y, self.x, f)
            heights = (potential - jnp.sum(columns**2, axis=1)) / eps
            n_rows = max(1, min(len(rows), _ENTRIES // len(columns)))

            def of_rows(block: Array) -> Array:
                exponents = block @ (columns * (2 / eps)).T + heights[None, :]
                return eps * jax.nn.logsumexp(exponents, axis=1) - jnp.sum(block**2, axis=1)

            padded = jnp.pad(rows, ((0, -len(rows) % n_rows), (0, 0)))
            blocks = jax.lax.map(of_rows, padded.reshape(-1, n_rows, rows.shape[1]))
            result = blocks.reshape(-1)[: len(rows)]
            return result, jnp.ones_like(result)

    return RowsAtATime

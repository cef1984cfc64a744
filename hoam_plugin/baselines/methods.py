"""Two generative methods that a surrogate is compared with: flow matching and score matching, one time at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import positive_float, positive_int
from hoam_plugin._types import DTypeLike, Key
from hoam_plugin.numerics import periodic
from hoam_plugin.numerics.integrators import Velocity, runge_kutta_4

Periods = tuple[float | None, ...]

# The last condition -> the network at the wanted time and parameters, as a function of (sample, D) arrays.
FieldAt = Callable[[Float[Array, ""]], Velocity]


class Examples(NamedTuple):
    """What the network is asked and what it should answer, one row per example; normalised units.

    Attributes:
        points: where.
        last: the method's own condition, in [-1, 1], after time and parameters.
        targets: the answer, up to noise over which the mean square error averages.
    """

    points: Float[Array, "n D"]
    last: Float[Array, " n"]
    targets: Float[Array, "n D"]


@dataclasses.dataclass(frozen=True)
class CFM:
    """Conditional flow matching (Lipman et al. 2023, arXiv:2210.02747) from the initial population to each later one.

    As in arXiv:2410.12000: x_0 from the first saved time and x_t from another of the same run, independent of each
    other, x_s = (1 - s) x_0 + s x_t, and u(x_s, s, t, mu) regressed on x_t - x_0. Periodic coordinates take the
    shortest way around. A population at time t is the initial one moved along u from s = 0 to s = 1.

    Attributes:
        n_points: Runge-Kutta steps (order 4) from s = 0 to s = 1, for every saved time.

    Raises:
        ValueError: n_points below 1.

    Example:
        >>> from hoam_plugin.baselines import CFM
        >>> method = CFM()
    """

    n_points: int = 100

    needs_key: ClassVar[bool] = False

    def __post_init__(self) -> None:
        positive_int("n_points", self.n_points)

    def examples(self, key: Key, start: Float[Array, "n D"], end: Float[Array, "n D"], periods: Periods) -> Examples:
        """Examples from samples of the first and of other saved times."""
        s = jax.random.uniform(key, (len(start),), start.dtype)
        way = nearest_image(end - start, periods)
        return Examples(start + s[:, None] * way, 2 * s - 1, way)

    def sample(
        self, field_at: FieldAt, start: Float[Array, "n D"], key: Key | None, periods: Periods
    ) -> Float[Array, "n D"]:
        """Samples from those of the initial population; `key` is not used. Periodic coordinates may leave the box."""
        size = jnp.asarray(1 / self.n_points, start.dtype)

        def step(i: Int[Array, ""], z: Float[Array, "n D"]) -> Float[Array, "n D"]:
            return runge_kutta_4(lambda s: field_at(jnp.asarray(2 * s - 1)), z, i.astype(size.dtype) * size, size)

        return jax.lax.fori_loop(0, self.n_points, step, start)


@dataclasses.dataclass(frozen=True)
class NCSM:
    """Noise-conditional score matching with annealed Langevin dynamics (Song and Ermon 2019, arXiv:1907.05600).

    The network, conditioned on (log sigma, t, mu), learns sigma times the score of the population with noise of
    standard deviation sigma added, by denoising score matching weighted with sigma^2. Sampling starts from noise and
    takes Langevin steps at one level after the other, then one denoising step. All noise is in normalised units, where
    every coordinate has standard deviation 1 over the training samples (a periodic one if it fills its period).

    Attributes:
        n_levels: noise levels, geometric from `largest` to `smallest`.
        largest: standard deviation of the noise at the first level.
        smallest: at the last level.
        n_steps: Langevin steps per level, for every saved time.
        step_size: of the Langevin steps, over sigma^2; the paper's 2e-5 at its smallest level of 1e-2 is 0.2.

    Raises:
        ValueError: fewer than 2 levels, no step, a number that is not positive, or levels that do not decrease.

    Example:
        >>> from hoam_plugin.baselines import NCSM
        >>> method = NCSM()
    """

    n_levels: int = 10
    largest: float = 1.0
    smallest: float = 1e-2
    n_steps: int = 100
    step_size: float = 0.2

    needs_key: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive_int("n_levels", self.n_levels, 2)
        positive_int("n_steps", self.n_steps)
        for name in ("largest", "smallest", "step_size"):
            positive_float(name, getattr(self, name))
        if not self.smallest < self.largest:
            raise ValueError(f"smallest={self.smallest!r} must be below largest={self.largest!r}")

    def examples(self, key: Key, start: Float[Array, "n D"], end: Float[Array, "n D"], periods: Periods) -> Examples:
        """Examples from samples of any saved times; `start` is not used.

        Noise that goes around the torus needs no care: the score of the wrapped density is the mean of the same target
        over all ways around.
        """
        level_key, noise_key = jax.random.split(key)
        level = jax.random.randint(level_key, (len(end),), 0, self.n_levels)
        noise = jax.random.normal(noise_key, end.shape, end.dtype)
        sigma, last = self._levels(end.dtype)
        return Examples(end + sigma[level][:, None] * noise, last[level], -noise)

    def sample(
        self, field_at: FieldAt, start: Float[Array, "n D"], key: Key | None, periods: Periods
    ) -> Float[Array, "n D"]:
        """As many samples as `start` has, which is used for nothing else. Periodic coordinates may leave the box."""
        assert key is not None  # as `needs_key` says
        dtype = start.dtype
        sigma, last = self._levels(dtype)
        start_key, steps_key = jax.random.split(key)
        uniform_key, normal_key = jax.random.split(start_key)
        length, is_periodic = _lengths(periods, dtype)
        spread = (1 + self.largest**2) ** 0.5
        z = jnp.where(
            is_periodic,
            length * jax.random.uniform(uniform_key, start.shape, dtype),
            spread * jax.random.normal(normal_key, start.shape, dtype),
        )

        def one_level(i: Int[Array, ""], z: Float[Array, "n D"]) -> Float[Array, "n D"]:
            field, level_key = field_at(last[i]), jax.random.fold_in(steps_key, i)

            def step(j: Int[Array, ""], z: Float[Array, "n D"]) -> Float[Array, "n D"]:
                noise = jax.random.normal(jax.random.fold_in(level_key, j), z.shape, dtype)
                return z + sigma[i] * (self.step_size / 2 * field(z) + self.step_size**0.5 * noise)

            return jax.lax.fori_loop(0, self.n_steps, step, z)

        z = jax.lax.fori_loop(0, self.n_levels, one_level, z)
        return z + sigma[-1] * field_at(last[-1])(z)

    def _levels(self, dtype: DTypeLike) -> tuple[Float[Array, " levels"], Float[Array, " levels"]]:
        """Noise levels, and their logarithm scaled to [-1, 1]."""
        sigma = np.geomspace(self.largest, self.smallest, self.n_levels)
        return jnp.asarray(sigma, dtype), jnp.asarray(np.linspace(1, -1, self.n_levels), dtype)


Method = CFM | NCSM


def nearest_image(displacement: Float[Array, "n D"], periods: Periods) -> Float[Array, "n D"]:
    """Displacements the shortest way around the torus, along the coordinates that have a period."""
    length, is_periodic = _lengths(periods, displacement.dtype)
    return jnp.where(is_periodic, periodic.nearest_image(displacement, length), displacement)


def _lengths(periods: Periods, dtype: DTypeLike) -> tuple[Float[Array, "1 D"], np.ndarray]:
    """The periods as a row, with 1 for coordinates that have none, and which coordinates have one."""
    row = jnp.asarray([[1.0 if period is None else period for period in periods]], dtype)
    return row, np.asarray([[period is not None for period in periods]])

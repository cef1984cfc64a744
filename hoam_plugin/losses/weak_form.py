"""Rates of change of many moments of a population, and how well samples at given times know them.

For a population that moves with dz = u dtau + sigma dW and any function f of the samples

    d/dtau E[f] = E[grad f . u] + E[sum_d sigma_d^2 / 2 d^2 f / dz_d^2]

so that rates of moments without the last term are those that a drift has to explain. The functions here are waves
f(z) = cos(w . z + b) of many lengths and directions (random Fourier features, Rahimi and Recht 2007), harmonics of the
period along periodic coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int
from scipy.linalg import solve_triangular

from hoam_plugin import ensembles
from hoam_plugin.dynamics import Dynamics, conditions_of
from hoam_plugin.numerics.differentiation import differentiation_matrix

# Samples whose waves fit the cache.
_ROWS = 2048
# Samples that a Gram matrix is estimated from per wave, and least of each time; those of the fluctuations of rates.
_GRAM_ROWS_PER_WAVE, _LEAST_GRAM_ROWS, _FLUCTUATION_ROWS = 4, 256, 128
# Neighbouring times share one whitening, as many as leave so many of them.
_MOST_GROUPS = 64
# Eigenvalues of the normalised Gram matrix below this share of their sum are mostly noise.
_RIDGE = 1e-3
# Neighbours of the derivatives in time; their error is that against two more.
_WIDTH = 5


class Waves(NamedTuple):
    """Test functions cos(w . z + b).

    Attributes:
        frequencies: w, normalised units.
        phases: b.
    """

    frequencies: Float[np.ndarray, "K D"]
    phases: Float[np.ndarray, " K"]


class MomentTargets(NamedTuple):
    """What the moments of the learned field are matched to.

    Attributes:
        rates: per run and saved time, the rates of change of the moments in the combinations that `whitening` makes.
        whitening: matrices whose rows are combinations of waves f with E |grad f|^2 near 1 and orthogonal to one
            another; those that the samples hardly know are scaled down. A squared residual is then an error of kinetic
            energy.
        groups: which of them belongs to each saved time.
    """

    rates: Float[Array | np.ndarray, "R T K"]
    whitening: Float[Array | np.ndarray, "G K K"]
    groups: Int[Array | np.ndarray, " T"]


def random_waves(periods: Sequence[float | None], n: int, lowest: float, highest: float, seed: int = 0) -> Waves:
    """Waves along one, two and all coordinates in turn, with frequencies evenly spread on a logarithmic scale.

    Args:
        periods: of the coordinates in normalised units, or None.
        n: number of waves.
        lowest: frequency, in radians per standard deviation.
        highest: the other end.
        seed: of the generator; the same waves everywhere.
    """
    rng = np.random.default_rng(seed)
    n_dims = len(periods)
    direction = rng.normal(size=(n, n_dims))
    n_along = np.resize([1, min(2, n_dims), n_dims], n)
    direction[rng.random((n, n_dims)).argsort(axis=1).argsort(axis=1) >= n_along[:, None]] = 0
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    frequencies = direction * np.exp(rng.uniform(math.log(lowest), math.log(highest), (n, 1)))
    for d, period in enumerate(periods):
        if period is not None:
            base = 2 * np.pi / period
            along = frequencies[:, d] != 0
            frequencies[:, d] = np.round(frequencies[:, d] / base) * base
            # What was shorter than half of the first harmonic, and has nothing else, becomes that one.
            frequencies[along & ~frequencies.any(axis=1), d] = base
    return Waves(frequencies, rng.uniform(0, 2 * np.pi, n))


def moment_targets(waves: Waves, ds: xr.Dataset, dynamics: Dynamics) -> MomentTargets:
    """The rates of change of the moments of all samples, without what the known noise does, and their whitening.

    The whitening of a group of times is the inverse square root of the Gram matrix E[grad f_k . grad f_l] plus, on the
    diagonal, the squared error of the derivative in time in units of its variance over samples: waves so short that the
    population passes them between two saved times count little.

    Args:
        waves: the test functions.
        ds: the ensemble.
        dynamics: normalisation and known noise.
    """
    times = dynamics.normalisation.tau_on_host(ds["time"].values)
    derivative = differentiation_matrix(times, _WIDTH)
    better = differentiation_matrix(times, _WIDTH + 2)
    n_runs, n_times, k = ds.sizes["run"], len(times), len(waves.phases)
    n_groups = min(_MOST_GROUPS, n_times)
    groups = (np.arange(n_times) * n_groups // n_times).astype(np.int32)
    gram, errors, fluctuations = np.zeros((n_groups, k, k)), np.zeros((n_groups, k)), np.zeros(n_groups)
    rates = np.empty((n_runs, n_times, k))

    def of_run(run: int) -> _RunMoments:
        return _run_moments(waves, ds, dynamics, run, groups)

    for run, found in enumerate(ensembles.over_runs(n_runs, of_run, threads=True)):
        moments = _RunMoments(*found)
        change = _applied(derivative, moments.means)
        rates[run] = change - moments.diffusion
        np.add.at(errors, groups, (_applied(better, moments.means) - change) ** 2)
        variance = _variance_of_rates(waves, derivative, moments.points)
        np.add.at(fluctuations, groups, variance / ds.sizes["sample"])
        gram += moments.gram
    scale = fluctuations / np.maximum(np.trace(gram, axis1=1, axis2=2), np.finfo(np.float64).tiny)
    unresolved = errors / np.maximum(scale, np.finfo(np.float32).tiny)[:, None]
    known = (gram + np.eye(k) * unresolved[:, None, :]) / (n_runs * np.bincount(groups))[:, None, None]
    whitening = np.stack([_inverse_root(matrix) for matrix in known])
    return MomentTargets(np.einsum("tij,rtj->rti", whitening[groups], rates), whitening, groups)


class _RunMoments(NamedTuple):
    """Of one run: moments at all times, what noise adds to their rates, Gram matrices of the groups; some samples."""

    means: Float[np.ndarray, "T K"]
    diffusion: Float[np.ndarray, "T K"]
    gram: Float[np.ndarray, "G K K"]
    points: Float[np.ndarray, "T m D"]


def _run_moments(
    waves: Waves,
    ds: xr.Dataset,
    dynamics: Dynamics,
    run: int,
    groups: Int[np.ndarray, " T"],
) -> _RunMoments:
    w = waves.frequencies
    k, n_times = len(w), ds.sizes["time"]
    conditions = conditions_of(ds, dynamics.normalisation, run)
    means, diffusion = np.zeros((n_times, k)), np.zeros((n_times, k))
    gram = np.zeros((int(groups.max()) + 1, k, k))
    products = w @ w.T
    per_time = math.ceil(_GRAM_ROWS_PER_WAVE * k * len(gram) / (n_times * ds.sizes["run"]))
    some = _spread(ds.sizes["sample"], max(_LEAST_GRAM_ROWS, per_time))
    few = _spread(ds.sizes["sample"], _FLUCTUATION_ROWS)
    points = np.empty((n_times, len(few), w.shape[1]))
    dtype = conditions.dtype
    for times, slab in ensembles.slabs(ds, run):
        for j, raw in enumerate(slab, times.start):
            z = dynamics.normalisation.raw_samples(raw, dtype)
            points[j] = z[few]
            noise = np.asarray(_noise(dynamics, jnp.asarray(z), conditions[j])) if dynamics.has_noise else None
            means[j], diffusion[j] = _means(waves, z, None if noise is None else noise**2)
            sines = np.sin(_angles(waves, z[some]))
            gram[groups[j]] += (sines.T @ sines).astype(np.float64) / len(sines) * products
    return _RunMoments(means, diffusion, gram, points)


def _means(
    waves: Waves, z: Float[np.ndarray, "n D"], variances: Float[np.ndarray, "n D"] | None
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """E[f] and E[sum_d sigma_d^2 / 2 d^2 f / dz_d^2] of some samples; sums in double precision."""
    same = variances is None or bool((variances == variances[:1]).all())
    value, bend = np.zeros(len(waves.phases)), np.zeros(len(waves.phases))
    for first in range(0, len(z), _ROWS):
        part = slice(first, first + _ROWS)
        cosines = np.cos(_angles(waves, z[part]))
        value += cosines.sum(axis=0, dtype=np.float64)
        if variances is not None and not same:
            halves = variances[part] @ (waves.frequencies.T.astype(z.dtype) ** 2) / 2
            bend -= (cosines * halves).sum(axis=0, dtype=np.float64)
    if variances is not None and same:
        bend = -value * (waves.frequencies**2 @ variances[0].astype(np.float64)) / 2
    return value / len(z), bend / len(z)


def _spread(n: int, wanted: int) -> Int[np.ndarray, " m"]:
    """Indices of some of n samples, which may lie in any order."""
    return np.arange(min(n, wanted)) * n // min(n, wanted)


def _angles(waves: Waves, z: Float[np.ndarray, "n D"]) -> Float[np.ndarray, "n K"]:
    """The angles w . z + b, not by NumPy: the threads of its matrix products get in the way of those over runs."""
    arrays = (waves.frequencies.astype(z.dtype), waves.phases.astype(z.dtype), z)
    return np.asarray(_compiled_angles(*map(jnp.asarray, arrays)))


@jax.jit
def _compiled_angles(
    frequencies: Float[Array, "K D"], phases: Float[Array, " K"], z: Float[Array, "n D"]
) -> Float[Array, "n K"]:
    return z @ frequencies.T + phases[None, :]


@jax.jit
def _noise(dynamics: Dynamics, z: Float[Array, "n D"], condition: Float[Array, " C"]) -> Float[Array, "n D"]:
    return dynamics.normalised(z, condition)[1]


def _variance_of_rates(
    waves: Waves,
    derivative: tuple[Int[np.ndarray, "T K"], Float[np.ndarray, "T K"]],
    points: Float[np.ndarray, "T m D"],
) -> Float[np.ndarray, " T"]:
    """The variance over samples of the derivatives of all waves, summed over these.

    Samples that belong together in time have less than independent ones.
    """
    indices, coefficients = derivative
    values = [np.cos(z @ waves.frequencies.T + waves.phases) for z in points]
    return np.asarray(
        [
            np.var(sum(c * values[i] for c, i in zip(row, band, strict=True)), axis=0).sum()
            for row, band in zip(coefficients, indices, strict=True)
        ]
    )


def _applied(
    derivative: tuple[Int[np.ndarray, "T K"], Float[np.ndarray, "T K"]], values: Float[np.ndarray, "T n"]
) -> Float[np.ndarray, "T n"]:
    indices, coefficients = derivative
    return np.einsum("tk,tkn->tn", coefficients, values[indices])


def _inverse_root(matrix: Float[np.ndarray, "K K"]) -> Float[np.ndarray, "K K"]:
    """The inverse square root of a positive semidefinite matrix, up to a rotation, with a ridge."""
    scale = np.sqrt(np.maximum(np.diag(matrix), np.finfo(np.float64).tiny))
    ridge = _RIDGE * len(scale) * np.eye(len(scale))
    factor = np.linalg.cholesky(matrix / scale[:, None] / scale[None, :] + ridge)
    return solve_triangular(factor, np.diag(1 / scale), lower=True)

"""Distances between two sets of samples: what the scores of `compare` are made of. Plain NumPy.

Every distance sees a periodic coordinate x of period L as the point (cos 2 pi x / L, sin 2 pi x / L) or wrapped into
one period, and any other coordinate from its `centre` on in units of its `scale`, so that all of them are dimensionless
and none depends on units or on where the origin lies. Differences from the centre are taken in double precision.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin import ensembles
from hoam_plugin._internal.threads import in_threads
from hoam_plugin.numerics.periodic import wrapped_closed_on_host
from hoam_plugin.numerics.tolerances import is_constant
from hoam_plugin.steppers import Variable

T = TypeVar("T")

N_BINS = 32
N_DIRECTIONS = 32
SINKHORN_SAMPLES = 1024

_DIRECTION_SEED = 20241
# Numbers from which on several threads sort them faster.
_LEAST_SHARED = 1 << 20
# Entropic regularisation as a share of the truth's mean squared distance between two samples.
_SINKHORN_EPSILON = 0.05


@dataclasses.dataclass(frozen=True)
class Coordinate:
    """One column of the flattened samples.

    Attributes:
        name: name of the variable that it belongs to.
        period: length of its torus, or None.
        scale: unit in which distances measure it (not used where it is periodic).
        low: lower end of the histograms' range.
        high: upper end of the histograms' range.
        centre: from where distances measure it (not used where it is periodic).
    """

    name: str
    period: float | None
    scale: float
    low: float
    high: float
    centre: float = 0.0


def coordinates_of(truth: xr.Dataset, others: Sequence[xr.Dataset] = ()) -> tuple[Coordinate, ...]:
    """The columns of `ensemble.samples(truth, ...)`: scale and range from the attributes, else from the truth itself.

    Without a `scale` a variable is measured in standard deviations pooled over all runs, times and samples, without
    bounds its range is one period, or that of the truth's samples. Where the truth's samples are all equal, scale and
    range are those of all ensembles together.

    Args:
        truth: an ensemble.
        others: ensembles with the same variables in the same order.
    """
    columns = []
    for variable in ensembles.variables(truth):
        name = variable.name
        own = ensembles.statistics(truth[name])
        ends = np.stack([own.low.ravel(), own.high.ravel()], axis=1)
        if len(others) and any(map(is_constant, ends)):
            together = ensembles.statistics(truth[name], *(ds[name] for ds in others))
        else:
            together = own
        for i, pair in enumerate(ends):
            columns.append(_coordinate(variable, together if is_constant(pair) else own, i))
    return tuple(columns)


def _coordinate(variable: Variable, found: ensembles.Statistics, component: int) -> Coordinate:
    low, high = variable.bounds or (0.0, variable.period or 0.0)
    ends = np.stack([found.low.ravel()[component], found.high.ravel()[component]])
    least, most = ends.tolist()
    # Not the standard deviation of equal samples: it is the rounding error of their mean.
    spread = 0.0 if is_constant(ends) else float(found.deviation.ravel()[component])
    scale = variable.scale or spread or variable.period or high - low or max(abs(least), abs(most)) or 1.0
    if low == high:
        low, high = (least, most) if spread else (least - scale / 2, most + scale / 2)
    centre = 0.0 if variable.period else float(found.mean.ravel()[component])
    return Coordinate(variable.name, variable.period, scale, low, high, centre)


def embedded(x: Float[np.ndarray, "sample D"], coordinates: tuple[Coordinate, ...]) -> Float[np.ndarray, "sample F"]:
    """Samples as dimensionless features: (cos, sin) of a periodic coordinate, others from their centre, in scales."""
    dtype = np.result_type(x.dtype, np.float32)
    features = []
    for column, c in zip(x.T.astype(np.float64), coordinates, strict=True):
        if c.period is None:
            features.append(((column - c.centre) / c.scale).astype(dtype))
        else:
            # Wrapped first: the cosine of a large float32 angle would lose digits.
            angle = (wrapped_closed_on_host(column / c.period, 1.0) * (2 * math.pi)).astype(dtype)
            features += [np.cos(angle), np.sin(angle)]
    return np.stack(features, axis=-1)


def moments(features: Float[np.ndarray, "sample F"]) -> tuple[Float[np.ndarray, " F"], Float[np.ndarray, "F F"]]:
    """Mean and covariance, in float64."""
    features = features.astype(np.float64)
    mean = features.mean(axis=0)
    centred = features - mean
    return mean, centred.T @ centred / len(features)


def mean_distance(a: Float[np.ndarray, "... F"], b: Float[np.ndarray, "... F"]) -> Float[np.ndarray, "..."]:
    """Root mean square over the features of the difference of two means."""
    return np.sqrt(np.mean((a - b) ** 2, axis=-1))


def covariance_distance(
    truth: Float[np.ndarray, "... F F"], other: Float[np.ndarray, "... F F"]
) -> Float[np.ndarray, "..."]:
    """Frobenius norm of the difference of two covariances, relative to that of the first."""
    return relative(np.linalg.norm(truth - other, axis=(-2, -1)), np.linalg.norm(truth, axis=(-2, -1)))


def relative(off: Float[np.ndarray, "*shape"] | float, size: Float[np.ndarray, "*#shape"] | float) -> np.ndarray:
    """How far off in units of a size: 0 where both are 0, as nothing is off, infinite where the size alone is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(off) == 0, 0.0, np.divide(off, size))


def histograms(
    x: Float[np.ndarray, "sample D"], coordinates: tuple[Coordinate, ...], n_bins: int = N_BINS
) -> Float[np.ndarray, "pair bin"]:
    """Fractions of the samples in the bins of every pair of consecutive coordinates, flattened (D = 1: of the one).

    Periodic coordinates are wrapped into one period; a sample outside the range of a coordinate is in no bin of it.
    """
    bins = [_bin_index(column, c, n_bins) for column, c in zip(x.T, coordinates, strict=True)]
    if len(bins) == 1:
        return _fractions(bins[0], n_bins)[None]
    # A missing index (-1) in either coordinate of a pair must stay missing in the joint index.
    joint = (np.where((i < 0) | (j < 0), -1, i * n_bins + j) for i, j in itertools.pairwise(bins))
    return np.stack([_fractions(index, n_bins**2) for index in joint])


def _bin_index(column: Float[np.ndarray, " sample"], c: Coordinate, n_bins: int) -> Int[np.ndarray, " sample"]:
    offset = column.astype(np.float64) - c.low
    if c.period is not None:
        offset = wrapped_closed_on_host(offset, c.period)
    # Clipped, since a sample that has run away may be too far off for a whole number.
    index = np.floor(np.clip(offset * (n_bins / (c.high - c.low)), -1, n_bins + 1)).astype(np.int64)
    # As in np.histogram, the upper end of the range belongs to the last bin.
    index[(index == n_bins) & (offset <= c.high - c.low)] = n_bins - 1
    return np.where((index < 0) | (index >= n_bins), -1, index)


def _fractions(index: Int[np.ndarray, " sample"], n: int) -> Float[np.ndarray, " bin"]:
    return np.bincount(index[index >= 0], minlength=n) / len(index)


def histogram_l1(a: Float[np.ndarray, "pair bin"], b: Float[np.ndarray, "pair bin"]) -> float:
    """Sum over the bins of the absolute differences of two `histograms`, mean over the pairs; 2 for disjoint sets."""
    return float(np.abs(a - b).sum(axis=-1).mean())


def sorted_projections(
    features: Float[np.ndarray, "sample F"], n_directions: int = N_DIRECTIONS
) -> Float[np.ndarray, "direction sample"]:
    """Features projected on fixed random unit directions, sorted along the samples."""
    projections = _directions(features.shape[-1], n_directions).astype(features.dtype) @ features.T
    _by_direction(np.ndarray.sort, projections)
    return projections


def _by_direction(of_row: Callable[..., T], *arrays: Float[np.ndarray, "direction _"]) -> list[T]:
    """What is done with every row, by several threads where rows are long: NumPy then leaves the others the way."""
    if arrays[0].size < _LEAST_SHARED:
        return [of_row(*rows) for rows in zip(*arrays, strict=True)]
    return in_threads(lambda rows: of_row(*rows), zip(*arrays, strict=True))


@functools.lru_cache(maxsize=8)
def _directions(n_features: int, n_directions: int) -> Float[np.ndarray, "direction F"]:
    """Random unit vectors, the same at every call, in orthogonal blocks."""
    # Such blocks see every feature alike; independent ones would favour some by tens of percent.
    shape = (-(-n_directions // n_features), n_features, n_features)
    normals = np.random.default_rng(_DIRECTION_SEED).standard_normal(shape)
    blocks = np.linalg.qr(normals[..., :n_directions]).Q
    return blocks.swapaxes(1, 2).reshape(-1, n_features)[:n_directions]


def sliced_wasserstein(a: Float[np.ndarray, "direction sample_a"], b: Float[np.ndarray, "direction sample_b"]) -> float:
    """Sliced 2-Wasserstein distance of two `sorted_projections`: sqrt of the mean over directions of W2 squared.

    Exact in one dimension for any two sample counts n, m: both quantile functions are constant between neighbouring
    multiples of 1/n and 1/m. Bonneel et al. 2015, doi:10.1007/s10851-014-0506-3.
    """
    n, m = a.shape[-1], b.shape[-1]
    if n == m:
        return math.sqrt(np.mean(_by_direction(lambda own, other: np.mean(_squares(own, other)), a, b)))
    levels = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    widths = np.diff(levels, prepend=0) / (n * m)
    own, other = (levels - 1) // m, (levels - 1) // n
    return math.sqrt(np.mean(_by_direction(lambda first, second: _squares(first[own], second[other]) @ widths, a, b)))


def _squares(a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Squared differences, of which those of samples that have run away would overflow in single precision."""
    return np.subtract(a, b, dtype=np.float64) ** 2


def sinkhorn_divergence(
    truth: Float[np.ndarray, "sample_a F"], other: Float[np.ndarray, "sample_b F"], rng: np.random.Generator
) -> float:
    """Debiased Sinkhorn divergence of random subsets of 1024 samples, squared Euclidean cost, by ott-jax.

    The regularisation is 0.05 times the truth's mean squared distance between two samples. Feydy et al. 2019
    (arXiv:1810.08278). Single precision sees the samples from the truth's mean, in units of that distance.

    Raises:
        ImportError: without the extra `ot`.
    """
    import jax
    import jax.numpy as jnp

    divergence = sinkhorn_solver()
    centre = np.asarray(np.mean(truth, axis=0, dtype=np.float64))
    squared_distance = 2 * float(np.var(truth, axis=0, dtype=np.float64).sum())
    if squared_distance == 0:
        squared_distance = float(_squares(other, centre).sum(axis=-1).mean()) or 1.0
    unit = math.sqrt(squared_distance)
    subsets = [
        points[rng.choice(len(points), min(SINKHORN_SAMPLES, len(points)), replace=False)] for points in (truth, other)
    ]
    own, others = (jnp.asarray((points - centre) / unit, jnp.float32) for points in subsets)
    # ott-jax relies on the promotions that a user may have switched off.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return squared_distance * float(divergence(own, others, jnp.asarray(_SINKHORN_EPSILON, jnp.float32)))


@functools.cache
def sinkhorn_solver() -> Callable[[Array, Array, Array], Array]:
    """The compiled Sinkhorn divergence of ott-jax, as a function of two point sets and epsilon.

    Raises:
        ImportError: without the extra `ot`.
    """
    import jax

    try:
        from ott.geometry.pointcloud import PointCloud
        from ott.tools.sinkhorn_divergence import sinkhorn_divergence as divergence
    except ImportError as error:
        raise ImportError("sinkhorn=True needs the extra 'ot': python -m pip install 'hoam-plugin[ot]'") from error
    return jax.jit(lambda a, b, epsilon: divergence(PointCloud, a, b, epsilon=epsilon)[0])

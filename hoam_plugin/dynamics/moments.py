"""How mean and covariance of a population move, interpolated between times and runs: what two moments alone say."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin import ensembles
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Parameters, Scalar
from hoam_plugin.dynamics.run_weights import RunWeights, weights_of_runs
from hoam_plugin.steppers import default_float

# Variances below this share of a run's largest count as this share, so that singular covariances have a logarithm;
# where samples are too few for a full covariance, its zeros say nothing, and the share is larger.
_LEAST_VARIANCE, _LEAST_OF_FEW = 1e-10, 1e-3


@pytree(data=("knots", "values", "slopes"))
class TimeCurves:
    """A quantity of every run over time: the cubic spline through its values at the saved times.

    Attributes:
        knots: saved times, in [0, 1].
        values: at the knots.
        slopes: of the spline at the knots.
    """

    knots: Float[Array, " t"]
    values: Float[Array, "t r x"]
    slopes: Float[Array, "t r x"]

    def at(self, fraction: Scalar, weights: Float[Array, " r"]) -> Float[Array, " x"]:
        """The weighted quantity at a time; beyond the knots the outermost cubics go on."""
        cell, s, length = self._place(fraction)
        left, right = (2 * s + 1) * (1 - s) ** 2, s * (1 - s) ** 2 * length
        return self._between(cell, weights, (left, right), (1 - left, -(s**2) * (1 - s) * length))

    def rate(self, fraction: Scalar, weights: Float[Array, " r"]) -> Float[Array, " x"]:
        """The derivative of `at` in the fraction."""
        cell, s, length = self._place(fraction)
        left, right = -6 * s * (1 - s) / length, (1 - s) * (1 - 3 * s)
        return self._between(cell, weights, (left, right), (-left, s * (3 * s - 2)))

    def _place(self, fraction: Scalar) -> tuple[Array, Array, Array]:
        time = jnp.asarray(fraction, self.knots.dtype)
        cell = jnp.searchsorted(self.knots[1:-1], time, side="right")
        length = self.knots[cell + 1] - self.knots[cell]
        return cell, (time - self.knots[cell]) / length, length

    def _between(
        self,
        cell: Array,
        weights: Float[Array, " r"],
        before: tuple[Array, Array],
        after: tuple[Array, Array],
    ) -> Float[Array, " x"]:
        rows = sum(
            own[0] * self.values[index] + own[1] * self.slopes[index]
            for index, own in ((cell, before), (cell + 1, after))
        )
        return weights @ rows


@pytree(data=("weights", "means", "logarithms"))
class MomentMotion:
    """Means m(t, mu) and covariances C(t, mu) of a training ensemble, in normalised coordinates and time.

    Means and matrix logarithms of covariances are interpolated by cubic splines in time through the saved times, and
    between runs by `RunWeights`; so a covariance stays positive, and one that is exponential in time or parameters is
    interpolated exactly. Times are fractions of the training ensemble's, from 0 at its first to 1 at its last saved
    one. Mean and covariance of a periodic coordinate mean nothing: such coordinates are left out. Memory: about D^2
    numbers per run and saved time.

    Attributes:
        weights: of the runs.
        means: of the coordinates that move.
        logarithms: matrix logarithms of their covariances, upper triangles.
        columns: indices of the coordinates that move, all that are not periodic.
    """

    weights: RunWeights
    means: TimeCurves
    logarithms: TimeCurves
    columns: tuple[int, ...]

    def mean(self, fraction: Scalar, parameters: Parameters) -> Float[Array, " d"]:
        """Of the coordinates that move.

        Args:
            fraction: of the horizon.
            parameters: physical units.
        """
        return self.means.at(fraction, self.weights(parameters))

    def covariance(self, fraction: Scalar, parameters: Parameters, power: float = 1.0) -> Float[Array, "d d"]:
        """Of the coordinates that move, to a power such as 1/2 (the symmetric root)."""
        logarithm = self.logarithms.at(fraction, self.weights(parameters))
        return symmetric_exponential(power * _unpacked(logarithm, len(self.columns)))


@pytree(data=("weights", "means", "stretchings"))
class MomentDrift:
    """A velocity m'(t) + A(t) (z - m(t)) under which mean and covariance move as those of a training ensemble.

    A is the symmetric solution of A C + C A = dC/dt (Lyapunov's equation). So the velocity is a gradient: of all
    fields that move a normal population so, the one of least kinetic energy (Takatsu 2011, doi:10.18910/4973). It is
    computed at the saved times of every run and interpolated as means are: the covariance follows to the error of the
    interpolation. Other than the logarithms of covariances it needs no eigenvectors where it is evaluated.

    Attributes:
        weights: of the runs.
        means: of the coordinates that move.
        stretchings: A, upper triangles.
        columns: indices of the coordinates that move.
    """

    weights: RunWeights
    means: TimeCurves
    stretchings: TimeCurves
    columns: tuple[int, ...]

    def drift(self, z: Float[Array, "n D"], fraction: Scalar, parameters: Parameters) -> Float[Array, "n D"]:
        """The velocity per unit of the fraction; 0 in periodic coordinates.

        Args:
            z: normalised samples.
            fraction: of the horizon.
            parameters: physical units.
        """
        weights, own = self.weights(parameters), np.asarray(self.columns, np.int64)
        stretching = _unpacked(self.stretchings.at(fraction, weights), len(own)).astype(z.dtype)
        # To pick out columns takes longer than all that is done with them.
        everything = len(own) == z.shape[1]
        centred = (z if everything else z[:, own]) - self.means.at(fraction, weights).astype(z.dtype)[None, :]
        velocity = centred @ stretching + self.means.rate(fraction, weights).astype(z.dtype)[None, :]
        return velocity if everything else jnp.zeros_like(z).at[:, own].set(velocity)


def _unpacked(triangle: Float[Array, " x"], n: int) -> Float[Array, "n n"]:
    """The symmetric matrix with this upper triangle."""
    place = np.zeros((n, n), np.int64)
    place[np.triu_indices(n)] = np.arange(n * (n + 1) // 2)
    return triangle[np.maximum(place, place.T)]


@jax.custom_jvp
def symmetric_exponential(matrix: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """The exponential of a symmetric matrix; its derivative stays right where eigenvalues are equal."""
    values, vectors = jnp.linalg.eigh(matrix)
    return (vectors * jnp.exp(values)[None, :]) @ vectors.T


@symmetric_exponential.defjvp
def _symmetric_exponential_jvp(
    primals: tuple[Float[Array, "d d"]], tangents: tuple[Float[Array, "d d"]]
) -> tuple[Float[Array, "d d"], Float[Array, "d d"]]:
    """By divided differences between eigenvalues (Daleckii and Krein): here exp of their mean times sinh(x)/x."""
    values, vectors = jnp.linalg.eigh(primals[0])
    halves = values / 2
    difference = halves[:, None] - halves[None, :]
    near = jnp.abs(difference) < jnp.finfo(difference.dtype).eps ** 0.25
    safe = jnp.where(near, jnp.ones_like(difference), difference)
    ratio = jnp.where(near, 1 + difference**2 / 6, jnp.sinh(safe) / safe)
    divided = jnp.exp(halves[:, None] + halves[None, :]) * ratio
    own = vectors.T @ tangents[0] @ vectors
    return (vectors * jnp.exp(values)[None, :]) @ vectors.T, vectors @ (divided * own) @ vectors.T


def moment_motion(
    ds: xr.Dataset,
    shift: Float[np.ndarray, " D"],
    scale: Float[np.ndarray, " D"],
    periodic: Sequence[bool],
    knots: Float[np.ndarray, " t"] | None = None,
) -> MomentMotion:
    """The motion of the moments of a (training) ensemble, which is read once, a few times at a time.

    Args:
        ds: the ensemble, at least two saved times.
        shift: what counts as 0, per coordinate.
        scale: what counts as 1, per coordinate.
        periodic: whether a coordinate is.
        knots: what the saved times count as, increasing from 0 to 1; None for fractions of the time range.

    Raises:
        ValueError: one saved time only.
    """
    times = ds["time"].values.astype(np.float64)
    if len(times) < 2:
        raise ValueError(f"the ensemble has one saved time only ({times[0]:g}); a motion of moments needs two")
    own = np.flatnonzero(~np.asarray(periodic, bool))
    n_runs, upper = ds.sizes["run"], np.triu_indices(len(own))
    means = np.empty((len(times), n_runs, len(own)))
    logarithms = np.empty((len(times), n_runs, len(upper[0])))

    def of_run(run: int) -> tuple[np.ndarray, np.ndarray]:
        means, covariances = np.empty((len(times), len(own))), np.empty((len(times), len(own), len(own)))
        for span, samples in ensembles.slabs(ds, run):
            means[span], covariances[span] = _moments(samples[..., own])
        covariances /= np.outer(scale[own], scale[own])
        return means, _logarithms(covariances, ds.sizes["sample"])[:, *upper]

    for run, found in enumerate(ensembles.over_runs(n_runs, of_run)):
        means[:, run], logarithms[:, run] = found
    knots = (times - times[0]) / (times[-1] - times[0]) if knots is None else knots
    means = (means - shift[own]) / scale[own]
    weights = weights_of_runs(ensembles.parameters(ds), n_runs)
    return MomentMotion(weights, _spline(knots, means), _spline(knots, logarithms), tuple(own.tolist()))


def moment_drift(motion: MomentMotion, noise: float = 0.0) -> MomentDrift:
    """The gradient field that moves the moments so; computed on the host.

    Args:
        motion: of the moments.
        noise: amplitude of noise that acts in all coordinates, per unit of the time in which the motion is known. What
            it adds to the covariance is taken back by -(noise^2 / 2) C^-1 (z - m), which draws other covariances
            towards the right one.
    """
    n = len(motion.columns)
    upper = np.triu_indices(n)
    values, slopes = (np.asarray(a, np.float64) for a in (motion.logarithms.values, motion.logarithms.slopes))
    stretchings = np.empty_like(values)
    for time, pair in enumerate(zip(values, slopes, strict=True)):
        matrices = [np.empty((len(pair[0]), n, n)) for _ in pair]
        for matrix, triangle in zip(matrices, pair, strict=True):
            matrix[:, *upper] = triangle
            matrix[:, *upper[::-1]] = triangle
        stretchings[time] = _stretchings(matrices[0], matrices[1], noise)[:, *upper]
    stretched = _spline(np.asarray(motion.logarithms.knots, np.float64), stretchings)
    return MomentDrift(motion.weights, motion.means, stretched, motion.columns)


def whitened(z: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """Samples moved to mean 0 and covariance 1 by the symmetric inverse root of their own covariance, in float64.

    m + C^1/2 of them has the mean m and the covariance C. Directions without spread stay without.
    """
    mean, covariance = _moments(z[None])
    values, vectors = np.linalg.eigh(_logarithms(covariance, len(z))[0])
    return (z.astype(np.float64) - mean) @ (vectors * np.exp(-values / 2)) @ vectors.T


def _moments(x: Float[np.ndarray, "t n d"]) -> tuple[Float[np.ndarray, "t d"], Float[np.ndarray, "t d d"]]:
    """Means and covariances over the samples, in float64."""
    # A coordinate after the other, which is how products of them are fast; a copy, as it is changed below.
    wide = np.array(x.swapaxes(1, 2), np.float64, order="C")
    means = wide.mean(axis=2)
    wide -= means[:, :, None]
    return means, wide @ wide.swapaxes(1, 2) / wide.shape[2]


def _logarithms(covariances: Float[np.ndarray, "t d d"], n_samples: int) -> Float[np.ndarray, "t d d"]:
    """Matrix logarithms; variances below a share of the largest of all times are raised to it (to 1 where all are 0).

    Args:
        covariances: of one run.
        n_samples: that they were made of.
    """
    values, vectors = np.linalg.eigh(covariances)
    least = _LEAST_VARIANCE if n_samples > covariances.shape[-1] else _LEAST_OF_FEW
    largest = values.max(initial=0.0) or 1.0
    return (vectors * np.log(np.maximum(values, least * largest))[:, None, :]) @ vectors.swapaxes(1, 2)


def _stretchings(
    logarithms: Float[np.ndarray, "r d d"], rates: Float[np.ndarray, "r d d"], noise: float
) -> Float[np.ndarray, "r d d"]:
    """Symmetric A with A C + C A + noise^2 = dC/dt for C = exp(L), dL/dt the rate.

    In the eigenvectors of L, dC is the rate times (e^a - e^b) / (a - b), and A is dC over e^a + e^b: the rate times
    tanh((a - b) / 2) / (a - b), which is never more than 1/2, whatever the condition of C.
    """
    values, vectors = np.linalg.eigh(logarithms)
    half = (values[:, :, None] - values[:, None, :]) / 2
    ratio = np.divide(np.tanh(half), 2 * half, out=np.full_like(half, 0.5), where=half != 0)
    stretched = ratio * (vectors.swapaxes(1, 2) @ rates @ vectors)
    stretched -= (noise**2 / 2) * np.exp(-values)[:, :, None] * np.eye(values.shape[-1])
    return vectors @ stretched @ vectors.swapaxes(1, 2)


def _spline(knots: Float[np.ndarray, " t"], values: Float[np.ndarray, "t r x"]) -> TimeCurves:
    from scipy.interpolate import CubicSpline

    made = default_float()
    slopes = CubicSpline(knots, values)(knots, 1)
    return TimeCurves(jnp.asarray(knots, made), jnp.asarray(values, made), jnp.asarray(slopes, made))

"""The march of a model's own samples through a run, in which they are taken back to its populations; see `feedback`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin import ensembles
from hoam_plugin._types import Key, Parameters
from hoam_plugin.numerics import tolerances
from hoam_plugin.numerics.uniform_splines import TAPS
from hoam_plugin.potentials import Corrected, Embedding, FeaturePotential, Potential, Weights
from hoam_plugin.surrogates import LearnedDynamics, Options, Surrogate, one_step, with_learned
from hoam_plugin.training.coefficients import weights_of_steps
from hoam_plugin.training.marching import times_of_march
from hoam_plugin.training.stratification import stratified_indices

# Of a population that has more, so many samples say what its means are.
_MOST_TARGETS = 50_000
# Relative to the diagonal of the matrix, as if each phi had its own energy.
_RIDGE = 1e-3
# How much of a correction is tried.
_FACTORS = (1.0, 0.25, 0.0625)
# Entries of gradients per coefficient, from which the matrix is formed: it only says how much of a miss is made up for.
_ROWS_PER_COEFFICIENT = 64

Rows = Float[np.ndarray, "N D"]
Means = Float[np.ndarray, " k"]


class Targets(NamedTuple):
    """One run at the times of the march.

    Attributes:
        start: samples to begin with, centred.
        means: of phi at every later time.
        deviations: standard deviations of phi.
        groups: the features of the samples, their products, and waves.
        n_samples: of the run, over which the means are.
    """

    start: Float[Array, "N D"]
    means: list[Means]
    deviations: list[Means]

    groups: tuple[slice, ...]
    n_samples: int

    def square(self, missed: Means, i: int) -> float:
        """Mean square of differences of means at a time, in standard deviations; the same weight for every group.

        Waves are bounded and many, and alone would not see that a few samples go astray, which squares do.
        """
        # What single precision leaves of a spread is none.
        least = np.finfo(np.float32).eps * self.deviations[i].max()
        shares = (missed / np.maximum(self.deviations[i], least)) ** 2
        return float(np.mean([shares[group].mean() for group in self.groups]))


@dataclasses.dataclass(frozen=True, eq=False)
class FeedbackMarch:
    """Everything that is the same for all runs.

    Attributes:
        model: the trained one, with a `Corrected` potential that does not correct anything yet.
        ensemble: the runs.
        chosen: which of the saved times are marched through.
        n_samples: of the model.
        key: JAX random key.
    """

    model: Surrogate
    ensemble: xr.Dataset
    chosen: Int[np.ndarray, " m"]
    n_samples: int
    key: Key

    @property
    def correction(self) -> FeaturePotential:
        """The potential that is solved for."""
        potential = self.model.learned.potential
        assert isinstance(potential, Corrected)
        return potential.correction

    @functools.cached_property
    def taus(self) -> Float[np.ndarray, " m"]:
        """The times of the march, normalised."""
        times = self.ensemble["time"].values[self.chosen].astype(np.float64)
        return self.model.learned.normalisation.tau_on_host(times)

    def targets(self, run: int, rows: slice = slice(None)) -> Targets:
        """Of some samples of a run."""
        learned, ds = self.model.learned, self.ensemble
        norm, made = learned.normalisation, np.dtype(learned.normalisation.scale.dtype)
        first, end, apart = rows.indices(ds.sizes["sample"])
        step = max(1, len(range(first, end, apart)) // _MOST_TARGETS)
        few = slice(first, end, apart * step)
        start, means, deviations = None, [], []
        for _, slab in ensembles.slabs(ds, run, self.chosen, few):
            # Shifted in double precision: far from 0, single precision leaves steps.
            z = norm.raw_samples(slab, np.float64).astype(made)
            if start is None:
                size = min(self.n_samples, z.shape[1])
                seed = np.asarray(jax.random.key_data(self.key)).tolist()
                evenly = stratified_indices(z[0], size, np.random.default_rng([*seed, run]))[0]
                start = norm.centred_samples(jnp.asarray(z[0][np.sort(evenly)]))
            for rows_of_time in z:
                mean, deviation = _moments(self.correction, self._embedding, self._waves, jnp.asarray(rows_of_time))
                means.append(np.asarray(mean, np.float64))
                deviations.append(np.asarray(deviation, np.float64))
        assert start is not None
        groups = self.correction.groups(self._embedding.n_features)
        return Targets(start, means[1:], deviations[1:], groups, len(range(first, end, apart * step)))

    def solved(self, run: int, targets: Targets, done: Callable[[], None] = lambda: None) -> Float[np.ndarray, "n k"]:
        """The coefficients of the correction in every step through a run.

        Args:
            run: its number.
            targets: of the run.
            done: called after every step.

        Raises:
            FloatingPointError: samples ran away.
        """
        parameters = ensembles.parameters(self.ensemble, run)
        y, found = targets.start, []
        for i in range(len(targets.means)):

            def reached(c: Means, y: Float[Array, "N D"] = y, i: int = i) -> tuple[Float[Array, "N D"], Means]:
                moved = self._moved(self._constant(c), y, i, parameters, run)
                return moved, targets.means[i] - self._means(moved)

            c = np.zeros(len(targets.means[i]))
            ahead, missed = reached(c)
            if not np.isfinite(missed).all():
                raise FloatingPointError("samples of the model ran away")
            step = self._solution(y, missed / (self.taus[i + 1] - self.taus[i]))
            # What is right to first order may be too much where the population is thin.
            for factor in _FACTORS:
                tried, left = reached(factor * step)
                if targets.square(left, i) < targets.square(missed, i):
                    ahead, c = tried, factor * step
                    break
            y = ahead
            found.append(c)
            done()
        return np.stack(found)

    def distances(
        self, weights: Weights, targets: Targets, parameters: Parameters, seed: int
    ) -> Float[np.ndarray, " n"]:
        """Mean square distance of the model's means from those of a run after every step; see `Targets.square`.

        Args:
            weights: of the correction.
            targets: of the run.
            parameters: of the run.
            seed: of the noise.
        """
        y, squares = targets.start, []
        for i, mean in enumerate(targets.means):
            y = self._moved(weights, y, i, parameters, seed)
            squares.append(targets.square(self._means(y) - mean, i))
        return np.nan_to_num(np.asarray(squares), nan=np.inf)

    def distance_of_the_start(self, targets: Targets) -> float:
        """The same for samples that do not move, in the mean over time."""
        start = self._means(targets.start)
        return float(np.mean([targets.square(start - mean, i) for i, mean in enumerate(targets.means)]))

    def scatter(self, targets: Targets) -> float:
        """Of two independent populations that are the same, as many samples of the model and of the run."""
        return 1 / len(targets.start) + 1 / targets.n_samples

    def weights(self, runs: list[int], coefficients: list[Float[np.ndarray, "n k"]]) -> Weights:
        """Of the correction, from its coefficients in some runs."""
        norm = self.model.learned.normalisation
        return self._waves | weights_of_steps(self.ensemble, runs, norm, self.taus, coefficients)

    def nothing(self) -> Weights:
        """Of a correction that does nothing."""
        return self.model.learned.weights["correction"]

    @property
    def _waves(self) -> Weights:
        return {"waves": self.model.learned.weights["correction"]["waves"]}

    @property
    def _embedding(self) -> Embedding:
        return self.model.learned.network()[0]

    def _constant(self, c: Means) -> Weights:
        """Of coefficients that depend on nothing."""
        values = jnp.asarray(c, self.model.learned.normalisation.scale.dtype)
        return self.nothing() | {"coefficients": jnp.tile(values, (TAPS, 1, 1))}

    def _means(self, y: Float[Array, "N D"]) -> Means:
        z = self.model.learned.normalisation.of_centred(y)
        return np.asarray(_moments(self.correction, self._embedding, self._waves, z)[0], np.float64)

    def _solution(self, y: Float[Array, "N D"], missed: Means) -> Means:
        from scipy.linalg import cho_factor, cho_solve

        n, n_dims = y.shape
        step = max(1, n * n_dims // (_ROWS_PER_COEFFICIENT * len(missed)))
        z = self.model.learned.normalisation.of_centred(y[::step])
        matrix = np.asarray(_energies(self.correction, self._embedding, self._waves, z), np.float64)
        scale = np.sqrt(np.maximum(np.diag(matrix), np.finfo(np.float32).tiny))
        matrix = matrix / scale[:, None] / scale[None, :]
        if not np.isfinite(matrix).all():
            raise FloatingPointError("samples of the model ran away")
        matrix[np.diag_indices_from(matrix)] += _RIDGE
        return cho_solve(cho_factor(matrix), missed / scale) / scale

    def _moved(
        self, weights: Weights, y: Float[Array, "N D"], i: int, parameters: Parameters, seed: int
    ) -> Float[Array, "N D"]:
        """Samples after a step of the march, by as many steps of the model as it would take."""
        learned, options = self.model.learned, self.model.options
        norm = learned.normalisation
        begin, end = (float(t) for t in norm.elapsed_on_host(self.taus[i : i + 2]))
        way = (self.taus[i + 1] - self.taus[i]) * norm.duration
        n_steps = tolerances.whole_steps(way, options.dt, norm.duration)
        size = jnp.asarray((end - begin) / n_steps, y.dtype)
        key = jax.random.fold_in(jax.random.fold_in(self.key, seed), i)
        row = {name: jnp.asarray(value, y.dtype) for name, value in parameters.items()}
        corrected = dataclasses.replace(learned, weights=learned.weights | {"correction": weights})
        return _advanced(corrected, options, y, jnp.asarray(begin, y.dtype), size, jnp.asarray(n_steps), row, key)


def march_around(model: Surrogate, ds: xr.Dataset, key: Key, n_samples: int, n_steps: int) -> FeedbackMarch:
    """The march with the samples of a model whose potential is a network.

    Args:
        model: of the structure "gradient".
        ds: the training runs.
        key: for waves, samples and noise.
        n_samples: that are taken along.
        n_steps: at most.
    """
    learned = model.learned
    network, embedding = cast(Potential, learned.potential), learned.network()[0]
    correction = FeaturePotential(harmonics=network.harmonics)
    wave_key, march_key = jax.random.split(key)
    weights = {
        "network": learned.weights,
        "correction": correction.init(wave_key, embedding.n_features, 1 + len(learned.normalisation.parameters)),
    }
    based = with_learned(model, potential=Corrected(network, correction), weights=weights)
    taus = learned.normalisation.tau_on_host(ds["time"].values.astype(np.float64))
    return FeedbackMarch(based, ds, times_of_march(taus, n_steps), n_samples, march_key)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _moments(
    correction: FeaturePotential, embedding: Embedding, weights: Weights, z: Float[Array, "N D"]
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Mean and standard deviation of every phi_k."""
    values = correction.basis_values(weights, embedding.features(z))
    return jnp.mean(values, axis=0), jnp.std(values, axis=0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _energies(
    correction: FeaturePotential, embedding: Embedding, weights: Weights, z: Float[Array, "N D"]
) -> Float[Array, "k k"]:
    """E[grad phi_k . grad phi_l]."""
    gradient = correction.basis(weights, embedding.streams(z, laplacian=False)).gradient
    flat = gradient.reshape(-1, gradient.shape[-1])
    return flat.T @ flat / len(z)


@jax.jit
def _advanced(
    learned: LearnedDynamics,
    options: Options,
    y: Float[Array, "N D"],
    start: Array,
    size: Array,
    n_steps: Array,
    parameters: Parameters,
    key: Key,
) -> Float[Array, "N D"]:
    return one_step.advanced_samples(learned, options, y, start, size, n_steps, parameters, key)

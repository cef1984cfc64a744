"""After training: a march with the model's own samples, in which a correction takes back what they drift off.

A potential that is trained time by time is used in an open loop: small errors of its drift add up, and nothing in the
loss sees them. Here the model's samples of every run are taken from one saved time to the next. Where they then miss
the population of the run, by the means of the functions phi_k of a `FeaturePotential`, the same step is taken again
with the correction c . phi added, whose coefficients make up for it to first order: with samples z of the model,

    (E[grad phi_k . grad phi_l] + ridge) c_l = (E_data[phi_k] - E_model[phi_k]) / h.

What that leaves is seen again in the next step. It is the march of `hoam_plugin.training.marching` around a network, in
any number of coordinates.
"""

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
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._internal.threads import in_threads
from hoam_plugin._types import Key, Parameters
from hoam_plugin.numerics import tolerances
from hoam_plugin.numerics.uniform_splines import TAPS
from hoam_plugin.potentials import Corrected, Embedding, FeaturePotential, Potential, Weights
from hoam_plugin.surrogates import (
    LearnedDynamics,
    Options,
    Provenance,
    Surrogate,
    one_step,
    provenance_of,
    with_learned,
    with_provenance,
)
from hoam_plugin.training.coefficients import weights_of_steps
from hoam_plugin.training.data import Runs
from hoam_plugin.training.left_out import run_in_the_middle
from hoam_plugin.training.marching import times_of_march
from hoam_plugin.training.settings import Training
from hoam_plugin.training.stratification import stratified_indices

# Steps of the march, at most one from each saved time to the next.
_STEPS = 64
# Samples that are taken along. With fewer than the least, their own scatter is all that would be corrected.
_MOST_SAMPLES, _LEAST_SAMPLES = 10_000, 1000
# Of a population that has more, so many samples say what its means are.
_MOST_TARGETS = 50_000
# Relative to the diagonal of the matrix, as if each phi had its own energy.
_RIDGE = 1e-3
# How much of a correction is tried.
_FACTORS = (1.0, 0.25, 0.0625)
# Entries of gradients per coefficient, from which the matrix is formed: it only says how much of a miss is made up for.
_ROWS_PER_COEFFICIENT = 64
# Of the gradient per step of the model: twice, in each of which there are two (with noise) or four of them.
_EVALUATIONS = 4

Rows = Float[np.ndarray, "N D"]
Means = Float[np.ndarray, " k"]


class Targets(NamedTuple):
    """One run at the times of the march.

    Attributes:
        start: samples to begin with, centred.
        means: of phi at every later time.
        deviations: standard deviations of phi.
    """

    start: Float[Array, "N D"]
    means: list[Means]
    deviations: list[Means]

    def square(self, missed: Means, i: int) -> float:
        """Mean square of differences of means at a time, in standard deviations."""
        # What single precision leaves of a spread is none.
        least = np.finfo(np.float32).eps * self.deviations[i].max()
        return float(np.mean((missed / np.maximum(self.deviations[i], least)) ** 2))


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
        step = max(1, ds.isel(sample=rows).sizes["sample"] // _MOST_TARGETS)
        some = ds.isel(time=self.chosen, sample=rows).isel(sample=slice(None, None, step))
        start, means, deviations = None, [], []
        for _, slab in ensembles.slabs(some, run):
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
        return Targets(start, means[1:], deviations[1:])

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

    def distance(self, weights: Weights, targets: Targets, parameters: Parameters, seed: int) -> float:
        """Mean square distance of the model's means from those of a run, in standard deviations of each phi.

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
        distance = float(np.mean(squares))
        return distance if np.isfinite(distance) else float("inf")

    def weights(self, runs: list[int], coefficients: list[Float[np.ndarray, "n k"]]) -> Weights:
        """Of the correction, from its coefficients in some runs."""
        norm = self.model.learned.normalisation
        return self._waves | weights_of_steps(self.ensemble.isel(run=runs), norm, self.taus, coefficients)

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


def corrected(model: Surrogate, runs: Runs, training: Training, key: Key, *, progress: bool) -> Surrogate:
    """The surrogate with a correction, where that makes it better; its history says what became of it.

    Better is what comes nearer to the run in the middle of the parameters when it is left out, or, with fewer than
    three different parameters, to the half of the samples of a run that take no part.

    Args:
        model: a trained one, of the structure "gradient".
        runs: of the training.
        training: its settings; the march takes a small share of its time.
        key: for the waves and the noise.
        progress: whether a bar is shown.
    """
    ds = runs.ensemble
    n = min(_affordable_samples(model, runs, training), _MOST_SAMPLES, ds.sizes["sample"])
    if n < _LEAST_SAMPLES or ds.sizes["time"] < 3:
        return model
    march = _march(model, ds, key, n)
    every, n_steps = list(range(ds.sizes["run"])), len(march.taus) - 1
    try:
        with progress_bar("feedback", len(every) * n_steps, show=progress) as advance:

            def through(run: int) -> Float[np.ndarray, "n k"]:
                return march.solved(run, march.targets(run), lambda: advance(1))

            coefficients = in_threads(through, every)
            before, after = _judged(march, coefficients)
    except FloatingPointError as error:
        return _with_note(model, f"no correction was found: {error}")
    said = (
        f"the model's means are off by {before**0.5:.3g} standard deviations without, and by {after**0.5:.3g} with a "
        "correction, where they took no part in it"
    )
    if not after < before:
        return _with_note(model, f"{said}, so that there is none")
    weights = march.model.learned.weights | {"correction": march.weights(every, coefficients)}
    return _with_note(with_learned(march.model, weights=weights), said)


def _affordable_samples(model: Surrogate, runs: Runs, training: Training) -> int:
    """With how many samples per run a march evaluates no more gradients than training saw samples."""
    n_nodes, n_runs = int(np.count_nonzero(runs.node_weights)), runs.ensemble.sizes["run"]
    seen = training.iterations * training.samples_per_node(n_nodes) * min(n_nodes, training.n_times or n_nodes)
    n_steps = max(model.learned.normalisation.duration / model.options.dt, _STEPS)
    return int(seen * training.runs_per_iteration / (n_runs * n_steps * _EVALUATIONS))


def _with_note(model: Surrogate, said: str) -> Surrogate:
    """With a sentence in its history."""
    provenance = provenance_of(model)
    assert provenance.history is not None
    return with_provenance(model, Provenance(provenance.configuration, provenance.history.assign_attrs(feedback=said)))


def _march(model: Surrogate, ds: xr.Dataset, key: Key, n_samples: int) -> FeedbackMarch:
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
    return FeedbackMarch(based, ds, times_of_march(taus, _STEPS), n_samples, march_key)


def _judged(march: FeedbackMarch, coefficients: list[Float[np.ndarray, "n k"]]) -> tuple[float, float]:
    """The distances without and with a correction, where the samples took no part in it."""
    ds = march.ensemble
    left_out = run_in_the_middle(ds)
    if left_out is not None:
        run, targets = left_out.run, march.targets(left_out.run)
        weights = march.weights(left_out.others, [coefficients[other] for other in left_out.others])
    else:
        run = ds.sizes["run"] // 2
        own, targets = (march.targets(run, rows) for rows in (slice(0, None, 2), slice(1, None, 2)))
        weights = march.weights([run], [march.solved(run, own)])
    # Noise of its own.
    seed, parameters = ds.sizes["run"], ensembles.parameters(ds, run)

    def distance(weights: Weights) -> float:
        return march.distance(weights, targets, parameters, seed)

    before, after = in_threads(distance, (march.nothing(), weights))
    return before, after

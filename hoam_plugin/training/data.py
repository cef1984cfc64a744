"""The runs that training reads, and their samples on the device, which iterations draw from."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin.dynamics import Dynamics
from hoam_plugin.losses import AbstractLoss, MomentTargets, Targets

# Along which axis the samples of all runs lie in `RunSamples`.
SAMPLE_AXIS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """Runs of training or validation, and what the loss makes of them.

    Attributes:
        ensemble: in memory or on disk.
        dynamics: normalisation and structure of its samples, and what is known of their motion.
        loss: with all of its choices.
        node_weights: quadrature weights of its saved times.
        targets: what the learned drift is matched to, or None.
    """

    ensemble: xr.Dataset
    dynamics: Dynamics
    loss: AbstractLoss
    node_weights: Float[np.ndarray, " T"]
    targets: Targets | MomentTargets | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bands:
    """How means over the samples of neighbouring saved times make a derivative in time, at every saved time.

    Attributes:
        others: the saved times that take part in that at each, besides its own.
        coefficients: factors of its own mean and of those over the others.
        at_ends: the saved times at which the first and the last one take part by their larger subsets of samples.
        end_coefficients: factors of these means; those in `coefficients` are then 0.
    """

    others: Int[Array, "T K"]
    coefficients: Float[Array, "T _"]
    at_ends: Int[Array, "2 M"]
    end_coefficients: Float[Array, "2 M"]


def bands_of(loss: AbstractLoss, times: Float[np.ndarray, " T"], weights: Float[np.ndarray, " T"]) -> Bands | None:
    """The bands of a loss that differentiates means over samples, else None.

    What independent subsets of samples leave of a sum over times are fluctuations of the means at both ends, so that
    these are over the larger subsets where there are any.

    Args:
        loss: with all of its choices.
        times: the saved ones, normalised, in double precision: nodes lie close to one another near the ends.
        weights: theirs.
    """
    derivatives = loss.derivatives(times, weights)
    if derivatives is None:
        return None
    indices, coefficients = (values.copy() for values in derivatives)
    n, k = indices.shape
    end_terms: list[list[tuple[int, float]]] = [[], []]
    if not (loss.coupled or loss.merged):
        for terms, end in zip(end_terms, (0, n - 1), strict=True):
            at = [(int(j), int(i)) for j, i in np.argwhere(indices == end)]
            terms += [(j, float(coefficients[j, i])) for j, i in at if coefficients[j, i] != 0]
            coefficients[tuple(np.transpose(at))] = 0
    most = max(1, *map(len, end_terms))
    padded = [terms + [(0, 0.0)] * (most - len(terms)) for terms in end_terms]
    own = indices == np.arange(n)[:, None]
    return Bands(
        others=jnp.asarray(indices[~own].reshape(n, k - 1), jnp.int32),
        coefficients=jnp.asarray(np.column_stack([coefficients[own], coefficients[~own].reshape(n, k - 1)])),
        at_ends=jnp.asarray([[j for j, _ in terms] for terms in padded], jnp.int32),
        end_coefficients=jnp.asarray([[c for _, c in terms] for terms in padded]),
    )


class RunSamples(NamedTuple):
    """The part of `TrainingData` that is of single samples, of one run or of all; or the shapes of that."""

    points: Float[Array | np.ndarray, "*run T B n D"] | jax.ShapeDtypeStruct
    end_points: Float[Array | np.ndarray, "*run 2 E m D"] | jax.ShapeDtypeStruct
    targets: Float[Array | np.ndarray, "*run T B n Y"] | jax.ShapeDtypeStruct | None
    multiplicity: Float[Array | np.ndarray, "*run T B n"] | jax.ShapeDtypeStruct | None
    variance: Float[Array | np.ndarray, "*run T B n"] | jax.ShapeDtypeStruct | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainingData:
    """All runs on the device, in normalised units.

    Attributes:
        points: samples of every run and saved time, in stratified subsets; see `hoam_plugin.training.stratification`.
        end_points: samples at both ends of the time range, in larger stratified subsets.
        conditions: time and parameters of every run and saved time.
        weights: quadrature weight of every saved time; times of weight 0 are never used, except the two ends.
        nodes: indices of the saved times whose weight is positive.
        reference: a few points spread over the population of all runs and times, which fix the gauge of the potential.
        targets: what the learned drift of every sample should be, or None.
        multiplicity: weight of every sample over the mean weight, or None where all have the same.
        variance: of the velocity of the samples that each point stands for, where it stands for those of a cell.
        importance: factor of every run's and saved time's part of the loss, or None for 1.
        bands: how means over the samples are differentiated in time, or None.
        motion: a velocity of every sample that is taken off its known drift, or None for none.
        moments: what moments of the population are matched to, or None.
        dynamics: what is known, or None.
    """

    points: Float[Array, "R T B n D"]
    end_points: Float[Array, "R 2 E m D"]
    conditions: Float[Array, "R T C"]
    weights: Float[Array, " T"]
    nodes: Int[Array, " nodes"]
    reference: Float[Array, "k D"]
    targets: Float[Array, "R T B n Y"] | None = None
    multiplicity: Float[Array, "R T B n"] | None = None
    variance: Float[Array, "R T B n"] | None = None
    importance: Float[Array, "R T"] | None = None
    bands: Bands | None = None
    motion: Float[Array, "R T B n D"] | None = None
    moments: MomentTargets | None = None
    dynamics: Dynamics | None = None

"""What the page is made of: the surrogate, what it did, and how far that is from the truth; all computed beforehand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._types import Key
from hoam_plugin.scores import compare, configurations_of
from hoam_plugin.simulation import simulate
from hoam_plugin.surrogates import Surrogate, physical_points, provenance_of, runs_of

# Samples and times of the population in the middle of the ranges, where there is no truth.
_SAMPLES, _TIMES = 5000, 33


@dataclasses.dataclass(frozen=True, eq=False)
class Material:
    """All that the page tells of.

    Attributes:
        model: the surrogate.
        truth: held-out runs, or None.
        prediction: what the surrogate did, of the same runs as the truth, or in the middle of the ranges; or None.
        why_none: why there is no prediction.
        scores: of `compare`, or None without a truth.
        training: the training runs, or None.
        floor: a second truth, or None.
        cross_validation: scores of models of the other runs, or None.
        bands: around curves of the truth, or None.
    """

    model: Surrogate
    truth: xr.Dataset | None
    prediction: xr.Dataset | None
    why_none: str
    scores: xr.Dataset | None
    training: xr.Dataset | None
    floor: xr.Dataset | None
    cross_validation: xr.Dataset | None
    bands: xr.Dataset | None

    @property
    def shown(self) -> xr.Dataset | None:
        """What is drawn first: the truth, else what the surrogate did."""
        return self.prediction if self.truth is None else self.truth

    @property
    def worst_run(self) -> int:
        """The run in which the population is farthest from the truth, by the sliced Wasserstein distance; else 0."""
        if self.scores is None or "sliced_wasserstein" not in self.scores:
            return 0
        own = self.scores["sliced_wasserstein"].sel(reference="surrogate").values
        return int(np.nanargmax(own)) if np.isfinite(own).any() else 0

    @property
    def are_configurations(self) -> bool:
        """Whether a sample is many particles, of which pair distributions are drawn."""
        return self.shown is not None and configurations_of(self.shown) is not None

    @property
    def configuration(self) -> Mapping[str, object]:
        """The settings of the training."""
        found: Mapping[str, object] = json.loads(provenance_of(self.model).configuration)
        return found

    @property
    def points(self) -> np.ndarray | None:
        """The parameters of the training runs, a row per run in the order of the names; None where not known."""
        runs = runs_of(self.model)
        return None if runs is None else physical_points(runs, self.model.learned.normalisation)

    def inside(self, run: int) -> bool:
        """Whether a run of the truth lies within the trained ranges and near training runs."""
        assert self.truth is not None
        ends = self.truth["time"].values[[0, -1]].tolist()
        row = ensembles.parameters(self.truth, run)
        own = {name: row[name] for name in self.model.parameters}
        return all(bool(self.model.in_range(own, time)) for time in ends)


def material_of(
    model: Surrogate,
    given: Mapping[str, xr.Dataset | None],
    key: Key,
) -> Material:
    """Have the surrogate do what there is to show, and score it.

    Args:
        model: the surrogate.
        given: "truth", "training", "floor", "cross_validation" and "bands", each an ensemble or a Dataset, or None.
        key: of noise and samples.

    Raises:
        ValueError: a truth that does not match the surrogate, or training runs or a floor that do not match the truth.
    """
    truth = None if given["truth"] is None else ensembles.validate(given["truth"])
    # What lies outside is marked in the page.
    free = model.with_options(on_extrapolation="ignore")
    scores, why = None, ""
    if truth is None:
        prediction, why = _in_the_middle(free, key)
    else:
        prediction = simulate(
            free,
            {name: truth[name].values for name in model.parameters},
            truth["time"].values,
            key=key,
            n_samples=truth.sizes["sample"],
            initial=truth,
            progress=False,
        )
        scores = compare(truth, prediction, training=given["training"], floor=given["floor"])
    rest = {name: given[name] for name in ("training", "floor", "cross_validation", "bands")}
    return Material(model, truth, prediction, why, scores, **rest)


def _in_the_middle(model: Surrogate, key: Key) -> tuple[xr.Dataset | None, str]:
    """What the surrogate does in the middle of its ranges, or why that is not known."""
    if model.learned.in_place.stepper is None:
        return None, "The surrogate takes the place of no known stepper that could draw samples to start from."
    middle = {name: [(low + high) / 2] for name, (low, high) in model.ranges.items()}
    parameters = {name: middle[name] for name in model.parameters}
    try:
        times = np.linspace(*model.horizon, _TIMES)
        return simulate(model, parameters, times, key=key, n_samples=_SAMPLES, progress=False), ""
    except ValueError as error:
        return None, f"No population was drawn in the middle of the ranges: {error}."

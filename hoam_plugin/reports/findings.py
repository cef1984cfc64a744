"""What the figures say, in sentences: the verdict, and what speaks against the surrogate."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.reports.elements import Markup, badge
from hoam_plugin.reports.material import Material
from hoam_plugin.scores import labels
from hoam_plugin.surrogates import runs_of

# A surrogate whose score is up to so many times the floor is as good as the truth can tell, or near it.
_GOOD, _FAIR = 1.5, 4.0
# What two runs of the truth differ by, the better one first.
_FLOORS = ("noise_floor", "bootstrap")
# The scores that a verdict speaks of, the first two that there are.
_HEADLINES = {
    "electric_energy_error": "the electric energy is off by {value}",
    "sliced_wasserstein": "populations lie {value} apart (sliced Wasserstein)",
    "pair_distribution_error": "pair distributions are off by {value}",
    "histogram_l1": "histograms are {value} apart (L1)",
}


def floor_of(scores: xr.Dataset) -> str | None:
    """The reference that says what two runs of the truth differ by."""
    there = [str(reference) for reference in scores["reference"].values]
    return next((name for name in _FLOORS if name in there), None)


def share_of_floor(value: float, floor: float) -> Markup | str:
    """How many times what two runs of the truth differ by, in colours."""
    if not (math.isfinite(value) and math.isfinite(floor) and floor > 0):
        return "-"
    times = value / floor
    told = f"{times:.0f}" if times >= 10 else f"{times:.2g}"
    return badge(told, "good" if times <= _GOOD else "fair" if times <= _FAIR else "poor")


def verdict(material: Material) -> str:
    """One sentence."""
    scores, truth = material.scores, material.truth
    if scores is None or truth is None:
        return "No truth was given, so that this page says what was learned and not how good it is."
    runs, reference = truth.sizes["run"], floor_of(scores)
    told = []
    for name, text in _HEADLINES.items():
        if name not in scores:
            continue
        own = scores[name].sel(reference="surrogate").values
        if not np.isfinite(own).any():
            continue
        worst = int(np.nanargmax(own))
        said = text.format(value=f"{own[worst]:.2g}")
        if reference is not None:
            other = float(scores[name].sel(reference=reference).values[worst])
            said += f", where {_two_runs(reference)} {other:.2g}"
        told.append(said)
    where = "the run of the truth" if runs == 1 else f"the worst of {runs} runs of the truth"
    return f"In {where}, {'; '.join(told[:2])}." if told else "The scores are not defined for this truth."


def limits(material: Material) -> list[str]:
    """What this surrogate is not, and what speaks against it."""
    model, found = material.model, []
    history = model.history
    outcome = None if history is None else history.attrs.get("converged")
    if history is not None and outcome not in (None, "converged"):
        found.append(f"Training ended as {outcome!r}: {history.attrs.get('verdict', '')}.")
    truth = material.truth
    if truth is not None:
        texts = labels.runs(ensembles.parameters(truth), truth.sizes["run"])
        outside = [text for run, text in enumerate(texts) if not material.inside(run)]
        if outside:
            found.append(
                f"Outside the trained ranges, or in a hole among the training runs: {'; '.join(outside)}. Scores there "
                "say nothing of those within."
            )
    ranges = ", ".join(f"{name} in [{low:g}, {high:g}]" for name, (low, high) in model.ranges.items())
    start, end = model.horizon
    found.append(
        f"It was trained on {ranges + ' and ' if ranges else ''}times in [{start:g}, {end:g}]. Outside it does as "
        f"on_extrapolation={model.trained.policy!r} says."
    )
    if runs_of(model) is None and model.parameters:
        found.append("Where its training runs lie among the parameters is not known (a file of version 0.2 or before).")
    found.append(
        "It reproduces the marginals of the population at every time, and averages over them. Single samples do not "
        "follow the paths of the simulator, and correlations between two times are not learned."
        if model.learned.structure.kind == "gradient"
        else "It was learned from what samples say of each time: averages over the population hold, single paths need "
        "not."
    )
    if material.scores is not None and floor_of(material.scores) == "bootstrap":
        found.append(
            "No second run of the truth was given (floor), so that scores stand beside a bootstrap of its samples, "
            "which says less than what two runs differ by."
        )
    if material.cross_validation is None:
        found.append("No cross-validation over the training runs was given.")
    return found


def _two_runs(reference: str) -> str:
    return "two runs of the truth differ by" if reference == "noise_floor" else "a bootstrap of its samples gives"

"""What `fit` says of an ensemble before it learns from it."""

from __future__ import annotations

import contextlib

import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.logs import say
from hoam_plugin.dynamics import Kind, structure_of
from hoam_plugin.losses import AbstractLoss, follows_trajectories, has_rates
from hoam_plugin.training.choices import Choices


def one_ensemble(runs: xr.Dataset | xr.DataTree, *, progress: bool) -> xr.Dataset:
    """The ensemble, of a tree at common times.

    Raises:
        ValueError: runs of a tree that have no times in common.
    """
    common, said = ensembles.one_of_tree(runs)
    if said and progress:
        say(f"fit: {said}")
    return common


def say_what_is_learned_from(choices: Choices, structure: Kind | None, loss: AbstractLoss | None) -> None:
    """One line about what was chosen for an ensemble, or about what it would also allow."""
    ds, layout = choices.runs.ensemble, choices.dynamics.layout
    if loss is None and follows_trajectories(choices.loss):
        say(
            "fit: samples are the same ones at all times, which are equally spaced, so that the learned part is "
            "matched to their differences (TrajectoryMatching); loss=ActionMatching() takes samples alone"
        )
    if structure is not None or not any(v.velocity_of for v in layout.variables):
        return
    with contextlib.suppress(ValueError):
        structure_of("kinetic", layout.variables, layout.widths)
        rates = "; it records rates, which velocity matching then uses" if has_rates(ds) else ""
        said = f"fit: this ensemble has velocities, so structure='kinetic' is open to it and is more accurate{rates}"
        say(said)

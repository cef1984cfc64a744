"""What `fit` will do with an ensemble, and why, before it does it."""

from __future__ import annotations

import dataclasses

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal import warned
from hoam_plugin.dynamics import Kind, structure_of
from hoam_plugin.ensembles import Checkup
from hoam_plugin.inspection import look_at
from hoam_plugin.losses import description, follows_trajectories, has_rates
from hoam_plugin.numerics import tolerances
from hoam_plugin.potentials import SplinePotential
from hoam_plugin.training.choices import Choices, resolve


def check(ensemble: xr.Dataset | xr.DataTree) -> Checkup:
    """What an ensemble is taken for, what is suspicious in it, and what `fit` will do with it.

    Recognised are variables, velocities, periods, parameters (and what was not taken as one), times, whether samples
    are trajectories, spreads, and what the precision resolves. Suspicious are, among others, wrapped positions without
    a period, undeclared velocities or ones in other units, several runs without parameters, constant or collinear
    parameters, jumps, outliers, and rates that do not depend on a sample's own variables.

    Args:
        ensemble: any Dataset; what is no ensemble gives its error. Of a tree, what `fit` makes of it is looked at.

    Raises:
        ValueError: a tree without two times that all runs have in common.
    """
    ensemble, said = ensembles.one_of_tree(ensemble) if isinstance(ensemble, xr.DataTree) else (ensemble, "")
    found = look_at(ensemble)
    if found.error:
        return found
    ds = ensembles.validate(ensemble)
    return dataclasses.replace(found, plan=(*filter(None, [said]), *_plan(ds)))


def _plan(ds: xr.Dataset) -> list[str]:
    kinds: list[Kind] = ["gradient"]
    variables = ensembles.variables(ds)
    try:
        structure_of("kinetic", variables, [int(np.prod(ds[v.name].shape[3:])) for v in variables])
        kinds.append("kinetic")
    except ValueError:
        pass
    return [_of_structure(ds, kind) for kind in kinds]


def _of_structure(ds: xr.Dataset, kind: Kind) -> str:
    who = "without a word" if kind == "gradient" else f"with structure={kind!r}"
    with warned.kept_back():
        try:
            choices = resolve(
                ds,
                structure=kind,
                potential=None,
                loss=None,
                training=None,
                replaces=None,
                validate=None,
                clock=None,
                base=None,
            )
        except (TypeError, ValueError) as error:
            return f"{who}: refused: {error}"
    what = {
        "gradient": "a potential whose gradient moves all variables",
        "kinetic": "the force, while positions move with their velocities",
    }[kind]
    how = f"{type(choices.potential).__name__}, {description(choices.loss)['kind']}"
    return f"{who}: learns {what} ({how}), {'; '.join(_reasons(ds, choices))}"


def _reasons(ds: xr.Dataset, choices: Choices) -> list[str]:
    """Why it is learned so."""
    norm, times = choices.dynamics.normalisation, ds["time"].values.astype(np.float64)
    kinetic = choices.dynamics.structure.kind == "kinetic"
    reasons = []
    if isinstance(choices.potential, SplinePotential):
        reasons.append(
            "solved for, as there are no more than two coordinates, unless held-out samples speak against it"
        )
    if choices.dynamics.structure.knows_dynamics and has_rates(ds):
        reasons.append("from recorded rates")
    elif follows_trajectories(choices.loss):
        reasons.append("from differences of trajectories, as samples are the same at all, equally spaced, times")
    else:
        reasons.append("from samples of each time alone")
        if kinetic and ensembles.are_trajectories(ds):
            uneven = not tolerances.equally_spaced(times, 1e-3)
            why = "the times are not equally spaced" if uneven else "their velocities do not change smoothly in time"
            reasons.append(f"although samples are trajectories, since {why}")
    if "quadrature_weight" in ds:
        reasons.append("with the recorded quadrature weights")
    elif not choices.loss.bounded:
        even = len(times) % 2 and tolerances.equally_spaced(times)
        reasons.append(f"by the {'composite Simpson' if even else 'trapezoidal'} rule in time")
    if norm.clock is not None:
        reasons.append("over the population's own clock, as its fastest phase is more than twice as fast as the mean")
    if choices.training.held_out:
        reasons.append(f"judged on {choices.training.held_out} held-out samples of every run")
    return reasons

"""The same surrogate with something else in it: weights, the replaced stepper, the account of its training."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import xarray as xr
from jax.typing import ArrayLike

from hoam_plugin.steppers import Stepper
from hoam_plugin.surrogates.bands import Bands
from hoam_plugin.surrogates.in_place import required_stepper
from hoam_plugin.surrogates.learned import require_known_physics
from hoam_plugin.surrogates.provenance import Provenance
from hoam_plugin.surrogates.surrogate import Surrogate
from hoam_plugin.surrogates.trained_range import TrainedRange
from hoam_plugin.surrogates.trained_region import without_holes
from hoam_plugin.surrogates.training_runs import TrainingRuns, hole


def with_learned(model: Surrogate, **changes: object) -> Surrogate:
    """The surrogate with some fields of its learned dynamics replaced, such as `weights`; the horizon is theirs."""
    learned = dataclasses.replace(model.learned, **changes)  # type: ignore[arg-type]
    trained = dataclasses.replace(model.trained, horizon=learned.normalisation.horizon)
    return dataclasses.replace(model, learned=learned, trained=trained)


def in_place_of(model: Surrogate, stepper: Stepper) -> Surrogate:
    """The surrogate in the place of another stepper.

    Raises:
        TypeError: not a stepper.
        ValueError: it lacks a variable of the surrogate, or the known drift or noise that was learned around.
    """
    learned = dataclasses.replace(model.learned, replaces=required_stepper(stepper, model.variables))
    return dataclasses.replace(model, learned=require_known_physics(learned))


def members_of(model: Surrogate) -> tuple[Surrogate, ...]:
    """The members of a committee, each a surrogate by itself; a surrogate that is none is its only member.

    Args:
        model: a committee, or any other surrogate.

    Example:
        >>> from hoam_plugin.trust import members_of
        >>> members_of(model) == (model,)
        True
    """
    n = model.learned.members
    if n == 1:
        return (model,)

    def member(i: int) -> Surrogate:
        return with_learned(model, weights=jax.tree.map(lambda leaf: leaf[i], model.learned.weights), members=1)

    return tuple(map(member, range(n)))


def provenance_of(model: Surrogate) -> Provenance:
    """How a surrogate was trained."""
    return model._provenance


def annotated(model: object, ds: xr.Dataset) -> xr.Dataset:
    """What a stepper simulated, with the ends of the bands where it is a surrogate that has some."""
    bands = model._provenance.bands if isinstance(model, Surrogate) else None
    return ds if bands is None else bands.annotated(ds)


def with_curve_bands(model: Surrogate, bands: Bands) -> Surrogate:
    """The surrogate with bands around curves of its populations."""
    return with_provenance(model, dataclasses.replace(provenance_of(model), bands=bands))


def runs_of(model: Surrogate) -> TrainingRuns | None:
    """Where its training runs lie among the parameters; None where that is not known."""
    return model._runs


def trained_region_of(model: Surrogate) -> TrainedRange:
    """Its trained ranges, less the holes among its training runs where these are known."""
    return without_holes(model.trained, model._runs, model.learned.normalisation)


def hole_of(model: Surrogate, parameters: Mapping[str, ArrayLike]) -> str | None:
    """One sentence about the first concrete parameters in a hole among its training runs, or None."""
    return hole(model._runs, model.learned.normalisation, parameters)


def summary(model: Surrogate) -> dict[str, str]:
    """What its `repr` says, by name."""
    return model._rows()


def with_provenance(model: Surrogate, provenance: Provenance) -> Surrogate:
    """The surrogate with another account of its training."""
    return dataclasses.replace(model, _provenance=provenance)

"""Whether a potential is solved for or trained, and by which loss."""

from __future__ import annotations

from typing import Literal, NamedTuple

import xarray as xr

from hoam_plugin.dynamics import Structure
from hoam_plugin.losses import AbstractLoss, required_loss, without_noise, without_own_noise
from hoam_plugin.potentials import (
    MOST_DIMS,
    ParticlePotential,
    Potential,
    SplinePotential,
    VectorField,
    required_potential,
)
from hoam_plugin.training.defaults import default_loss
from hoam_plugin.training.settings import Training

# What moves samples where nothing was learned.
Base = Literal["none", "moments"]


class Given(NamedTuple):
    """What `fit` is asked for."""

    potential: Potential | VectorField | None
    loss: AbstractLoss | None
    training: Training | None
    validate: xr.Dataset | None
    base: Base | None


def potential_and_loss(
    ds: xr.Dataset, structure: Structure, n_dims: int, given: Given, *, may_solve: bool
) -> tuple[Potential | VectorField, AbstractLoss]:
    """What is learned and how: what is asked for, else what fits the structure and the number of coordinates.

    Args:
        ds: the ensemble.
        structure: of the dynamics.
        n_dims: coordinates.
        given: what is asked for.
        may_solve: whether a potential that is solved for may be chosen where nothing is asked for.

    Raises:
        ValueError: parts that do not go with one another.
        TypeError: something that is no potential or loss.
    """
    potential = None if given.potential is None else required_potential(given.potential)
    if may_solve and all(value is None for value in given) and structure.kind == "gradient" and n_dims <= MOST_DIMS:
        potential = SplinePotential()
    loss = default_loss(structure, ds) if given.loss is None else required_loss(given.loss)
    loss.require_structure(structure)
    if isinstance(potential, SplinePotential):
        loss = _require_solvable(structure, n_dims, loss, given)
    if isinstance(potential, ParticlePotential):
        loss = _require_solvable_for_particles(structure, loss, given)
    return loss.default_potential(structure) if potential is None else potential, loss


def _require_solvable(structure: Structure, n_dims: int, loss: AbstractLoss, given: Given) -> AbstractLoss:
    """The loss without noise, whose minimiser is the solution of linear equations.

    Raises:
        ValueError: something that does not go with a potential that is solved for.
    """
    who = "potential=SplinePotential(...) is solved for"
    if structure.kind != "gradient":
        raise ValueError(f"{who}, which goes with structure='gradient' only, and the structure is {structure.kind!r}")
    if n_dims > MOST_DIMS:
        raise ValueError(f"{who} in at most {MOST_DIMS} coordinates, and there are {n_dims}; use CoLoRA(...)")
    solved = without_noise(loss)
    if solved is None:
        raise ValueError(f"{who} by ActionMatching() without noise, and loss={loss!r}")
    _require_no_training(who, given)
    return solved


def _require_solvable_for_particles(structure: Structure, loss: AbstractLoss, given: Given) -> AbstractLoss:
    """The loss without noise but that of the stepper, or that is asked for.

    Raises:
        ValueError: something that does not go with a potential of particles.
    """
    who = "potential=ParticlePotential(...) is solved for"
    if structure.kind == "field":
        raise ValueError(f"{who}, which goes with structure='gradient' or 'kinetic', and the structure is 'field'")
    _require_no_training(who, given)
    solved = without_own_noise(loss)
    if solved is None:
        raise ValueError(f"{who} by ActionMatching(), DICE() or a matching of rates, and loss={loss!r}")
    return solved


def _require_no_training(who: str, given: Given) -> None:
    for name in ("training", "validate", "base"):
        value = getattr(given, name)
        if value is not None and value != "none":
            shown = repr(value) if name == "base" else f"{type(value).__name__}(...)"
            raise ValueError(f"{who}, so that {name}={shown} has no meaning; leave it out, or use CoLoRA(...)")

"""Losses by name."""

from __future__ import annotations

import dataclasses

from hoam_plugin.losses.action_matching import ActionMatching
from hoam_plugin.losses.base import AbstractLoss
from hoam_plugin.losses.dice import DICE
from hoam_plugin.losses.moment_matching import MomentMatching
from hoam_plugin.losses.velocity_matching import TrajectoryMatching, VelocityMatching

LOSSES: dict[str, type[AbstractLoss]] = {
    kind.__name__: kind for kind in (ActionMatching, DICE, MomentMatching, VelocityMatching, TrajectoryMatching)
}


def description(loss: AbstractLoss) -> dict[str, object]:
    """Kind and settings of a loss, for the record."""
    fields = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}
    if "quadrature" in fields:
        fields["quadrature"] = str(fields["quadrature"] or "ensemble")
    return {"kind": type(loss).__name__, **fields}


def required_loss(value: object) -> AbstractLoss:
    """`value`, if it is a loss: one of the catalogue or of one's own.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, AbstractLoss):
        known = " or ".join(f"{name}(...)" for name in LOSSES)
        raise TypeError(f"loss={value!r} must be {known}")
    return value


def without_own_noise(loss: AbstractLoss) -> AbstractLoss | None:
    """The loss by which a potential of particles is solved for: no noise but the stepper's, or that is asked for.

    None for losses whose minimiser is not the solution of linear equations.
    """
    if isinstance(loss, ActionMatching | DICE):
        return dataclasses.replace(loss, epsilon=loss.epsilon or 0.0)
    return loss if isinstance(loss, VelocityMatching | TrajectoryMatching) else None

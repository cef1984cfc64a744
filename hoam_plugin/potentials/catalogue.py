"""Potentials s(x, t, mu) and vector fields by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol, runtime_checkable

from hoam_plugin._internal.checks import suggestion
from hoam_plugin.potentials.colora import CoLoRA
from hoam_plugin.potentials.corrected import Corrected
from hoam_plugin.potentials.features import FeaturePotential
from hoam_plugin.potentials.film import FiLM
from hoam_plugin.potentials.interface import Potential
from hoam_plugin.potentials.mlp import MLP
from hoam_plugin.potentials.particles import ParticlePotential
from hoam_plugin.potentials.spline import SplinePotential
from hoam_plugin.potentials.vector_field import VectorField

# Names in files. A potential of one's own that is to be loaded from files is put in here.
POTENTIALS: dict[str, Callable[..., Potential | VectorField]] = {
    kind.__name__: kind
    for kind in (CoLoRA, Corrected, FeaturePotential, FiLM, MLP, ParticlePotential, SplinePotential, VectorField)
}


# What fields that a file does not know yet were when it was written, where that is not their default.
_BEFORE: dict[str, dict[str, object]] = {"SplinePotential": {"period_weight": 1.0}}

# Those that are solved for around a network.
_MADE_BY_FIT = (Corrected, FeaturePotential)


@runtime_checkable
class Described(Protocol):
    """A frozen dataclass of plain numbers."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]


def description(potential: Described) -> dict[str, object]:
    """Kind and sizes of a potential (or of a method of the baselines), from which it can be made again."""
    fields = {field.name: getattr(potential, field.name) for field in dataclasses.fields(potential)}
    parts = {name: description(value) for name, value in fields.items() if isinstance(value, Described)}
    return {"kind": type(potential).__name__, **fields, **parts}


def potential_from(described: Mapping[str, object]) -> Potential | VectorField:
    """The potential of a `description`, as JSON has it.

    Raises:
        ValueError: a kind that is not in `POTENTIALS`.
    """
    kind = str(described["kind"])
    if kind not in POTENTIALS:
        raise ValueError(
            f"the potential is of the unknown kind {kind!r}; {suggestion(kind, POTENTIALS)}; put a class of your own "
            "into hoam_plugin.potentials.POTENTIALS before you load it"
        )
    described = {**_BEFORE.get(kind, {}), **described}
    return POTENTIALS[kind](**{name: _field_from(value) for name, value in described.items() if name != "kind"})


def _field_from(value: object) -> object:
    """Lists as tuples, which JSON does not have, and a potential within a potential."""
    if isinstance(value, Mapping):
        return potential_from(value)
    return tuple(map(_field_from, value)) if isinstance(value, list) else value


def required_potential(value: object) -> Potential | VectorField:
    """`value`, if it is a potential or a vector field: one of the catalogue or of one's own.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, Potential | VectorField) or isinstance(value, _MADE_BY_FIT):
        made = [kind.__name__ for kind in _MADE_BY_FIT]
        known = " or ".join(f"{name}(...)" for name in POTENTIALS if name not in made)
        raise TypeError(f"potential={value!r} must be {known}")
    return value

"""How the simulators say what rebuilds them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def arguments_of(stepper: DataclassInstance) -> dict[str, Any]:
    """The arguments that rebuild a stepper, as they are after its checks: all fields by name."""
    return {field.name: getattr(stepper, field.name) for field in dataclasses.fields(stepper)}

"""Potentials s(x, t, mu) and vector fields by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from hoam_plugin.potentials.colora import CoLoRA as CoLoRA
from hoam_plugin.potentials.interface import Potential as Potential
from hoam_plugin.potentials.interface import Weights as Weights
from hoam_plugin.potentials.plain import MLP as MLP
from hoam_plugin.potentials.plain import FiLM as FiLM
from hoam_plugin.potentials.vector_field import VectorField as VectorField

POTENTIALS = {kind.__name__: kind for kind in (CoLoRA, FiLM, MLP, VectorField)}


def description(potential: Any) -> dict[str, Any]:
    """Kind and sizes of a potential, from which `POTENTIALS` makes it again."""
    return {"kind": type(potential).__name__, **dataclasses.asdict(potential)}

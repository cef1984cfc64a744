"""The one noun: what a stepper is, its variables and states, time, parameters and published steppers."""

from hoam_plugin._types import Parameters
from hoam_plugin.steppers import clock, published
from hoam_plugin.steppers.abilities import Abilities, AdvanceByTables, Description, InParts, OfState, abilities_of
from hoam_plugin.steppers.checks import require_stepper
from hoam_plugin.steppers.contract import NamedStepper, Stepper, TrainedStepper
from hoam_plugin.steppers.layout import SampleLayout
from hoam_plugin.steppers.parameter_rows import ParameterRow, row_of
from hoam_plugin.steppers.published import rebuild_from_attribute, rebuild_stepper
from hoam_plugin.steppers.states import (
    as_jax,
    default_float,
    require_field_name,
    require_representable,
    state_from_samples,
    state_type,
)
from hoam_plugin.steppers.variables import ATTRIBUTES, Variable, text_attribute

__all__ = [
    "ATTRIBUTES",
    "Abilities",
    "AdvanceByTables",
    "Description",
    "InParts",
    "NamedStepper",
    "OfState",
    "ParameterRow",
    "Parameters",
    "SampleLayout",
    "Stepper",
    "TrainedStepper",
    "Variable",
    "abilities_of",
    "as_jax",
    "clock",
    "default_float",
    "published",
    "rebuild_from_attribute",
    "rebuild_stepper",
    "require_field_name",
    "require_representable",
    "require_stepper",
    "row_of",
    "state_from_samples",
    "state_type",
    "text_attribute",
]

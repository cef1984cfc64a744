"""What users need of `hoam_plugin.ensembles`: making, checking, selecting, reading and storing ensembles."""

from hoam_plugin.ensembles import (
    DIMS,
    Ensemble,
    build,
    frame,
    load,
    parameter_names,
    parameters,
    samples,
    save,
    sel_run,
    subsample,
    validate,
    variable_names,
    variables,
)

__all__ = [
    "DIMS",
    "Ensemble",
    "build",
    "frame",
    "load",
    "parameter_names",
    "parameters",
    "samples",
    "save",
    "sel_run",
    "subsample",
    "validate",
    "variable_names",
    "variables",
]


def __dir__() -> list[str]:
    return __all__

"""What users need of `hoam_plugin.ensembles`: making, checking, selecting, reading and storing ensembles."""

from hoam_plugin.ensembles import (
    DIMS,
    Ensemble,
    build,
    frame,
    load,
    load_runs,
    parameter_names,
    parameters,
    samples,
    save,
    sel_run,
    subsample,
    tree,
    validate,
    variable_names,
    variables,
)
from hoam_plugin.importing import from_arrays, from_snapshots

__all__ = [
    "DIMS",
    "Ensemble",
    "build",
    "frame",
    "from_arrays",
    "from_snapshots",
    "load",
    "load_runs",
    "parameter_names",
    "parameters",
    "samples",
    "save",
    "sel_run",
    "subsample",
    "tree",
    "validate",
    "variable_names",
    "variables",
]


def __dir__() -> list[str]:
    return __all__

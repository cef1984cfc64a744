"""What any stepper did, as `xarray.Dataset`s: names, schema, reading, selection, storage."""

from hoam_plugin.ensembles.parameter_declaration import require_parameters_declared
from hoam_plugin.ensembles.reading import build, creation_attributes, frame, sel_run, subsample
from hoam_plugin.ensembles.schema import (
    DIMS,
    is_label,
    moments,
    native,
    parameter_names,
    parameters,
    samples,
    slabs,
    variable_names,
    variables,
)
from hoam_plugin.ensembles.storage import is_netcdf, load, order_attribute, require_netcdf, save, write, write_zarr
from hoam_plugin.ensembles.validation import validate

__all__ = [
    "DIMS",
    "build",
    "creation_attributes",
    "frame",
    "is_label",
    "is_netcdf",
    "load",
    "moments",
    "native",
    "order_attribute",
    "parameter_names",
    "parameters",
    "require_netcdf",
    "require_parameters_declared",
    "samples",
    "save",
    "sel_run",
    "slabs",
    "subsample",
    "validate",
    "variable_names",
    "variables",
    "write",
    "write_zarr",
]

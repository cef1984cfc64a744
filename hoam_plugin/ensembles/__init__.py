"""What any stepper did, as `xarray.Dataset`s: their form, how they are read, selected, made, checked and stored."""

from hoam_plugin.ensembles.building import build, creation_attributes, frame
from hoam_plugin.ensembles.checkup import Checkup
from hoam_plugin.ensembles.chunking import cut
from hoam_plugin.ensembles.common_times import one_of_tree, with_common_times
from hoam_plugin.ensembles.dataset_type import Ensemble, EnsembleMethods
from hoam_plugin.ensembles.identity import are_paired, are_trajectories, moves_with_velocities
from hoam_plugin.ensembles.names import (
    DIMS,
    SAMPLING,
    SNAPSHOTS,
    TRAJECTORIES,
    is_label,
    label_names,
    parameter_names,
    variable_names,
)
from hoam_plugin.ensembles.parameter_declaration import require_parameters_declared
from hoam_plugin.ensembles.passes import over_runs, shared_passes
from hoam_plugin.ensembles.pieces import create_array
from hoam_plugin.ensembles.reading import Statistics, moments, native, parameters, samples, slabs, slabs_of, statistics
from hoam_plugin.ensembles.schema import variables
from hoam_plugin.ensembles.selection import sel_run, subsample
from hoam_plugin.ensembles.storage import (
    is_netcdf,
    load,
    load_runs,
    order_attribute,
    read,
    require_netcdf,
    save,
    write,
    write_tree,
    write_zarr,
)
from hoam_plugin.ensembles.trees import nodes_of, tree
from hoam_plugin.ensembles.units import require_same_units
from hoam_plugin.ensembles.validation import validate

__all__ = [
    "DIMS",
    "SAMPLING",
    "SNAPSHOTS",
    "TRAJECTORIES",
    "Checkup",
    "Ensemble",
    "EnsembleMethods",
    "Statistics",
    "are_paired",
    "are_trajectories",
    "build",
    "create_array",
    "creation_attributes",
    "cut",
    "frame",
    "is_label",
    "is_netcdf",
    "label_names",
    "load",
    "load_runs",
    "moments",
    "moves_with_velocities",
    "native",
    "nodes_of",
    "one_of_tree",
    "order_attribute",
    "over_runs",
    "parameter_names",
    "parameters",
    "read",
    "require_netcdf",
    "require_parameters_declared",
    "require_same_units",
    "samples",
    "save",
    "sel_run",
    "shared_passes",
    "slabs",
    "slabs_of",
    "statistics",
    "subsample",
    "tree",
    "validate",
    "variable_names",
    "variables",
    "with_common_times",
    "write",
    "write_tree",
    "write_zarr",
]

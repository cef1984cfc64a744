"""From arrays and files of other codes to ensembles: weighted particles that come and go, snapshot by snapshot."""

from hoam_plugin.importing.arrays import from_arrays
from hoam_plugin.importing.collecting import Run
from hoam_plugin.importing.described import Description
from hoam_plugin.importing.run_parameters import parameters_of_paths, parameters_of_table
from hoam_plugin.importing.shelf import clear_finished
from hoam_plugin.importing.snapshot_ensembles import drawing_of, from_snapshots, imported, require_store
from hoam_plugin.importing.snapshots import Column

__all__ = [
    "Column",
    "Description",
    "Run",
    "clear_finished",
    "drawing_of",
    "from_arrays",
    "from_snapshots",
    "imported",
    "parameters_of_paths",
    "parameters_of_table",
    "require_store",
]

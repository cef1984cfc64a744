"""`hoam check`: what an ensemble is taken for, what is suspicious in it, and what `hoam fit` will do with it."""

from __future__ import annotations

from hoam_plugin.cli.documents import AsJson, print_document
from hoam_plugin.cli.parsing import Location, require_input


def check(ensemble: Location, /, *, json: AsJson = False) -> None:
    """Say what an ensemble is taken for, what is suspicious in it, and what hoam fit will do with it and why.

    Args:
        ensemble: a Zarr folder or netCDF file.
        json: print it as one JSON document.
    """
    require_input("ENSEMBLE", ensemble)
    from hoam_plugin import ensembles, training

    found = training.check(ensembles.load_runs(ensemble, lazy=True))
    if json:
        print_document({"file": str(ensemble), **found.as_document()})
    else:
        print(found)
    if found.error:
        raise ValueError(f"ENSEMBLE={str(ensemble)!r} is no ensemble: {found.error}")

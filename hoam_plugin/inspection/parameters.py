"""What the runs differ by, and what was not taken for it."""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal import warned
from hoam_plugin.numerics import tolerances

# Correlations above which two parameters cannot be told apart.
_COLLINEAR = 0.9999


def look_at(ds: xr.Dataset) -> tuple[tuple[str, ...], list[str]]:
    """Lines about parameters, and what is suspicious of them."""
    columns = ensembles.parameters(ds)
    lines = []
    for name, column in columns.items():
        units = ds[name].attrs.get("units", "1")
        values = np.unique(column)
        shown = ", ".join(f"{value:g}" for value in values[:8]) + (", ..." if len(values) > 8 else "")
        lines.append(f"{name}: {len(values)} values ({shown}), units {units!r}")
    lines += [f"{name}: not taken, {why}" for name, why in _not_taken(ds)]
    return (*lines,) or ("none",), [*_declared(ds), *_degenerate(columns)]


def _not_taken(ds: xr.Dataset) -> list[tuple[str, str]]:
    """Numbers and texts beside the samples that are no parameters, and why."""
    found = [(name, "bookkeeping by its name or role") for name in ensembles.label_names(ds)]
    for name, coord in ds.coords.items():
        if coord.dims == ("run",) and coord.dtype.kind in "OUST" and name != "run":
            found.append((str(name), "texts along run"))
        elif coord.dims == ():
            found.append((str(name), "one value for all runs"))
    known = {*ensembles.variable_names(ds), "quadrature_weight"}
    for name, array in ds.data_vars.items():
        if name not in known and "sample" not in array.dims:
            kind = "a diagnostic" if "time" in array.dims else "a data variable"
            found.append((str(name), f"{kind} along {', '.join(map(str, array.dims)) or 'nothing'}"))
    return found


def _declared(ds: xr.Dataset) -> list[str]:
    """What `fit` would say of undeclared parameters, or refuse."""
    with warned.kept_back() as said:
        try:
            ensembles.require_parameters_declared(ds)
        except ValueError as error:
            return [str(error)]
    return said


def _degenerate(columns: dict[str, np.ndarray]) -> list[str]:
    suspicions = []
    n_runs = len(next(iter(columns.values()), []))
    varied = {name: column for name, column in columns.items() if not tolerances.is_constant(column)}
    if n_runs > 1:
        for name in columns.keys() - varied.keys():
            value = columns[name][0]
            suspicions.append(
                f"the parameter {name!r} is {value:g} in all runs, so that nothing is learned of it; drop it by "
                f"ds.drop_vars({name!r}), or add runs with other values"
            )
    for (one, a), (other, b) in itertools.combinations(varied.items(), 2):
        # In units of the largest, whose square there need not be.
        unit = (column / np.abs(column).max() for column in (a, b))
        if len(np.unique(a)) > 1 and abs(float(np.corrcoef(*unit)[0, 1])) > _COLLINEAR:
            suspicions.append(
                f"the parameters {one!r} and {other!r} go with one another in all runs, so that their effects cannot "
                "be told apart; drop one of them, or add runs in which they differ"
            )
    rows = {tuple(column[run] for column in columns.values()) for run in range(n_runs)}
    if varied and len(rows) == 2 and len(varied) == 1:
        name = next(iter(varied))
        suspicions.append(f"the parameter {name!r} has two values; what lies between them is a straight line at best")
    return suspicions

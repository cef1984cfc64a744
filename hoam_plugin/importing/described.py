"""What users say of foreign runs beside their numbers: parameters, periods, velocities and units."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import parameter_table, refusal, suggestion
from hoam_plugin._types import Numbers
from hoam_plugin.steppers import Variable

# What rides along with the samples of an import, of every run and time.
RECORDED = ("n_particles", "total_weight", "effective_particles")
# Dims of a variable's own axes, by their number.
_OWN_DIMS = {0: (), 1: ("axis",), 2: ("particle", "axis")}


@dataclasses.dataclass(frozen=True)
class Description:
    """Of runs, checked against their variables by `variables` and `columns`.

    Attributes:
        parameters: name to one value per run, or to one for all.
        period: variable to the length of its torus.
        velocity_of: velocity to its position.
        units: of variables, parameters and "time".
    """

    parameters: Mapping[str, Numbers] | None = None
    period: Mapping[str, float] | None = None
    velocity_of: Mapping[str, str] | None = None
    units: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        for field in ("parameters", "period", "velocity_of", "units"):
            value = getattr(self, field)
            if value is not None and not isinstance(value, Mapping):
                example = {"parameters": "{'mu': [1.2, 1.4]}", "period": "{'x': 50.0}", "velocity_of": "{'v': 'x'}"}
                raise refusal(TypeError, field, value, f"a dict such as {example.get(field, str({'x': 'm'}))}")

    def columns(self, n_runs: int) -> dict[str, np.ndarray]:
        """Parameters as columns over the runs.

        Raises:
            ValueError: another number of values than runs, or values that are no finite numbers.
        """
        given = dict(self.parameters or {})
        table = parameter_table(given, list(given)) if given else {}
        for name, column in table.items():
            if len(column) not in (1, n_runs) or (np.ndim(np.asarray(given[name])) > 0 and len(column) != n_runs):
                raise ValueError(
                    f"parameters[{name!r}] has {len(column)} values, and there are {n_runs} runs; give one for each"
                )
        return {name: np.broadcast_to(column, (n_runs,)) for name, column in table.items()}

    def variables(self, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Variable, ...]:
        """The variables, with these shapes beside run, time and sample.

        Raises:
            ValueError: a name that is no word or is taken, something said of a variable that is none, or a shape of
                more than two axes.
        """
        taken = {*ensembles.DIMS, *RECORDED, *(self.parameters or {})}
        for name in shapes:
            if not name.isidentifier() or name in taken:
                raise ValueError(
                    f"variable {name!r} cannot be called so: names are words, and {sorted(taken)!r} are taken by dims, "
                    "records and parameters; rename it"
                )
        for field in ("period", "velocity_of"):
            self._require_known(field, getattr(self, field) or {}, shapes)
        positions = dict(self.velocity_of or {})
        self._require_known("velocity_of", positions.values(), shapes)
        sizes: dict[str, int] = {}
        found = []
        for name, shape in shapes.items():
            if len(shape) not in _OWN_DIMS:
                raise ValueError(
                    f"variable {name!r} has the shape {shape} for each sample; it must be a number, a vector, or a "
                    "vector for each of several particles"
                )
            dims = _OWN_DIMS[len(shape)]
            # Vectors of different lengths cannot share a dim.
            if any(sizes.get(dim, size) != size for dim, size in zip(dims, shape, strict=True)):
                dims = tuple(f"{name}_{dim}" for dim in dims)
            sizes |= dict(zip(dims, shape, strict=True))
            period = (self.period or {}).get(name)
            units = (self.units or {}).get(name, "1")
            found.append(Variable(name, dims, period, units, velocity_of=positions.get(name)))
        return tuple(found)

    def with_units(self, ds: xr.Dataset) -> xr.Dataset:
        """The ensemble with the units of its coordinates.

        Raises:
            ValueError: units of something that is not there.
        """
        self._require_known(
            "units", self.units or {}, {str(n): () for n in (*ds.coords, *ensembles.variable_names(ds))}
        )
        for name, text in (self.units or {}).items():
            if name in ds.coords:
                ds = ds.assign_coords({name: ds[name].assign_attrs(units=text)})
        return ds

    def of_run(self, run: int, n_runs: int) -> Description:
        """The same of one run."""
        columns = self.columns(n_runs)
        return dataclasses.replace(self, parameters={name: [float(c[run])] for name, c in columns.items()})

    def summary(self, n_runs: int) -> dict[str, object]:
        """As JSON has it."""
        return {
            "parameters": {name: column.tolist() for name, column in self.columns(n_runs).items()},
            "period": dict(self.period or {}),
            "velocity_of": dict(self.velocity_of or {}),
            "units": dict(self.units or {}),
        }

    @staticmethod
    def _require_known(field: str, names: Iterable[str], known: Mapping[str, object]) -> None:
        for name in names:
            if name not in known:
                raise ValueError(f"{field} names {name!r}, which is no variable; {suggestion(str(name), known)}")

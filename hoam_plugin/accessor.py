"""What xarray knows of this package: the accessor `ds.hoam` of every Dataset, and the engine "hoam" of `open_dataset`.

Importing this module registers the accessor. `import hoam_plugin` imports it where xarray is imported already, else the
first room does that imports xarray; and so does xarray itself, which loads all engines to choose one for a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, ParamSpec, cast

import xarray as xr
from xarray.backends import BackendEntrypoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hoam_plugin.ensembles import Checkup, Ensemble
else:
    Ensemble = xr.Dataset

NAME = "hoam"
P = ParamSpec("P")


class EnsembleAccessor:
    """Methods of an ensemble; attributes of the Dataset and of its variables come through all of them.

    Example:
        >>> truth.hoam.validate().sizes["run"]
        3
        >>> truth.hoam.to_samples().dims
        ('run', 'time', 'sample', 'component')
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = cast(Ensemble, ds)

    def validate(self) -> Ensemble:
        """The ensemble in its usual order of dims, or an error that says what is wrong; see `ensembles.validate`."""
        from hoam_plugin import ensembles

        return ensembles.validate(self._ds)

    def sel_run(self, **values: object) -> Ensemble:
        """The runs with these parameters, as in `sel_run(mu=1.4)`; `run` stays a dim. See `ensembles.sel_run`."""
        from hoam_plugin import ensembles

        return ensembles.sel_run(self._ds, **values)

    def check(self) -> Checkup:
        """What the ensemble is taken for, what is suspicious in it, and what `fit` will do with it and why.

        Recognised are variables, velocities, periods, parameters (and what was not taken as one), saved times, whether
        samples are trajectories, spreads, and what the precision resolves. Suspicious are, among others, wrapped
        positions without a period, undeclared velocities or ones in other units, several runs without parameters,
        constant or collinear parameters, jumps, outliers, and rates that do not depend on a sample's own variables.
        What is no ensemble gives its `error`.

        Example:
            >>> found = truth.hoam.check()
            >>> found.error, len(found.plan)
            ('', 2)
            >>> print(found)  # doctest: +ELLIPSIS
            ensemble:
              3 runs, 5 times, 64 samples, ...
        """
        from hoam_plugin import training

        return training.check(self._ds)

    def compare(self, other: xr.Dataset | Sequence[xr.Dataset], **options: Any) -> xr.Dataset:
        """Scores of `other` with this ensemble as the truth; options as of `hoam_plugin.compare`."""
        from hoam_plugin import scores

        return scores.compare(self._ds, other, **options)

    def to_samples(self) -> xr.DataArray:
        """All sample variables side by side: dims (run, time, sample, component), in the order of the variables.

        The coordinate `component` names the columns, as in "x" or, of a variable with extra dims, "x_0". Attributes of
        the ensemble are kept.

        Raises:
            ValueError: not a valid ensemble.
        """
        import numpy as np

        from hoam_plugin import ensembles

        ds = ensembles.validate(self._ds)
        columns, names = [], []
        for name in ensembles.variable_names(ds):
            values = ds[name].values
            flat = values.reshape(*values.shape[:3], -1)
            columns.append(flat)
            names += [name] if values.ndim == 3 else [f"{name}_{i}" for i in range(flat.shape[-1])]
        kept = {name: c for name, c in ds.coords.items() if set(c.dims) <= set(ensembles.DIMS)}
        dims = (*ensembles.DIMS, "component")
        samples = np.concatenate(columns, axis=-1)
        return xr.DataArray(samples, {**kept, "component": names}, dims, name="samples", attrs=ds.attrs)

    def pipe(
        self, function: Callable[Concatenate[Ensemble, P], xr.Dataset], *args: P.args, **kwargs: P.kwargs
    ) -> Ensemble:
        """`function(ds, *args, **kwargs)` with the attributes that xarray's operations drop put back.

        `ds.hoam.pipe(lambda ds: ds.mean("sample"))` still has units, periods and the description of its stepper.
        Attributes that the function itself sets stay.

        Raises:
            TypeError: the function does not return a Dataset.
        """
        result = function(self._ds, *args, **kwargs)
        if not isinstance(result, xr.Dataset):
            raise TypeError(f"function={function!r} returned {type(result).__name__}; it must return a Dataset")
        result = result.copy().assign_attrs({**self._ds.attrs, **result.attrs})
        for name in set(result.variables) & set(self._ds.variables):
            result[name].attrs = {**self._ds[name].attrs, **result[name].attrs}
        return cast(Ensemble, result)

    @property
    def plot(self) -> EnsemblePlots:
        """Pictures of the ensemble."""
        return EnsemblePlots(self._ds)


class EnsemblePlots:
    """Pictures of an ensemble, by the functions of `hoam_plugin.plots`.

    Example:
        >>> len(truth.hoam.plot.energy().axes)
        3
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def phase_space(self, prediction: xr.Dataset | Mapping[str, xr.Dataset] | None = None, **options: Any) -> Figure:
        """Density of the samples at several times, above that of `prediction`; see `plots.phase_space`."""
        from hoam_plugin import plots

        return plots.phase_space(self._ds, prediction, **options)

    def energy(self, prediction: xr.Dataset | Mapping[str, xr.Dataset] | None = None, **options: Any) -> Figure:
        """Electric energy over time, with that of `prediction`; see `plots.energy_curves`."""
        from hoam_plugin import plots

        return plots.energy_curves(self._ds, prediction, **options)

    def pair_distribution(
        self,
        prediction: xr.Dataset | Mapping[str, xr.Dataset] | None = None,
        *,
        run: int = 0,
        times: Sequence[float] | None = None,
    ) -> Figure:
        """Pair distribution of configurations at several times; see `plots.pair_distribution`."""
        from hoam_plugin import plots

        return plots.pair_distribution(self._ds, prediction, run=run, times=times)


class EnsembleEngine(BackendEntrypoint):
    """`xr.open_dataset(path, engine="hoam")`: as `ensembles.load(path, lazy=True)`.

    xarray loads it with all other engines, and with it the accessor, so that whatever is read from files has it.

    Example:
        >>> import tempfile
        >>> path = hoam.ensemble.save(truth, tempfile.mkdtemp() + "/truth.zarr")
        >>> xr.open_dataset(path, engine="hoam")["x"].dims
        ('run', 'time', 'sample')
    """

    description: ClassVar[str] = "Open ensembles of hoam-plugin, Zarr folders or netCDF files"
    open_dataset_parameters: ClassVar[tuple[str, ...]] = ("filename_or_obj", "drop_variables")

    def open_dataset(  # type: ignore[override]
        self, filename_or_obj: str | os.PathLike[str], *, drop_variables: str | Iterable[str] | None = None
    ) -> xr.Dataset:
        """The ensemble at a path, its arrays on disk until they are used.

        Raises:
            FileNotFoundError: there is nothing.
            ValueError: what is there is neither Zarr nor netCDF.
            ImportError: netCDF without the extra `netcdf`.
        """
        from hoam_plugin import ensembles

        ds = ensembles.load(filename_or_obj, lazy=True)
        return ds if drop_variables is None else ds.drop_vars(drop_variables, errors="ignore")


def register() -> None:
    """Register the accessor, in place of one of an earlier import of this module."""
    if getattr(getattr(xr.Dataset, NAME, None), "__module__", None) == __name__:
        delattr(xr.Dataset, NAME)
    xr.register_dataset_accessor(NAME)(EnsembleAccessor)


register()

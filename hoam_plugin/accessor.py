"""The xarray accessor `ds.hoam`: what this package does with ensembles, as methods of the Dataset.

It is there once `hoam_plugin` and xarray are imported, in any order; importing this package does not import xarray.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

NAME = "hoam"


class EnsembleAccessor:
    """Methods of an ensemble; attributes of the Dataset and of its variables come through all of them."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def validate(self) -> xr.Dataset:
        """The ensemble in its usual order of dims, or an error that says what is wrong; see `ensembles.validate`."""
        from hoam_plugin import ensembles

        return ensembles.validate(self._ds)

    def sel_run(self, **values: Any) -> xr.Dataset:
        """The runs with these parameters, as in `sel_run(mu=1.4)`; `run` stays a dim. See `ensembles.sel_run`."""
        from hoam_plugin import ensembles

        return ensembles.sel_run(self._ds, **values)

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
        import xarray as xr

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

    def pipe(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> xr.Dataset:
        """`function(ds, *args, **kwargs)` with the attributes that xarray's operations drop put back.

        `ds.hoam.pipe(lambda ds: ds.mean("sample"))` still has units, periods and the description of its stepper.
        Attributes that the function itself sets stay.

        Raises:
            TypeError: the function does not return a Dataset.
        """
        import xarray as xr

        result = function(self._ds, *args, **kwargs)
        if not isinstance(result, xr.Dataset):
            raise TypeError(f"function={function!r} returned {type(result).__name__}; it must return a Dataset")
        result = result.copy().assign_attrs({**self._ds.attrs, **result.attrs})
        for name in set(result.variables) & set(self._ds.variables):
            result[name].attrs = {**self._ds[name].attrs, **result[name].attrs}
        return result

    @property
    def plot(self) -> EnsemblePlots:
        """Pictures of the ensemble."""
        return EnsemblePlots(self._ds)


class EnsemblePlots:
    """Pictures of an ensemble, by the functions of `hoam_plugin.plots`."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def phase_space(self, prediction: Any = None, **options: Any) -> Figure:
        """Density of the samples at several times, above that of `prediction`; see `plots.phase_space`."""
        from hoam_plugin import plots

        return plots.phase_space(self._ds, prediction, **options)

    def energy(self, prediction: Any = None, **options: Any) -> Figure:
        """Electric energy over time, with that of `prediction`; see `plots.energy_curves`."""
        from hoam_plugin import plots

        return plots.energy_curves(self._ds, prediction, **options)


class _AfterImport:
    """A finder of modules that finds xarray where others do, and registers the accessor once it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "xarray":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next((found for finder in others if (found := finder.find_spec(name, path, target))), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: Any) -> None:
                execute(module)
                sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
                register()

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def register_with_xarray() -> None:
    """Register the accessor: now, if xarray is imported, else when it will be."""
    if hasattr(sys.modules.get("xarray"), "register_dataset_accessor"):
        register()
    elif not any(type(finder).__qualname__ == _AfterImport.__qualname__ for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


def register() -> None:
    """Register the accessor in place of one of an earlier import of this module."""
    import xarray as xr

    if getattr(getattr(xr.Dataset, NAME, None), "__module__", None) == __name__:
        delattr(xr.Dataset, NAME)
    xr.register_dataset_accessor(NAME)(EnsembleAccessor)

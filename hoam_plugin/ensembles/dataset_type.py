"""The type of an ensemble: `xarray.Dataset`, and for type checkers one that knows its accessor `ds.hoam`.

To a type checker every attribute of a Dataset is `Any`, accessors among them. What this package returns says what
`ds.hoam` is; xarray's own operations (`isel`, `assign`, ...) keep that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, runtime_checkable

import xarray as xr

from hoam_plugin._types import Scalar
from hoam_plugin.ensembles.checkup import Checkup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    class Ensemble(xr.Dataset):
        """An `xarray.Dataset` in the form that `hoam_plugin.ensemble.validate` checks."""

        @property
        def hoam(self) -> EnsembleMethods:
            """What `hoam_plugin.accessor.EnsembleAccessor` adds to a Dataset."""
            ...
else:
    Ensemble = xr.Dataset

P = ParamSpec("P")


@runtime_checkable
class EnsemblePictures(Protocol):
    """`ds.hoam.plot`; see `hoam_plugin.accessor.EnsemblePlots`."""

    def phase_space(self, prediction: xr.Dataset | None = None, **options: object) -> Figure:
        """Density of the samples at several times, above that of `prediction`."""
        ...

    def energy(self, prediction: xr.Dataset | None = None, **options: object) -> Figure:
        """Electric energy over time, with that of `prediction`."""
        ...

    def pair_distribution(
        self, prediction: xr.Dataset | None = None, *, run: int = 0, times: Sequence[float] | None = None
    ) -> Figure:
        """Pair distribution of configurations at several times, with that of `prediction`."""
        ...


@runtime_checkable
class EnsembleMethods(Protocol):
    """`ds.hoam`; see `hoam_plugin.accessor.EnsembleAccessor`."""

    def validate(self) -> Ensemble:
        """The ensemble in its usual order of dims, or an error that says what is wrong."""
        ...

    def sel_run(self, **values: Scalar) -> Ensemble:
        """The runs with these parameters."""
        ...

    def check(self) -> Checkup:
        """What the ensemble is taken for, what is suspicious in it, and what `fit` will do with it."""
        ...

    def compare(self, other: xr.Dataset | Sequence[xr.Dataset], **options: object) -> xr.Dataset:
        """Scores of `other` with this ensemble as the truth."""
        ...

    def to_samples(self) -> xr.DataArray:
        """All sample variables side by side: dims (run, time, sample, component)."""
        ...

    def pipe(
        self, function: Callable[Concatenate[Ensemble, P], xr.Dataset], *args: P.args, **kwargs: P.kwargs
    ) -> Ensemble:
        """`function(ds, *args, **kwargs)` with the attributes that xarray's operations drop put back."""
        ...

    @property
    def plot(self) -> EnsemblePictures:
        """Pictures of the ensemble."""
        ...

"""Ensembles of x and v as Datasets with the dims (t, x, v) and (t, x) of adept."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._types import Parameters, SampleState
from hoam_plugin.simulators import VlasovPoissonGrid
from hoam_plugin.steppers import default_float

from .grid_states import phase_space_state


def to_adept(ensemble: xr.Dataset, solver: VlasovPoissonGrid | None = None) -> xr.Dataset:
    """An ensemble of x and v as `f(t, x, v)` and `e(t, x)`, with a leading `run` where there are several.

    Args:
        ensemble: with `distribution` and `electric_field`, as `VlasovPoissonGrid(record_distribution=True)` and what
            takes its place record them, or with the samples x and v alone.
        solver: on whose grid samples are deposited, and by whose Poisson equation the field is found, where the
            ensemble has no `distribution`.

    Raises:
        ValueError: neither a recorded distribution nor a solver, or samples without x or v.

    Example:
        >>> from hoam_plugin.adapters import vlasov
        >>> grid = simulators.two_stream(solver="grid", n_x=32, n_v=64)
        >>> dict(vlasov.to_adept(truth, grid).sizes)
        {'run': 3, 't': 5, 'x': 32, 'v': 64}
    """
    ensemble = ensembles.validate(ensemble)
    if "distribution" in ensemble and "electric_field" in ensemble:
        grids = ensemble[["distribution", "electric_field"]].rename(
            {"distribution": "f", "electric_field": "e", "cell": "x", "velocity": "v", "time": "t"}
        )
        arrays = {name: grids[name].transpose("run", "t", "x", ...).values for name in ("f", "e")}
        x, v = grids["x"].values, grids["v"].values
    elif solver is None:
        raise ValueError(
            "solver=None: the ensemble records no `distribution`, so give the VlasovPoissonGrid on whose grid its "
            "samples are to be deposited"
        )
    else:
        arrays = _deposited(ensemble, solver)
        x, v = np.asarray(solver.grid().positions()), np.asarray(solver.grid().velocities())
    columns = {name: ("run", values) for name, values in ensembles.parameters(ensemble).items()}
    ds = xr.Dataset(
        {
            "f": (("run", "t", "x", "v"), arrays["f"], {"units": "1", "long_name": "phase-space density"}),
            "e": (("run", "t", "x"), arrays["e"], {"units": "1", "long_name": "electric field"}),
        },
        {"t": ensemble["time"].values, "x": x, "v": v, **columns},
        ensembles.creation_attributes(),
    )
    return ds.isel(run=0) if ds.sizes["run"] == 1 else ds


def _deposited(ensemble: xr.Dataset, solver: VlasovPoissonGrid) -> dict[str, np.ndarray]:
    """Distribution f and field on the solver's grid, of all runs and times."""
    names = ensembles.variable_names(ensemble)
    if not {"x", "v"} <= set(names):
        raise ValueError(f"the ensemble has the variables {names!r}; a distribution needs x and v")

    @jax.jit
    def on_grid(state: SampleState, row: Parameters) -> tuple[jax.Array, jax.Array]:
        cache = solver.refresh(state, row).aux
        return cache.distributions[0], cache.electric_field

    densities, fields = [], []
    for run in range(ensemble.sizes["run"]):
        row = {name: jnp.asarray(value, default_float()) for name, value in ensembles.parameters(ensemble, run).items()}
        for time in range(ensemble.sizes["time"]):
            here = ensemble.isel(run=run, time=time)
            x, v = (jnp.asarray(here[name].values, default_float()) for name in ("x", "v"))
            f, e = on_grid(phase_space_state(jnp.zeros((), x.dtype), x, v, {}), row)
            densities.append(np.asarray(f))
            fields.append(np.asarray(e))
    shape = (ensemble.sizes["run"], ensemble.sizes["time"])
    return {"f": np.stack(densities).reshape(*shape, *densities[0].shape), "e": np.stack(fields).reshape(*shape, -1)}

"""What a grid code saved, with the dims (t, x, v) and (t, x) of adept, as an ensemble to train on."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import parameter_table, random_key
from hoam_plugin._types import Key, Numbers
from hoam_plugin.ensembles import is_label
from hoam_plugin.simulators import phase_space_variables
from hoam_plugin.steppers import Variable

from .draws import Start, draw, spacing


def from_adept(
    ds: xr.Dataset,
    *,
    key: Key,
    n_samples: int,
    parameters: Mapping[str, Numbers] | None = None,
    f: str = "f",
    e: str | None = "e",
    start: Start = "quiet",
) -> xr.Dataset:
    """What a grid code saved as an ensemble of particles: samples x and v of f(t, x, v) at every saved time.

    The samples of different times are no trajectories; losses of marginals, such as `ActionMatching` and `DICE`, need
    none. Distribution and field ride along as the diagnostics `distribution` and `electric_field`.

    Args:
        ds: with f of dims (t, x, v) or (run, t, x, v), and e of dims (t, x) or (run, t, x). The velocity's dim may have
            any name that begins with v, such as adept's `v_electron`.
        key: JAX random key.
        n_samples: samples per run and time.
        parameters: name to one value per run; by default the coordinates along `run`, or scalar ones, without
            bookkeeping such as `seed`.
        f: name of the distribution.
        e: name of the field along x; None for none.
        start: as in `draw`.

    Raises:
        ValueError: missing variables or dims, uneven nodes, times that do not increase, or parameters that do not fit
            the runs.

    Example:
        >>> from hoam_plugin.adapters import vlasov
        >>> grid = simulators.two_stream(solver="grid", n_x=32, n_v=64)
        >>> ds = vlasov.from_adept(vlasov.to_adept(truth, grid), key=key, n_samples=32)
        >>> ds["x"].sizes["sample"]
        32
    """
    for name in filter(None, (f, e)):
        if name not in ds:
            raise ValueError(f"ds lacks {name!r}: it has {list(ds.data_vars)!r}; name it by f= or e=")
    velocity = [str(dim) for dim in ds[f].dims if str(dim).startswith("v")]
    if len(velocity) != 1 or {*ds[f].dims} - {"run"} != {"t", "x", velocity[0]}:
        raise ValueError(
            f"{f!r} has the dims {ds[f].dims!r}; it must have (t, x, v), and run in front for several runs"
        )
    runs = ds if "run" in ds[f].dims else ds.expand_dims("run")
    table, key = _run_parameters(runs, parameters), random_key(key)
    density = ensembles.native(runs[f].transpose("run", "t", "x", velocity[0]).values)
    if not np.isfinite(density).all():
        raise ValueError(f"{f!r} holds non-finite values; a density must be finite everywhere")
    x, v = runs["x"].values, runs[velocity[0]].values
    length = spacing("x", x) * len(x)
    # The same points at all times: then what differs between them is the density.
    draw_all = jax.jit(jax.vmap(lambda key, own: draw(key, own, x, v, n_samples, start), in_axes=(None, 0)))
    # Of the order of one, so that single precision holds densities in any units.
    unit = float(np.abs(density).max()) or 1.0
    keys = jax.random.split(key, len(density))
    drawn = [draw_all(run_key, own / unit) for run_key, own in zip(keys, density, strict=True)]
    samples = {name: np.stack([np.asarray(one[name]) for one in drawn]) for name in ("x", "v")}
    described = [Variable("distribution", dims=("cell", "velocity"), long_name="phase-space density")]
    recorded = {"distribution": density}
    if e is not None:
        field = ensembles.native(runs[e].transpose("run", "t", "x").values)
        described.append(Variable("electric_field", dims=("cell",), long_name="electric field at the nodes"))
        recorded["electric_field"] = field
        if "mu" in table:
            energy = table["mu"][:, None] ** 4 / 2 * np.mean(field.astype(np.float64) ** 2, axis=-1)
            described.append(Variable("electric_energy", long_name="mu^2 times the field energy"))
            recorded["electric_energy"] = energy
    bounds = (float(v[0]), float(v[-1]))
    frame = ensembles.frame(runs["t"].values, table, coordinates={"cell": x, "velocity": v}, n_runs=len(density))
    return ensembles.build(
        frame, phase_space_variables(length, bounds, float(np.ptp(v)) / 6), samples, described, recorded
    )


def _run_parameters(runs: xr.Dataset, given: Mapping[str, Numbers] | None) -> dict[str, np.ndarray]:
    """Columns of the parameters: given, or the numeric coordinates along `run` or of no dim."""
    n_runs = runs.sizes["run"]
    if given is None:
        found = {
            str(name): np.broadcast_to(np.asarray(coord.values, np.float64), (n_runs,))
            for name, coord in runs.coords.items()
            if name != "run" and coord.dims in ((), ("run",)) and coord.dtype.kind in "fiub" and not is_label(coord)
        }
        given = found
    table = parameter_table(given, list(given))
    for name, column in table.items():
        if len(column) not in (1, n_runs):
            raise ValueError(
                f"parameters[{name!r}] has {len(column)} values, but ds has {n_runs} runs; give one for each"
            )
    return {name: np.broadcast_to(column, (n_runs,)) for name, column in table.items()}

"""Runs of different times and numbers of samples as one ensemble: what `fit` makes of a tree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin.ensembles.dataset_type import Ensemble
from hoam_plugin.ensembles.identity import are_trajectories
from hoam_plugin.ensembles.names import SAMPLING, SNAPSHOTS, TRAJECTORIES, recorded_names
from hoam_plugin.ensembles.schema import variables
from hoam_plugin.ensembles.trees import nodes_of, require_alike
from hoam_plugin.ensembles.validation import validate
from hoam_plugin.numerics import periodic, tolerances


class Common(NamedTuple):
    """What has become of a tree.

    Attributes:
        ensemble: all runs at the same times, with the same number of samples.
        said: what was done to them, in a sentence.
    """

    ensemble: Ensemble
    said: str


def with_common_times(runs: xr.DataTree) -> Common:
    """All runs of a tree at the saved times of the one that has the fewest in the range that all of them have.

    Times of other runs that are the same but for round-off are taken as they are. Between two times of a run,
    trajectories are interpolated linearly, the short way around in periodic variables; of independent samples a share
    of each of the two times is taken, so that all means are interpolated linearly. Of a run with more samples than the
    smallest, as many are drawn.

    Raises:
        ValueError: no common range with two times, or nodes with other variables or parameters.
    """
    nodes = {name: validate(ds) for name, ds in nodes_of(runs).items()}
    require_alike(nodes)
    first = max(float(ds["time"][0]) for ds in nodes.values())
    last = min(float(ds["time"][-1]) for ds in nodes.values())
    times = _grid(nodes, first, last)
    n_samples = min(ds.sizes["sample"] for ds in nodes.values())
    # The same drawing whenever it is done.
    rng = np.random.default_rng(0)
    parts, counts = [], []
    for ds in nodes.values():
        part, count = _at(_drawn(ds, n_samples, rng), times, rng)
        parts.append(part)
        counts.append(count)
    common = xr.concat(parts, "run", coords="minimal", compat="override", combine_attrs="override", join="override")
    kinds = {part.attrs.get(SAMPLING) for part in parts}
    if kinds == {TRAJECTORIES}:
        common.attrs[SAMPLING] = TRAJECTORIES
    elif SNAPSHOTS in kinds or len(kinds) > 1:
        common.attrs[SAMPLING] = SNAPSHOTS
    n_runs = sum(ds.sizes["run"] for ds in nodes.values())
    said = (
        f"{n_runs} runs of different times are taken at {len(times)} common ones, from {first:g} to {last:g}, with "
        f"{n_samples} samples each; {sum(counts)} of {n_runs * len(times)} populations lie between two saved times and "
        "are interpolated"
    )
    return Common(validate(common), said)


def one_of_tree(runs: xr.Dataset | xr.DataTree) -> tuple[xr.Dataset, str]:
    """The ensemble, of a tree at common times, and what was done to it; errors as of `with_common_times`."""
    return (runs, "") if isinstance(runs, xr.Dataset) else with_common_times(runs)


def _grid(nodes: dict[str, Ensemble], first: float, last: float) -> Float[np.ndarray, " T"]:
    grids = {}
    for name, ds in nodes.items():
        times = ds["time"].values.astype(np.float64)
        margin = tolerances.tolerance(times) if len(times) > 1 else 0.0
        grids[name] = times[(times >= first - margin) & (times <= last + margin)]
    name, times = min(grids.items(), key=lambda pair: len(pair[1]))
    if len(times) < 2:
        raise ValueError(
            f"the runs have the times from {first:g} to {last:g} in common, where {name} has {len(times)} saved times; "
            "there must be two or more, so leave runs out that are too short or saved too rarely"
        )
    return times


def _drawn(ds: Ensemble, n_samples: int, rng: np.random.Generator) -> xr.Dataset:
    """The samples alone, so many of them, in their order; without diagnostics, which have other times."""
    ds = ds[recorded_names(ds)]
    ds = ds.drop_vars([name for name, c in ds.coords.items() if "sample" in c.dims])
    if "run" in ds.coords:
        ds = ds.drop_vars("run")
    if ds.sizes["sample"] == n_samples:
        return ds
    return ds.isel(sample=np.sort(rng.permutation(ds.sizes["sample"])[:n_samples]))


def _at(ds: xr.Dataset, times: Float[np.ndarray, " T"], rng: np.random.Generator) -> tuple[xr.Dataset, int]:
    """The ensemble at other times, and how many populations had to be interpolated."""
    own = ds["time"].values.astype(np.float64)
    margin = tolerances.tolerance(own)
    before = np.clip(np.searchsorted(own, times, side="right") - 1, 0, len(own) - 2)
    share = np.clip((times - own[before]) / (own[before + 1] - own[before]), 0.0, 1.0)
    near = np.abs(own[:, None] - times[None]).min(axis=0) <= margin
    share = np.where(near, np.round(share), share)
    followed = are_trajectories(ds)
    periods = {v.name: v.period for v in variables(ds)}
    data = {}
    # The same rows of all variables come from the later time.
    later = rng.random((ds.sizes["run"], len(times), ds.sizes["sample"])).argsort(axis=-1).argsort(axis=-1)
    from_later = later < np.round(share[None, :, None] * ds.sizes["sample"])
    for name in map(str, ds.data_vars):
        values = ds[name].transpose("run", "time", "sample", ...).values
        one, two = values[:, before], values[:, before + 1]
        if followed:
            step = two - one
            period = periods.get(name)
            step = step if period is None else periodic.nearest_image_on_host(step, np.asarray(period, step.dtype))
            mixed = one + share.reshape(1, -1, *(1,) * (values.ndim - 2)).astype(values.dtype) * step
        else:
            mixed = np.where(from_later.reshape(*from_later.shape, *(1,) * (values.ndim - 3)), two, one)
        data[name] = (ds[name].transpose("run", "time", "sample", ...).dims, mixed, ds[name].attrs)
    n_interpolated = ds.sizes["run"] * int((~near).sum())
    changed = ds.drop_dims("time").assign_coords(time=("time", times, ds["time"].attrs))
    changed = changed.assign(data)
    if n_interpolated and not followed:
        changed.attrs[SAMPLING] = SNAPSHOTS
    return changed, n_interpolated

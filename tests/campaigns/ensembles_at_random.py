"""Ensembles of all sorts, made by hypothesis, given to all that takes one.

    python tests/campaigns/ensembles_at_random.py files 10000 0

gives 10000 of them, with the seed 0 (and for so many seconds at most, where a fourth word says so), to `validate`,
`check`, `save`, `load` and, but for those of thousands of runs, `compare`; three in ten are written by xarray. `fits`
learns from them, with a tiny network and two iterations, and simulates, compares, saves and loads what was learned.
Each one must be accepted and right, or refused by this package in a sentence; a dependency's error, a warning of one,
and an answer that is not right are a fall. Prints what happened as JSON; falls with an example each.
"""

from __future__ import annotations

import collections
import faulthandler
import functools
import json
import math
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import hypothesis
import numpy as np
import random_ensembles
import xarray as xr
from verdicts import FallError, Refused, attempted, require, require_same, same_values, snapshot

import hoam_plugin as hoam
from hoam_plugin import ensembles

SECONDS = 60
MOST_COMPARED_RUNS = 10


def validated(given: Any) -> Any:
    """Through `validate` and `check`: what was given, in the order of dims, and the same again."""
    before = snapshot(given) if isinstance(given, xr.Dataset) else {}
    ds = attempted("validate", lambda: hoam.ensemble.validate(given))
    if isinstance(given, xr.Dataset):
        for name, (values, attributes) in before.items():
            own = given.variables[name]
            require(same_values(own.values, values) and own.attrs == attributes, f"validate: changed {name!r} itself")
        checkup = attempted("check", lambda: given.hoam.check())
        require(not isinstance(checkup, Refused), f"check: raises {checkup}")
        attempted("check, as a document", lambda: json.dumps(checkup.as_document()) and str(checkup))
        require(checkup.error == (ds.said if isinstance(ds, Refused) else ""), f"check: says {checkup.error!r}")
    if isinstance(ds, Refused):
        return ds
    for name in hoam.ensemble.variable_names(ds):
        array = ds[name]
        require(array.dims[:3] == hoam.ensemble.DIMS, f"validate: dims {array.dims}")
        require(array.dtype.isnative and array.dtype.kind == "f", f"validate: dtype {array.dtype}")
        require(bool(np.isfinite(array.values).all()), f"validate: non-finite {name!r}")
        require(same_values(array.values, given[name].transpose(*array.dims).values), f"validate: values of {name!r}")
    for name, column in hoam.ensemble.parameters(ds).items():
        require(column.dtype == np.float64 and np.isfinite(column).all(), f"validate: parameter {name!r}")
        require(column.shape == (ds.sizes["run"],), f"validate: parameter {name!r}")
    require(bool((np.diff(ds["time"].values.astype(float)) > 0).all()), "validate: times")
    _require_runs_found(ds)
    again = attempted("validate again", lambda: hoam.ensemble.validate(ds))
    require(isinstance(again, xr.Dataset), f"validate again: {again}")
    require_same(again, ds, "validate again")
    return ds


def _require_runs_found(ds: xr.Dataset) -> None:
    """Each run by its own parameters, with those that share them."""
    columns = hoam.ensemble.parameters(ds)
    own = attempted("sel_run", lambda: hoam.ensemble.sel_run(ds, **hoam.ensemble.parameters(ds, 0)))
    require(isinstance(own, xr.Dataset), f"sel_run: {own}")
    same = np.all([column == column[0] for column in columns.values()] or [np.ones(ds.sizes["run"], bool)], axis=0)
    require(own.sizes["run"] >= same.sum(), f"sel_run: {own.sizes['run']} runs for {same.sum()}")
    for name, column in hoam.ensemble.parameters(own).items():
        # Some units in the last place of single precision count as the same.
        require(np.allclose(column, columns[name][0], rtol=1e-5, atol=0), f"sel_run: {name!r} of {column}")


def stored(ds: xr.Dataset, path: Path) -> Any:
    """Through `save` and `load`."""
    saved = attempted("save", lambda: hoam.ensemble.save(ds, path))
    if isinstance(saved, Refused):
        require(not [*path.parent.iterdir()], "save: left something")
        return saved
    back = attempted("load", lambda: hoam.ensemble.load(path))
    require(not isinstance(back, Refused), f"load: {back}")
    # A file has no index of several levels, whose tuples are no values.
    levels = [dim for dim in ds.dims if dim in ds.indexes and ds.indexes[dim].nlevels > 1]
    expected = ds.reset_index(levels)
    require_same(back, expected, f"load {path.suffix}")
    require(
        hoam.ensemble.parameter_names(back) == hoam.ensemble.parameter_names(expected),
        f"load {path.suffix}: parameters",
    )
    return back


def read_from_others(ds: xr.Dataset, path: Path) -> None:
    """What xarray writes of it, with its encoding, where it does, through `load`: as xarray reads it, or refused."""
    netcdf = path.suffix == ".nc"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if netcdf:
                ds.to_netcdf(path, engine="netcdf4")
            else:
                ds.to_zarr(path, consolidated=False)
    except Exception:
        return

    def load() -> xr.Dataset:
        with warnings.catch_warnings():
            # Of attributes that do not fit; they are the file's.
            warnings.simplefilter("ignore", xr.SerializationWarning)
            return hoam.ensemble.load(path)

    found = attempted("load of another's file", load)
    if isinstance(found, Refused):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {} if netcdf else {"consolidated": False}
        with xr.open_dataset(path, engine="netcdf4" if netcdf else "zarr", decode_times=False, **options) as own:
            for name in [*hoam.ensemble.variable_names(found), *hoam.ensemble.parameter_names(found), "time"]:
                values = own[name].transpose(*found[name].dims).values
                require(same_values(found[name].values, values), f"load of another's file: values of {name!r}")


def compared(truth: xr.Dataset, other: xr.Dataset, *, same: bool) -> Any:
    """Through `compare`: scores that are numbers, 0 for the same samples in another order; else notes say why not."""
    scores = attempted("compare", lambda: hoam.compare(truth, other))
    if isinstance(scores, Refused):
        return scores
    own = scores.sel(reference="surrogate")
    for name, values in own.data_vars.items():
        noted = "surrogate_note" in scores[name].attrs
        require(noted or bool(np.isfinite(values.values).all()), f"compare: {name} is {values.values}")
        require(
            not same or noted or bool((np.abs(values.values) <= 1e-3).all()),
            f"compare: {name} of the same {values.values}",
        )
        require(bool((values.values >= 0).all()) or noted, f"compare: {name} is {values.values}")
    return scores


def through_files(given: random_ensembles.Given, folder: Path) -> str:
    """To `validate` and `check`, then to `save`, `load` and `compare`, or to `load` as xarray writes it."""
    ds = validated(given.ensemble)
    if given.by_xarray and isinstance(given.ensemble, xr.Dataset):
        read_from_others(given.ensemble, folder / f"another{given.suffix}")
    if isinstance(ds, Refused):
        return "refused by validate"
    if given.by_xarray:
        return "accepted"
    back = stored(ds, folder / f"own{given.suffix}")
    if ds.sizes["run"] <= MOST_COMPARED_RUNS:
        compared(ds, ds.isel(sample=slice(None, None, -1)), same=True)
    return "refused by save" if isinstance(back, Refused) else "accepted"


def through_fit(given: random_ensembles.Given, folder: Path) -> str:
    """To `fit`, and what it gives through `save`, `load`, `simulate` and `compare`."""
    ds = given.ensemble
    if not isinstance(ds, xr.Dataset | xr.DataTree):
        return "no ensemble"
    model = attempted("fit", lambda: hoam.fit(ds, progress=False, **_tiny_options()))
    if isinstance(model, Refused):
        return "refused by fit"
    if isinstance(ds, xr.DataTree):
        ds, _ = ensembles.one_of_tree(ds)
    ds = hoam.ensemble.validate(ds)
    path = attempted("model.save", lambda: model.save(folder / "m.hoam"))
    back = attempted("load", lambda: hoam.load(path))
    require(not isinstance(back, Refused), f"load: {path} {back}")
    leaves, again = (list(map(np.asarray, _leaves(m.learned))) for m in (model, back))
    require(len(leaves) == len(again) and all(map(same_values, leaves, again)), "load: another model")
    require(all(np.isfinite(leaf).all() for leaf in leaves), "fit: weights are not finite")
    options = {"key": _key(), "n_samples": ds.sizes["sample"], "initial": ds, "progress": False}
    out = attempted(
        "simulate",
        lambda: hoam.simulate(back, hoam.ensemble.parameters(ds), ds["time"].values.astype(float), **options),
    )
    if isinstance(out, Refused):
        return "refused by simulate"
    for name in hoam.ensemble.variable_names(ds):
        require(out[name].shape == ds[name].shape, f"simulate: shape {out[name].shape} for {ds[name].shape}")
        require(bool(np.isfinite(out[name].values).all()), f"simulate: {name!r} is not finite")
    scores = compared(ds, out, same=False)
    return "refused by compare" if isinstance(scores, Refused) else "accepted"


def _leaves(model: Any) -> list[Any]:
    import jax

    return jax.tree.leaves(model)


@functools.cache
def _key() -> Any:
    import jax

    return jax.random.key(0)


@functools.cache
def _tiny_options() -> dict[str, Any]:
    return {
        "key": _key(),
        "potential": hoam.MLP(width=4, depth=2),
        "loss": hoam.ActionMatching(epsilon=0.0),
        "training": hoam.Training(iterations=2, n_samples=16, block=1, held_out=0, feedback=False),
        "clock": "physical",
    }


@contextmanager
def no_longer_than(seconds: int) -> Iterator[None]:
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def shown(given: random_ensembles.Given) -> str:
    """An ensemble and what is odd about it; xarray cannot show some names."""
    try:
        return f"{given.oddities} {given.ensemble!r}"
    except TypeError:
        return f"{given.oddities} {[(n, v.dims, v.values) for n, v in given.ensemble.variables.items()]}"


KINDS = {"files": (through_files, False), "fits": (through_fit, True)}


def campaign(kind: str, n: int, seed: int, budget: float = math.inf) -> dict[str, Any]:
    """Give n ensembles away, or as many as so many seconds allow, and count what came of them."""
    through, mild = KINDS[kind]
    counts, odd, falls = collections.Counter[str](), collections.Counter[str](), dict[str, dict[str, Any]]()
    distinct, end = set[str](), time.monotonic() + budget
    dask.config.set(scheduler="synchronous")

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=n,
        database=None,
        deadline=None,
        derandomize=False,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=[*hypothesis.HealthCheck],
    )
    @hypothesis.given(random_ensembles.ensembles(mild=mild))
    def attack(given: random_ensembles.Given) -> None:
        if time.monotonic() > end:
            counts["left out"] += 1
            return
        odd.update(given.oddities)
        distinct.add(shown(given))
        with tempfile.TemporaryDirectory() as folder, no_longer_than(SECONDS):
            try:
                counts[through(given, Path(folder))] += 1
            except FallError as fall:
                counts["fallen"] += 1
                # As often as one cause has it, by what was said without its numbers.
                found = falls.setdefault(str(fall), {"times": 0, "oddities": given.oddities, "ensemble": shown(given)})
                found["times"] += 1
                cause = fall.__cause__
                if cause is not None:
                    found["raised in"] = [
                        f"{f.filename}:{f.lineno}" for f in traceback.extract_tb(cause.__traceback__)[-4:]
                    ]

    attack()
    return {"kind": kind, "n": n, "seed": seed, "distinct": len(distinct), **counts, "oddities": odd, "falls": falls}


if __name__ == "__main__":
    print(json.dumps(campaign(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), *map(float, sys.argv[4:]))))

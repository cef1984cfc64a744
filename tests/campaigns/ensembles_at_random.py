"""Ensembles of all sorts, made by hypothesis, given to all that takes one.

    python tests/campaigns/ensembles_at_random.py files 10000 0

gives 10000 of them, with the seed 0 (and for so many seconds at most, where a fourth word says so), to `validate`,
`check`, `save` and `load` and, but for those of thousands of runs, to `compare`. `fits` learns from them, with a tiny
network and two iterations, and simulates, compares, saves and loads what was learned. Each one must be accepted and
right, or refused by this package in a sentence; a dependency's error, a warning of one, and an answer that is not right
are a fall. Prints what happened as JSON; falls with an example each.
"""

from __future__ import annotations

import ast
import collections
import dataclasses
import faulthandler
import functools
import json
import linecache
import math
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import random_ensembles
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import ensembles

SECONDS = 60
LONGEST = 1000
PACKAGE = str(Path(hoam.__file__).parent)
MOST_COMPARED_RUNS = 10
# What xarray takes for part of the encoding of a file, and what a Zarr folder keeps the order of variables in.
KEPT_ELSEWHERE = ("_FillValue", "missing_value", "variable_order")


class FallError(Exception):
    """What must not happen."""


@dataclasses.dataclass(frozen=True)
class Refused:
    """What this package said in place of an answer."""

    said: str


def came_from_us(error: BaseException) -> bool:
    """Whether a `raise` of this package raised it: no dependency, nor NumPy's compiled code in a line of ours."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return frame.filename.startswith(PACKAGE) and any(
        first <= (frame.lineno or 0) <= last for first, last in _raises(frame.filename)
    )


@functools.cache
def _raises(filename: str) -> list[tuple[int, int]]:
    """First and last lines of what raises."""
    tree = ast.parse("".join(linecache.getlines(filename)))
    return [(node.lineno, node.end_lineno or node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Raise)]


def attempted(what: str, work: Callable[[], Any]) -> Any:
    """What it gives, or how it was refused; else a `FallError`."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = work()
    except (ValueError, TypeError) as error:
        said = str(error)
        if not came_from_us(error):
            raise FallError(f"{what}: not ours: {type(error).__name__}: {said[:200]!r}") from error
        if not said or "\n" in said or len(said) > LONGEST:
            raise FallError(f"{what}: no sentence: {said[:300]!r}") from error
        return Refused(said)
    except Exception as error:
        raise FallError(f"{what}: {type(error).__name__}: {str(error)[:200]!r}") from error
    for warning in caught:
        if not issubclass(warning.category, UserWarning) or not str(warning.message).isprintable():
            place = f"{warning.filename.removeprefix(PACKAGE)}:{warning.lineno}"
            raise FallError(f"{what}: {warning.category.__name__}: {str(warning.message)[:200]!r} at {place}")
        if "site-packages" in warning.filename and not _is_ours(str(warning.message)):
            raise FallError(f"{what}: a dependency warns: {str(warning.message)[:200]!r}")
    return found


def _is_ours(message: str) -> bool:
    return any(word in message for word in ("variable ", "the ensemble", "parameter", "run"))


def require(right: object, what: str) -> None:
    if not right:
        raise FallError(what)


def same_values(one: Any, other: Any) -> bool:
    """Whether two arrays hold the same, to the bit for numbers."""
    one, other = np.asarray(one), np.asarray(other)
    if one.shape != other.shape:
        return False
    if one.dtype.kind in "fc" and other.dtype.kind in "fc":
        return np.array_equal(one, other, equal_nan=True)
    if one.dtype.kind in "Mm" and other.dtype.kind in "Mm":
        return np.array_equal(one, other, equal_nan=True)
    texts = lambda a: [v.decode() if isinstance(v, bytes) else v for v in a.astype(object).ravel().tolist()]  # noqa: E731
    return all(a is b or a == b or (a != a and b != b) for a, b in zip(texts(one), texts(other), strict=True))


def kind_of(array: xr.Variable) -> tuple[str, int]:
    """Kind and width of numbers; texts are all alike."""
    kind = array.dtype.kind
    return ("text", 0) if kind in "OUST" else (kind, 0 if kind in "Mm" else array.dtype.itemsize)


def plain_value(value: Any) -> Any:
    """An attribute as JSON and netCDF both keep it: arrays and lists of one element are it."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    flat = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(flat, list | tuple):
        plain = [plain_value(v) for v in flat]
        return plain[0] if len(plain) == 1 else plain
    if isinstance(flat, range):
        return list(flat)
    if isinstance(flat, bool):
        return int(flat)
    return flat if not isinstance(flat, float) or flat == flat else "nan"


def require_same(found: xr.Dataset, given: xr.Dataset, what: str) -> None:
    """The same variables with the same dims, numbers and attributes."""
    require(
        [*found.data_vars] == [*given.data_vars], f"{what}: variables {[*found.data_vars]} for {[*given.data_vars]}"
    )
    require({*found.coords} == {*given.coords}, f"{what}: coordinates {[*found.coords]} for {[*given.coords]}")
    require(dict(found.sizes) == dict(given.sizes), f"{what}: sizes {dict(found.sizes)} for {dict(given.sizes)}")
    for name, variable in given.variables.items():
        own = found.variables[name]
        require(own.dims == variable.dims, f"{what}: dims of {name!r} {own.dims} for {variable.dims}")
        require(kind_of(own) == kind_of(variable), f"{what}: dtype of {name!r} {own.dtype} for {variable.dtype}")
        require(same_values(own.values, variable.values), f"{what}: values of {name!r}")
        require(
            _same_attributes(own.attrs, variable.attrs),
            f"{what}: attributes of {name!r} {own.attrs} for {variable.attrs}",
        )
    require(_same_attributes(found.attrs, given.attrs), f"{what}: attributes {found.attrs} for {given.attrs}")


def _same_attributes(found: Mapping[Any, Any], given: Mapping[Any, Any]) -> bool:
    return {k: plain_value(v) for k, v in found.items()} == {
        k: plain_value(v) for k, v in given.items() if v is not None
    }


def snapshot(ds: xr.Dataset) -> dict[Hashable, tuple[np.ndarray, dict[Any, Any]]]:
    """What its variables hold now."""
    return {name: (np.array(v.values), dict(v.attrs)) for name, v in ds.variables.items()}


# The stations


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
    again = attempted("validate again", lambda: hoam.ensemble.validate(ds))
    require(isinstance(again, xr.Dataset), f"validate again: {again}")
    require_same(again, ds, "validate again")
    return ds


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
    """To `validate`, `check`, `save`, `load` and `compare`."""
    ds = validated(given.ensemble)
    if isinstance(ds, Refused):
        return "refused by validate"
    back = stored(ds, folder / f"e{given.suffix}")
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


KINDS = {"files": (through_files, False), "fits": (through_fit, True)}


def campaign(kind: str, n: int, seed: int, budget: float = math.inf) -> dict[str, Any]:
    """Give n ensembles away, or as many as so many seconds allow, and count what came of them."""
    through, mild = KINDS[kind]
    counts, odd, falls = collections.Counter[str](), collections.Counter[str](), dict[str, dict[str, Any]]()
    distinct, end = set[str](), time.monotonic() + budget

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
        distinct.add(repr(given))
        with tempfile.TemporaryDirectory() as folder, no_longer_than(SECONDS):
            try:
                counts[through(given, Path(folder))] += 1
            except FallError as fall:
                counts["fallen"] += 1
                # As often as one cause has it, by what was said without its numbers.
                found = falls.setdefault(
                    str(fall), {"times": 0, "oddities": given.oddities, "ensemble": repr(given.ensemble)}
                )
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

"""Ensembles as users of other codes have them, by hypothesis: plain ones, to which up to four odd things happen."""

from __future__ import annotations

import dataclasses
import datetime
import warnings
from collections.abc import Callable, Hashable
from random import Random
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from hypothesis import strategies as st

DIMS = ("run", "time", "sample")
Change = Callable[[xr.Dataset, Random], Any]


@dataclasses.dataclass(frozen=True)
class Given:
    """What is handed in, what is odd about it, the format of its file, and whether xarray writes that or `save`."""

    ensemble: Any
    oddities: tuple[str, ...]
    suffix: str
    by_xarray: bool


# Of all kinds of things; those that are shared by many oddities.
IDENTIFIERS = ["x", "v", "q", "theta", "_x", "X1", "é", "ξ", "位置", "step", "init", "solve", "samples", "weights"]
RESERVED = [
    "aux", "remainder", "key", "dt", "self", "seed", "member", "reference", "loss", "electric_energy", "n_samples",
]  # fmt: skip
UNUSUAL = [
    "", " ", "x y", "a/b", "../x", ".", "lambda", "None", "1x", "ﬁ", "e\u0301", "x\n", "x" * 300, "\ud800", "a.b",
]  # fmt: skip
NO_TEXTS = [0, 1.5, None, ("a", "b"), True]
NAMES = [*IDENTIFIERS, *RESERVED, *UNUSUAL, *NO_TEXTS]
FLOATS = ["f2", "f4", "f8", ">f2", ">f4", ">f8", "<f8"]
NO_FLOATS = ["i1", "i4", ">i8", "u1", "u8", "?", "c8", ">c16", "O", "U8", "S8", "M8[ns]", "M8[s]", "m8[ns]", "g", "T"]
DTYPES = [*FLOATS, *NO_FLOATS]
SCALES = [1e-30, 1e-24, 1e-12, 1e-5, 1.0, 1e3, 1e10, 1e20, 1e30]
OFFSETS = [0.0, 1.0, -1e3, 1e5, -1e7, 1e12]
NUMBERS = [np.nan, np.inf, -np.inf, -0.0, 5e-324, 1e-40, 3.4028235e38, 1.7976931348623157e308]
FILLS = [-9999.0, 999.0, 1e20, -1e30, 9.969209968386869e36, -32767.0, 1e34]
VALUES = [
    None, True, False, np.True_, 0, -1, 3, 2**40, 2**80, 0.0, 2.5, -1.0, float("nan"), float("inf"), 1 + 2j,
    np.float16(1.5), np.float32(2.5), np.int8(3), np.uint64(2**63), np.longdouble(1.5), np.complex64(1j), "", "1",
    "m/s", "x", "v", "none", "é ξ", "days since 2000-01-01", "seconds", "a" * 5000, "\x00", "\ud800", b"m", b"\xff",
    [], (), [1.0], [1.0, 2.0], (1, 2), ["a", "b"], ["a", 1], [[1, 2], [3, 4]], [None], {}, {"a": 1}, {1, 2}, range(3),
    np.array(2.5), np.array([8.0]), np.array([1.0, 2.0]), np.zeros((2, 2)), np.array(["a", "b"]),
    np.array([None, "a"]), np.array([], np.float32), np.array([True, False]), np.array([1j]),
    np.array(["2000"], "M8[s]"), np.datetime64("2000"), np.timedelta64(1, "s"), datetime.datetime(2000, 1, 1),
    datetime.timedelta(1), slice(3), Ellipsis, int, len, object(),
]  # fmt: skip
KEYS = [
    "units", "long_name", "period", "scale", "bounds_low", "bounds_high", "velocity_of", "rate_of", "role",
    "sampling", "stepper", "seed", "_FillValue", "missing_value", "scale_factor", "add_offset", "dtype", "calendar",
    "coordinates", "grid_mapping", "_ARRAY_DIMENSIONS", "_Unsigned", "_Encoding", "name", "dims", "CLASS", "NAME",
    "DIMENSION_LIST", "_Netcdf4Dimid", "_NCProperties", "valid_range", "variable_order", "note", "é", "a/b", "",
    "a b", 0, None, ("a",),
]  # fmt: skip


def numbers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def replaced(ds: xr.Dataset, name: Hashable, values: Any, dims: Any = None) -> xr.Dataset:
    """The Dataset with other numbers under a name, the attributes kept."""
    old = ds.variables[name]
    new = xr.Variable(old.dims if dims is None else dims, values, old.attrs, old.encoding)
    return ds.assign_coords({name: new}) if name in ds.coords else ds.assign({name: new})


def of_samples(ds: xr.Dataset, rng: Random) -> Hashable:
    """The name of a variable that has samples, else of any."""
    names = [n for n in ds.data_vars if set(DIMS) <= set(ds[n].dims)] or list(ds.variables)
    return rng.choice(names)


def of_any(ds: xr.Dataset, rng: Random) -> Hashable:
    return rng.choice(list(ds.variables))


def cast(values: np.ndarray, dtype: str) -> np.ndarray:
    """The values in any dtype, as far as they can be."""
    with np.errstate(all="ignore"):
        if dtype == "T":
            return values.astype("U8").astype(np.dtypes.StringDType())
        if dtype[0] in "Mm":
            return (np.nan_to_num(values.astype(float)) * 10).astype("i8").astype(dtype)
        if values.dtype.kind == "c" and dtype not in ("c8", ">c16", "O", "U8", "S8"):
            values = values.real
        return values.astype(dtype)


# Odd things.


def dims_in_any_order(ds: xr.Dataset, rng: Random) -> Any:
    name = of_samples(ds, rng)
    return ds.assign({name: ds[name].transpose(*rng.sample(ds[name].dims, ds[name].ndim))})


def another_dtype(ds: xr.Dataset, rng: Random) -> Any:
    name = of_any(ds, rng)
    return replaced(ds, name, cast(ds.variables[name].values, rng.choice(DTYPES)))


def another_dtype_of_samples(ds: xr.Dataset, rng: Random) -> Any:
    name = of_samples(ds, rng)
    return replaced(ds, name, cast(ds.variables[name].values, rng.choice(FLOATS)))


def another_name(ds: xr.Dataset, rng: Random) -> Any:
    return ds.rename({of_any(ds, rng): rng.choice(NAMES)})


def another_usual_name(ds: xr.Dataset, rng: Random) -> Any:
    return ds.rename({of_any(ds, rng): rng.choice([*IDENTIFIERS, *RESERVED])})


def another_name_of_a_dim(ds: xr.Dataset, rng: Random) -> Any:
    return ds.rename({rng.choice(list(ds.dims)): rng.choice(NAMES)})


def a_name_missing(ds: xr.Dataset, rng: Random) -> Any:
    return ds.drop_vars(of_any(ds, rng))


def a_dim_missing(ds: xr.Dataset, rng: Random) -> Any:
    return ds.isel({rng.choice(list(ds.dims)): 0})


def an_empty_dim(ds: xr.Dataset, rng: Random) -> Any:
    return ds.isel({rng.choice(list(ds.dims)): slice(0)})


def one_of_a_dim(ds: xr.Dataset, rng: Random) -> Any:
    return ds.isel({rng.choice(list(ds.dims)): [0]})


def odd_times(ds: xr.Dataset, rng: Random) -> Any:
    n = ds.sizes["time"]
    even = np.linspace(0.0, 1.0, n)
    made = rng.choice([
        even[::-1], np.zeros(n), np.where(even > 0.4, 0.5, even), even**3, even * np.nan, np.full(n, np.inf),
        1e9 + even, np.float32(1e9) + even.astype("f4"), even * 1e-30, even * 1e30, -even[::-1], even.astype("f2"),
        np.arange(n), np.arange(n, dtype=">i4"), np.arange(n, dtype="u1")[::-1], np.arange(n).astype("M8[D]"),
        np.arange(n).astype("m8[s]"), np.arange(n).astype("U4"), np.arange(n).astype(object), even > 0.5, even * 1j,
        even.astype("g"), pd.date_range("2000", periods=n), even + 1e-17, np.nextafter(1.0, 2.0) * (1 + even * 3e-16),
        np.full(n, 9.969209968386869e36),
    ])  # fmt: skip
    with np.errstate(all="ignore"):
        return ds.assign_coords(time=("time", made))


def odd_parameters(ds: xr.Dataset, rng: Random) -> Any:
    n = ds.sizes["run"]
    even = np.arange(n) + 1.0
    made = rng.choice([
        even[::-1], np.zeros(n), even * 1e-30, even * 1e30, 1e9 + even * 1e-6, even * np.nan, even * np.inf, even > 1,
        even.astype("f2"), even.astype(">f4"), even.astype("u1"), even.astype("i8"), even * 1j, even.astype("U3"),
        even.astype(object), np.array(["a"] * n, object), np.array([None] * n, object), even.astype("S3"),
        even.astype("M8[D]"), even.astype("m8[s]"), even.astype("g"), np.full(n, 9.969209968386869e36), even * 1e300,
        pd.Categorical([str(i) for i in range(n)]), pd.array(range(n), dtype="Int64"), np.full(n, 2**63, "u8"),
    ])  # fmt: skip
    return ds.assign_coords({rng.choice(["mu", "nu", "seed", "run", "é", "time_", "key", "dt"]): ("run", made)})


def parameters_of_other_dims(ds: xr.Dataset, rng: Random) -> Any:
    dims = rng.choice([("run", "time"), ("time", "run"), ("time",), ("sample",), ("run", "sample"), (), ("k",)])
    shape = tuple(ds.sizes.get(d, 2) for d in dims)
    values = rng.choice([np.ones(shape), np.arange(np.prod(shape, dtype=int)).reshape(shape) + 0.5])
    name = rng.choice(["mu", "nu", "drive", "id", "electric_energy", "quadrature_weight"])
    if name in ds.dims:
        return ds
    return ds.drop_vars(name, errors="ignore").assign_coords({name: (dims, values)})


def many_levels(ds: xr.Dataset, rng: Random) -> Any:
    dim = rng.choice(["run", "sample"])
    index = pd.MultiIndex.from_arrays([range(ds.sizes[dim]), [0.5] * ds.sizes[dim]], names=("first", "second"))
    return ds.drop_vars(dim, errors="ignore").assign_coords(xr.Coordinates.from_pandas_multiindex(index, dim))


def odd_attribute(ds: xr.Dataset, rng: Random) -> Any:
    value, key = rng.choice(VALUES), rng.choice(KEYS)
    if rng.random() < 0.5:
        return ds.assign_attrs({key: value})
    ds = ds.copy()
    ds.variables[of_any(ds, rng)].attrs[key] = value
    return ds


def odd_attribute_of_samples(ds: xr.Dataset, rng: Random) -> Any:
    ds = ds.copy()
    ds.variables[of_samples(ds, rng)].attrs[rng.choice(KEYS[:10])] = rng.choice(VALUES)
    return ds


def good_attribute_of_samples(ds: xr.Dataset, rng: Random) -> Any:
    ds = ds.copy()
    key, value = rng.choice([
        ("period", 8.0), ("period", [8.0]), ("period", 1e-9), ("scale", 2.0), ("units", "m"), ("units", b"m"),
        ("units", 1), ("velocity_of", "x"), ("velocity_of", "v"), ("bounds_low", -1.0), ("bounds_high", 1.0),
        ("rate_of", "x"),
    ])  # fmt: skip
    ds.variables[of_samples(ds, rng)].attrs[key] = value
    return ds


def odd_encoding(ds: xr.Dataset, rng: Random) -> Any:
    ds = ds.copy()
    encoding = rng.choice([
        {"dtype": "int16", "scale_factor": 0.5, "_FillValue": -1}, {"chunks": (7, 7, 7)}, {"chunksizes": (1, 1, 1)},
        {"_FillValue": 0.0}, {"missing_value": 1.0}, {"zlib": True, "complevel": 9}, {"units": "days since 1900"},
        {"compressor": None}, {"dtype": "f4"}, {"unlimited_dims": {"time"}}, {"coordinates": "x y"},
        {"source": "nowhere"},
    ])  # fmt: skip
    target = ds if rng.random() < 0.5 else ds.variables[of_any(ds, rng)]
    target.encoding.update(encoding)
    return ds


def in_pieces_of_dask(ds: xr.Dataset, rng: Random) -> Any:
    name = of_samples(ds, rng)
    if ds.variables[name].dtype.kind in "OUSTMm":
        return ds
    return ds.chunk({d: rng.randint(1, 5) for d in ds.variables[name].dims})


def odd_scale(ds: xr.Dataset, rng: Random) -> Any:
    name = of_samples(ds, rng)
    values = ds.variables[name].values
    if values.dtype.kind not in "fc":
        return ds
    with np.errstate(all="ignore"):
        return replaced(ds, name, (values.astype("f8") * rng.choice(SCALES) + rng.choice(OFFSETS)).astype(values.dtype))


def odd_numbers(ds: xr.Dataset, rng: Random) -> Any:
    name = of_any(ds, rng)
    values = np.array(ds.variables[name].values)
    if values.dtype.kind != "f" or not values.size:
        return ds
    odd, many = rng.choice([*NUMBERS, *FILLS]), rng.choice(["one", "some", "all"])
    with np.errstate(all="ignore"):
        if many == "one":
            values.flat[rng.randint(0, values.size - 1)] = odd
        else:
            values.flat[:: 3 if many == "some" else 1] = odd
    return replaced(ds, name, values)


def fill_values_declared(ds: xr.Dataset, rng: Random) -> Any:
    name = of_samples(ds, rng)
    values = np.array(ds.variables[name].values)
    if values.dtype.kind != "f" or not values.size:
        return ds
    values.flat[rng.randint(0, values.size - 1)] = -5.0
    ds = replaced(ds, name, values)
    place = ds.variables[name].attrs if rng.random() < 0.5 else ds.variables[name].encoding
    place[rng.choice(["_FillValue", "missing_value"])] = rng.choice([-5.0, np.float32(-5), [-5], "-5"])
    return ds


def without_spread(ds: xr.Dataset, rng: Random) -> Any:
    name = of_samples(ds, rng)
    values = ds.variables[name].values
    return replaced(ds, name, np.full_like(values, values.flat[0])) if values.size else ds


def odd_memory(ds: xr.Dataset, rng: Random) -> Any:
    name = of_samples(ds, rng)
    values, how = ds.variables[name].values, rng.choice(["fortran", "read only", "broadcast", "strided"])
    if how == "broadcast" and values.size:
        return replaced(ds, name, np.broadcast_to(values[:1], values.shape))
    if how == "strided":
        return replaced(ds, name, np.repeat(values, 2, axis=0)[::2])
    values = np.asfortranarray(values) if how == "fortran" else values.copy()
    values.flags.writeable = False
    return replaced(ds, name, values)


def another_array(ds: xr.Dataset, rng: Random) -> Any:
    """Beside the samples: diagnostics, rates, weights, notes."""
    dims = rng.choice([("run", "time"), ("run",), ("time",), (), ("time", "run", "k"), DIMS, ("sample",), ("k",)])
    values = cast(numbers(tuple(ds.sizes.get(d, 2) for d in dims), 9), rng.choice(DTYPES))
    name = rng.choice(["electric_energy", "note", "rate", "pressure", "mean", "new", "potential_energy", "weight"])
    attributes = rng.choice([{}, {"rate_of": "x"}, {"rate_of": "nobody"}, {"units": "J"}, {"units": 3j}])
    if name in ds.dims:
        return ds
    return ds.assign({name: (dims, values, attributes)})


def quadrature_weights(ds: xr.Dataset, rng: Random) -> Any:
    n = ds.sizes["time"]
    even = np.full(n, 1 / max(n, 1))
    made = rng.choice([
        even, even.astype("f4"), even.astype("f2"), even.astype(">f8"), even * 2, even * np.nan, -even,
        even.astype("U8"), even.astype(object), even * 1j, np.ones(n, int), even > 0, even.astype("M8[s]"),
        np.array([None] * n, object),
    ])  # fmt: skip
    if "quadrature_weight" in ds.dims:
        return ds
    return ds.drop_vars("quadrature_weight", errors="ignore").assign(quadrature_weight=("time", made))


def thousands_of_runs(ds: xr.Dataset, rng: Random) -> Any:
    return ds.isel(run=np.arange(2000) % max(1, ds.sizes["run"])) if ds.sizes["run"] else ds


def something_else(ds: xr.Dataset, rng: Random) -> Any:
    make = [
        lambda: ds.to_dataarray() if ds.data_vars and len({v.dtype for v in ds.data_vars.values()}) == 1 else None,
        lambda: ds[of_any(ds, rng)], ds.to_dict, lambda: None, lambda: xr.DataTree(ds), lambda: ds.variables,
        lambda: "truth.zarr", xr.Dataset, lambda: np.zeros((2, 3, 4)), lambda: [ds], lambda: type(ds),
    ]  # fmt: skip
    return rng.choice(make)()


def a_tree_of_runs(ds: xr.Dataset, rng: Random) -> Any:
    """Each run by itself, some of them shorter, or with fewer samples."""
    cuts = [{"time": slice(rng.choice([None, None, 3]))} for _ in range(ds.sizes["run"])]
    parts = {
        f"run_{i}": ds.isel(run=[i], sample=slice(rng.choice([None, None, 36])), **cut) for i, cut in enumerate(cuts)
    }
    return xr.DataTree.from_dict(parts)


ODD: dict[Change, int] = {
    dims_in_any_order: 3, another_dtype: 3, another_dtype_of_samples: 3, another_name: 2, another_usual_name: 2,
    another_name_of_a_dim: 1, a_name_missing: 1, a_dim_missing: 1, an_empty_dim: 1, one_of_a_dim: 2, odd_times: 3,
    odd_parameters: 3, parameters_of_other_dims: 2, many_levels: 1, odd_attribute: 4, odd_attribute_of_samples: 2,
    good_attribute_of_samples: 3, odd_encoding: 2, in_pieces_of_dask: 2, odd_scale: 3, odd_numbers: 2,
    fill_values_declared: 1, without_spread: 1, odd_memory: 2, another_array: 4, quadrature_weights: 1,
    something_else: 1,
}  # fmt: skip
_ODD = [change for change, share in ODD.items() for _ in range(share)]
# Those after which most can still be learned from.
_MILD = [
    dims_in_any_order, another_dtype_of_samples, another_usual_name, odd_times, odd_parameters,
    good_attribute_of_samples, odd_encoding, in_pieces_of_dask, odd_scale, without_spread, odd_memory, another_array,
    odd_attribute, odd_numbers, quadrature_weights, parameters_of_other_dims,
]  # fmt: skip


def plain(shape: tuple[int, int, int], seed: int, n_variables: int, components: int = 0) -> xr.Dataset:
    """Clouds that move with their parameter; of several variables the last one may have components."""
    drift = np.arange(shape[0])[:, None, None] * np.linspace(0, 1, shape[1])[None, :, None]
    data = {}
    for i, name in enumerate(["x", "v", "q"][:n_variables]):
        vector = components if i and i == n_variables - 1 else 0
        values = numbers((*shape, *([vector] if vector else [])), seed + i)
        values = values + (drift[..., None] if vector else drift)
        data[name] = ((*DIMS, *(["axis"] if vector else [])), values.astype(np.float32))
    coords = {"time": np.linspace(0.0, 1.0, shape[1]), "mu": ("run", 1.0 + np.arange(shape[0]))}
    return xr.Dataset(data, coords, {"title": "not ours"})


def ensembles(*, mild: bool = False, shrinks: bool = False) -> st.SearchStrategy[Given]:
    """Ensembles with what is odd about them; mild ones come in few shapes, and most of them can be learned from.

    Those that do not shrink hang on one number each, which hypothesis cannot vary a little: no two of them are alike.
    """
    return st.randoms(use_true_random=not shrinks).map(lambda rng: made(rng, mild=mild))


def made(rng: Random, *, mild: bool) -> Given:
    """One of them."""
    if mild:
        shape = rng.choice([(2, 3, 40)] * 6 + [(3, 3, 40), (1, 3, 40), (2, 4, 40)])
    else:
        shape = tuple(rng.randint(1, most) for most in (3, 5, 12))
    many = not mild and rng.random() < 0.003
    ds: Any = plain(shape, rng.randint(0, 2**16), rng.randint(1, 2 if mild else 3), rng.randint(0, 2) * (not mild))
    changes = [rng.choice(_MILD if mild else _ODD) for _ in range(rng.randint(0, 4))]
    done = []
    for change in [*changes, *([thousands_of_runs] if many else [])]:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ds = change(ds, rng)
        except (ValueError, TypeError, LookupError, OverflowError, AttributeError, RuntimeError):
            # What xarray or NumPy do not make nobody has; what is odd already may not become odder.
            continue
        done.append(change.__name__)
        if not isinstance(ds, xr.Dataset) or not ds.variables or not {*DIMS} <= {*ds.dims}:
            break
    if mild and rng.random() < 0.1 and {*DIMS} <= {*ds.dims}:
        ds, done = a_tree_of_runs(ds, rng), [*done, "a_tree_of_runs"]
    return Given(ds, tuple(done), rng.choice([".zarr", ".nc"]), rng.random() < 0.3)

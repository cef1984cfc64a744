"""What a file gives back as it was, and what is refused before anything is written."""

import math
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from hoam_plugin import ensembles

TEXTS = st.text(max_size=8)
NUMBERS = st.one_of(st.integers(-(2**70), 2**70), st.floats(), st.booleans())
ATTRIBUTES = st.one_of(
    TEXTS, NUMBERS, st.none(), st.binary(max_size=4), st.complex_numbers(), st.dates(), st.lists(NUMBERS, max_size=3),
    st.lists(TEXTS, max_size=3), st.lists(st.lists(NUMBERS, max_size=2), max_size=2), st.tuples(NUMBERS, TEXTS),
    st.dictionaries(TEXTS, NUMBERS, max_size=2), st.sets(NUMBERS, max_size=2), st.lists(st.floats()).map(np.array),
)  # fmt: skip
NAMES = st.one_of(
    TEXTS, st.sampled_from(["units", "_FillValue", "scale_factor", "dtype", "coordinates", "NAME", "a/b"])
)


def plain(value: Any) -> Any:
    """The attribute as both formats give it back: lists for arrays, the only element for a list of one, 1 for True."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list | tuple):
        return plain(value[0]) if len(value) == 1 else [plain(v) for v in value]
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def same(found: dict[Any, Any], attributes: dict[Any, Any]) -> bool:
    # A fill value that no number has, or that a reader knows anyway, is part of how the file was written.
    own = {name: plain(value) for name, value in found.items()}
    return own == {n: plain(v) for n, v in attributes.items() if v is not None and n != "_FillValue"}


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
@settings(max_examples=15)
@given(name=NAMES, value=ATTRIBUTES, of=st.sampled_from(["x", "mu", "time", "energy", ""]))
def test_attributes_come_back_or_are_refused(tmp_path_factory, suffix, name, value, of):
    path = tmp_path_factory.mktemp("attributes") / f"e{suffix}"
    ds = xr.Dataset(
        {"x": (ensembles.DIMS, np.ones((1, 2, 3)) * np.arange(3)), "energy": (("run", "time"), np.ones((1, 2)))},
        {"time": [0.0, 1.0], "mu": ("run", [1.0])},
    )
    (ds if of == "" else ds.variables[of]).attrs[name] = value
    try:
        ensembles.save(ds, path)
    except ValueError:
        assert not [*path.parent.iterdir()]
        return
    back = ensembles.load(path)
    np.testing.assert_array_equal(back["x"], ds["x"])
    np.testing.assert_array_equal(back["energy"], ds["energy"])
    assert same((back if of == "" else back.variables[of]).attrs, (ds if of == "" else ds.variables[of]).attrs)


def with_column(values: Any) -> xr.Dataset:
    x = np.random.default_rng(0).standard_normal((2, 2, 3))
    return xr.Dataset({"x": (ensembles.DIMS, x)}, {"time": [0.0, 1.0], "extra": ("run", values)})


@pytest.mark.parametrize(
    ("values", "formats"),
    [
        (np.array([1.5, 2], "f2"), [".zarr"]),
        (np.array([1.5, 2], ">f4"), [".zarr", ".nc"]),
        ([True, False], [".zarr", ".nc"]),
        (np.array([1, 2], "u8"), [".zarr", ".nc"]),
        (np.array([1j, 2], "c8"), [".zarr"]),
        (["a", "é"], [".zarr", ".nc"]),
        (np.array(["a", "b"], object), [".zarr", ".nc"]),
        (np.array([1.5, 2.5], object), []),
        (np.array(["a", None], object), []),
        (np.array(["2000", "2001"], "M8[ns]"), []),
        (np.array([1, 2], "m8[s]"), []),
        (np.array([b"a", b"\xff"]), []),
    ],
)
def test_columns_come_back_as_what_they_were_or_are_refused(tmp_path, values, formats):
    # Dates would come back as whole numbers, objects as floats: numbers per run, which are parameters.
    ds = with_column(values)
    for suffix in (".zarr", ".nc"):
        if suffix in formats:
            back = ensembles.load(ensembles.save(ds, tmp_path / f"e{suffix}"))
            np.testing.assert_array_equal(back["extra"].values, ds["extra"].values)
            assert ensembles.parameter_names(back) == ensembles.parameter_names(ds)
        else:
            with pytest.raises(ValueError, match=r"variable 'extra' has dtype .*(lacks|as something else)"):
                ensembles.save(ds, tmp_path / f"e{suffix}")
            assert not (tmp_path / f"e{suffix}").exists()


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_bytes_come_back_as_texts(tmp_path, suffix):
    back = ensembles.load(ensembles.save(with_column(np.array([b"a", "é".encode()])), tmp_path / f"e{suffix}"))
    assert back["extra"].values.tolist() == ["a", "é"]


@pytest.mark.parametrize("name", ["x y\n", "__x", ".x", "x ", "e\u0301", "a\ud800", "x" * 300, "\u200b"])
def test_names_that_a_file_changes_are_refused(ds, tmp_path, name):
    for suffix in (".zarr", ".nc"):
        with pytest.raises(ValueError, match=r"the name .* cannot be written to a file; rename it"):
            ensembles.save(ds.rename(electric_energy=name), tmp_path / f"e{suffix}")


def test_attributes_that_would_change_numbers_are_refused(ds, tmp_path):
    ds["electric_energy"].attrs["scale_factor"] = 0.5
    with pytest.raises(ValueError, match=r"'electric_energy' has the attribute scale_factor=0\.5, by which readers"):
        ensembles.save(ds, tmp_path / "e.nc")
    del ds["electric_energy"].attrs["scale_factor"]
    ds["electric_energy"].attrs["_FillValue"] = float(ds["electric_energy"][0, 0])
    with pytest.raises(ValueError, match=r"'electric_energy' has the attribute _FillValue=.*take values for missing"):
        ensembles.save(ds, tmp_path / "e.zarr")


@pytest.mark.parametrize("suffix", [".zarr", ".nc"])
def test_coordinates_with_a_space_are_refused_and_objects_of_dask_come_back(tmp_path, suffix):
    ds = xr.Dataset(
        {"x": (("run", "time", "sample"), np.zeros((2, 2, 3)))},
        {"time": [0.0, 1.0], "mu": ("run", [1.0, 2.0]), "kind": ("run", np.array(["cold", "hot"], object))},
    )
    with pytest.raises(ValueError, match=r"the coordinate 'my mu' has a space .*'my_mu'"):
        ensembles.save(ds.rename(mu="my mu"), tmp_path / f"spaced{suffix}")
    assert not list(tmp_path.iterdir())
    ensembles.save(ds.chunk(), tmp_path / f"truth{suffix}")
    assert ensembles.load(tmp_path / f"truth{suffix}")["kind"].values.tolist() == ["cold", "hot"]

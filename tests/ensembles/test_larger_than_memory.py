"""What reads an ensemble on disk keeps a small part of it in memory."""

import shutil
import tracemalloc

import numpy as np
import pytest
import xarray as xr

from hoam_plugin import diagnostics, ensembles
from hoam_plugin.ensembles import pieces
from hoam_plugin.scores import compare, coordinates_of
from hoam_plugin.simulation.sinks import ZarrSink
from hoam_plugin.steppers import Variable


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Two ensembles of 61 MB."""
    folder, rng = tmp_path_factory.mktemp("large"), np.random.default_rng(0)
    x, v = (rng.uniform(0, 50, 30_000).astype("f4"), rng.normal(size=30_000).astype("f4"))
    frame = ensembles.frame(np.linspace(0, 40, 64), {"mu": [1.2, 1.3, 1.4, 1.5]})
    paths = [folder / "truth.zarr", folder / "other.zarr"]
    for path in paths:
        with ZarrSink(path, frame, (Variable("x"), Variable("v", velocity_of="x")), ()) as sink:
            for run in range(4):
                for time in range(64):
                    sink.put(run, time, {"x": x + run, "v": v * (1 + time / 64)})
            sink.finish()
    return paths


USES = {
    "validate": lambda truth, other: ensembles.validate(truth),
    "invariants": lambda truth, other: diagnostics.invariants(truth),
    "density": lambda truth, other: diagnostics.phase_space_density(truth.isel(time=slice(0, 64, 16)), bins=(8, 8)),
    "scales": lambda truth, other: coordinates_of(truth, [other]),
    "compare": lambda truth, other: compare(truth.isel(run=[0]), other.isel(run=[0]), from_time=38.0),
}


def test_a_copy_is_written_in_pieces(stores, tmp_path, monkeypatch):
    """Of what is on disk, no more than a few times are in memory; what is read is what was there."""
    monkeypatch.setattr(pieces, "_LEAST_BYTES", 1 << 20)
    truth, path = ensembles.load(stores[0], lazy=True), tmp_path / "copy.zarr"
    truth["x"].attrs["range"] = np.asarray([0.0, 53.0])
    tracemalloc.start()
    ensembles.save(truth, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.3 * truth.nbytes
    xr.testing.assert_identical(ensembles.load(path), ensembles.load(stores[0]).assign(x=truth["x"]))
    assert list(ensembles.load(path).variables) == list(truth.variables)
    with xr.open_zarr(path) as plain:
        assert plain["v"].attrs["velocity_of"] == "x"


def test_bits_that_turn_over_in_a_streamed_store_are_noticed(stores, tmp_path):
    damaged = shutil.copytree(stores[0], tmp_path / "damaged.zarr")
    file = max((p for p in (damaged / "v").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"not a readable Zarr or netCDF ensemble.*checksum"):
        ensembles.load(damaged)


@pytest.mark.parametrize("name", USES)
def test_memory_is_that_of_a_few_times(stores, name):
    truth, other = (ensembles.load(path, lazy=True) for path in stores)
    tracemalloc.start()
    USES[name](truth, other)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * truth.nbytes


def test_means_over_samples_are_those_of_memory(stores):
    lazy, whole = ensembles.load(stores[0], lazy=True), ensembles.load(stores[0])
    found = diagnostics.invariants(lazy)
    np.testing.assert_allclose(found["momentum"], whole["v"].astype(np.float64).mean("sample"), rtol=1e-12, atol=1e-15)
    assert found["momentum"].dims == ("run", "time")
    got = ensembles.statistics(lazy["v"])
    values = whole["v"].values.astype(np.float64)
    np.testing.assert_allclose([got.mean, got.deviation], [values.mean(), values.std()], rtol=1e-9, atol=1e-12)
    assert (got.low, got.high) == (values.min(), values.max())

"""SDF files of EPOCH: what is read, and what is wrong in a sentence that names the file."""

from pathlib import Path

import jax
import numpy as np
import pytest
from sdf_files import write_run, write_sdf

from hoam_plugin.adapters import epoch
from hoam_plugin.adapters.epoch.blocks import File

LENGTH, TIMES, N = 1e-4, np.arange(3) * 1e-15, 400
MASS = 9.1093837015e-31
OPTIONS = {"species": "electron", "n_samples": 200, "key": jax.random.key(0), "progress": False}
DECK = """
begin:boundaries
  bc_x_min = periodic  # both ends
  bc_x_max = periodic
end:boundaries
begin:species
  name = electron
  mass = 1.0
end:species
"""


def particles(time: float) -> dict[str, np.ndarray | float]:
    """Free particles in another order at each time, with weights over a range of 100."""
    rng = np.random.default_rng(0)
    x, v, weights = rng.uniform(0, LENGTH, N), 1e7 * rng.normal(size=N), 10 ** rng.uniform(8, 10, N)
    order = np.random.default_rng(int(time * 1e15)).permutation(N)
    momentum = MASS * v / np.sqrt(1 - (v / 299_792_458.0) ** 2)
    idle = {"Py": np.zeros(N), "Pz": np.zeros(N)}
    return {"X": (x + v * time)[order], "Px": momentum[order], **idle, "Weight": weights[order], "ID": order}


def run(folder: Path, **options: object) -> Path:
    ions = {"X": np.linspace(0, LENGTH, 7), "Weight": np.ones(7)}
    steps = {"electron": [particles(t) for t in TIMES], "ion": [ions] * 3}
    write_run(folder, TIMES, steps, length=LENGTH, **options)
    (folder / "input.deck").write_text(DECK)
    return folder


@pytest.mark.parametrize(("order", "summary"), [("<", True), (">", False)])
def test_a_run_is_read_in_si_units(tmp_path: Path, order: str, summary: bool) -> None:
    run(tmp_path / "run", order=order, summary=summary)
    write_sdf(tmp_path / "run" / "fields.sdf", 0.5e-15, {}, length=LENGTH)
    ds = epoch.read(tmp_path / "run", parameters={"a": [0.5]}, **OPTIONS)
    assert ds["x"].attrs["period"] == pytest.approx(LENGTH)
    assert (ds["x"].attrs["units"], ds["vx"].attrs["units"], ds["time"].attrs["units"]) == ("m", "m s-1", "s")
    assert ds["vx"].attrs["velocity_of"] == "x"
    assert ds.attrs["sampling"] == "trajectories", "by their ids, in whatever order"
    np.testing.assert_allclose(ds["time"], TIMES)
    moved = ds["x"].values[0, 2].astype(float) - ds["x"].values[0, 0]
    np.testing.assert_allclose(moved, ds["vx"].values[0, 0] * 2e-15, atol=1e-6 * LENGTH)
    weights = np.asarray(particles(0.0)["Weight"])
    assert float(ds["effective_particles"][0, 0]) == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


def test_the_same_numbers_as_sdf_xarray_reads(tmp_path: Path) -> None:
    interface = pytest.importorskip("sdf_xarray.sdf_interface")
    for summary in (True, False):
        path = str(
            write_sdf(tmp_path / "0000.sdf", 3e-15, {"electron": particles(0.0)}, length=LENGTH, summary=summary)
        )
        own = File(path)
        with interface.SDFFile(path) as theirs:
            assert own.header.time == theirs.header["time"]
            read = {name: variable.data for name, variable in theirs.variables.items() if variable.is_point_data}
            read |= {grid.name: grid.data[0] for grid in theirs.grids.values() if grid.is_point_data}
        assert len(read) == 6
        for name, values in read.items():
            np.testing.assert_array_equal(own.blocks[name].read(slice(0, N)), values)
            np.testing.assert_array_equal(own.blocks[name].read(slice(3, 9)), values[3:9])


def test_what_files_say_in_other_ways(tmp_path: Path) -> None:
    two = {"X": np.linspace(0, 1, N), "Y": np.linspace(2, 3, N), "Vx": np.full(N, 1e6), "Vy": np.full(N, 2e6)}
    write_sdf(tmp_path / "run" / "0000.sdf", 0.0, {"some/electron": {**two, "Weight": 2e9}})
    ds = epoch.read(tmp_path / "run", **{**OPTIONS, "species": "some/electron"})
    assert set(ds.data_vars) >= {"x", "y", "vx", "vy"}
    assert "period" not in ds["x"].attrs
    np.testing.assert_allclose(ds["y"] - ds["x"], 2.0, rtol=1e-6)
    np.testing.assert_allclose(ds["vy"], 2e6)
    assert float(ds["effective_particles"][0, 0]) == pytest.approx(N)
    one = epoch.read(tmp_path / "run", axes="y", motion="none", **{**OPTIONS, "species": "some/electron"})
    assert [name for name in one.data_vars if one[name].dims == ("run", "time", "sample")] == ["y"]


def without(*names: str) -> dict[str, np.ndarray | float]:
    return {name: values for name, values in particles(0.0).items() if name not in names}


@pytest.mark.parametrize(
    ("electrons", "changes", "sentence"),
    [
        ({}, {"species": "muon"}, r"0000\.sdf has the species electron, and species='muon' is asked for"),
        ({}, {"axes": "y"}, "axes='y' must be one of 'x'"),
        ({}, {"mass": -1.0}, "mass=-1.0 must be"),
        ({}, {}, r"0000\.sdf has no velocities of the species 'electron', and no mass.*pass mass=9\.109e-31"),
        (without("Weight"), {}, r"0000\.sdf has no weights of the species 'electron'.*equal_weights=True"),
        (without("Px"), {"mass": MASS}, r"0000\.sdf has no Px of the species 'electron'; write px, py and pz"),
        ({"units": {"X": "cm"}}, {"mass": MASS}, r"has positions of 'electron' in \('cm',\); they must be in m"),
        ({"units": {"P": "g.cm/s"}}, {"mass": MASS}, r"in \('g.cm/s',\); .* units must be 'kg.m/s'"),
        ({"X": np.empty(0), "Weight": np.empty(0)}, {"motion": "none"}, r"0000\.sdf, species 'electron' is empty"),
    ],
)
def test_what_is_wrong_is_said_of_the_file(tmp_path: Path, electrons, changes, sentence) -> None:
    given = dict(electrons)
    units = given.pop("units", None)
    write_sdf(tmp_path / "run" / "0000.sdf", 0.0, {"electron": given or particles(0.0)}, units=units)
    with pytest.raises(ValueError, match=sentence):
        epoch.read(tmp_path / "run", **{**OPTIONS, **changes})


def test_files_that_are_cut_off_or_missing(tmp_path: Path) -> None:
    file = run(tmp_path / "run") / "0001.sdf"
    data = file.read_bytes()
    for length in (0, 50, 5_000, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(
            ValueError, match=r"0001\.sdf cannot be read: it .*; leave this file out, or write it again"
        ):
            epoch.read(tmp_path / "run", **OPTIONS)
    file.write_bytes(b"\x89HDF" + data[4:])
    with pytest.raises(ValueError, match="it does not begin with SDF1, so that it is no SDF file"):
        epoch.read(tmp_path / "run", **OPTIONS)
    with pytest.raises(FileNotFoundError, match="does not exist; give the folder of EPOCH's SDF files"):
        epoch.read(tmp_path / "nothing", **OPTIONS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no \.sdf files"):
        epoch.read(tmp_path / "empty", **OPTIONS)
    write_sdf(tmp_path / "fields" / "0000.sdf", 0.0, {}, length=LENGTH)
    with pytest.raises(ValueError, match="has no particles in its 1 SDF files"):
        epoch.read(tmp_path / "fields", **OPTIONS)


def test_damaged_files_end_in_a_sentence(tmp_path: Path) -> None:
    data = write_sdf(tmp_path / "good.sdf", 0.0, {"electron": particles(0.0)}, length=LENGTH).read_bytes()
    rng, bad, damaged = np.random.default_rng(0), tmp_path / "bad.sdf", 0
    for _ in range(300):
        changed = bytearray(data)
        for place in rng.integers(0, 112, 2).tolist() + rng.integers(len(data) - 1_800, len(data), 3).tolist():
            changed[place] = int(rng.integers(256))
        bad.write_bytes(changed)
        try:
            File(str(bad))
        except ValueError as error:
            damaged += str(error).startswith("it")
    assert damaged > 100

"""openPMD series as WarpX and PIConGPU write them: what is read, and what is wrong in a sentence that names the "
"file."""

from pathlib import Path

import jax
import numpy as np
import pytest
from foreign_files import ELECTRON, write_openpmd

from hoam_plugin.adapters import openpmd

LENGTH, TIMES, N = 1e-4, np.arange(3) * 1e-15, 400
OPTIONS = {"species": "electrons", "n_samples": 200, "key": jax.random.key(0), "progress": False}


def particles(time: float, *, fast: float = 1e7) -> dict[str, np.ndarray]:
    """Free particles in another order at each time, with weights over a range of 100."""
    rng = np.random.default_rng(0)
    x, v, weights = rng.uniform(0, LENGTH, N), fast * rng.normal(size=N), 10 ** rng.uniform(8, 10, N)
    order = np.random.default_rng(int(time * 1e15)).permutation(N)
    return {"x": (x + v * time)[order], "v": v[order], "weights": weights[order], "ids": order}


def ions() -> dict[str, np.ndarray]:
    return {"x": np.linspace(0, LENGTH, 7), "weights": np.ones(7)}


def series(folder: Path, suffix: str = "h5", **options: object) -> Path:
    electrons = [particles(t) for t in TIMES]
    return write_openpmd(
        folder, TIMES, {"electrons": electrons, "ions": [ions()] * 3}, length=LENGTH, suffix=suffix, **options
    )


@pytest.mark.parametrize(("suffix", "macro"), [("h5", False), ("json", True)])
def test_a_series_is_read_in_si_units(tmp_path: Path, suffix: str, macro: bool) -> None:
    series(tmp_path / "run" / "diags", suffix, macro=macro)
    ds = openpmd.read(tmp_path / "run", parameters={"a": [0.5]}, **OPTIONS)
    assert ds["x"].attrs["period"] == pytest.approx(LENGTH)
    assert (ds["x"].attrs["units"], ds["vx"].attrs["units"], ds["time"].attrs["units"]) == ("m", "m s-1", "s")
    assert ds["vx"].attrs["velocity_of"] == "x"
    assert ds.attrs["sampling"] == "trajectories", "by their ids, in whatever order"
    np.testing.assert_allclose(ds["time"], TIMES)
    moved = ds["x"].values[0, 2].astype(float) - ds["x"].values[0, 0]
    np.testing.assert_allclose(moved, ds["vx"].values[0, 0] * 2e-15, atol=1e-6 * LENGTH)
    weights, v = particles(0.0)["weights"], particles(0.0)["v"]
    scatter = np.sqrt(np.average(v**2, weights=weights) / 200)
    assert abs(float(ds["vx"][0, 0].mean()) - np.average(v, weights=weights)) < 4 * scatter
    assert float(ds["effective_particles"][0, 0]) == pytest.approx(weights.sum() ** 2 / (weights**2).sum())


def test_momenta_are_relativistic(tmp_path: Path) -> None:
    fast = [{**particles(0.0), "v": np.full(N, 2.5e8)}]
    write_openpmd(tmp_path / "run", [0.0], {"electrons": fast})
    velocity = openpmd.read(tmp_path / "run", **OPTIONS)["vx"]
    np.testing.assert_allclose(velocity, 2.5e8, rtol=1e-6)
    momentum = openpmd.read(tmp_path / "run", **{**OPTIONS, "motion": "momentum"})["px"]
    np.testing.assert_allclose(momentum, ELECTRON * 2.5e8 / np.sqrt(1 - (2.5 / 2.99792458) ** 2), rtol=1e-6)


def test_runs_share_a_table_and_lost_particles_are_noticed(tmp_path: Path) -> None:
    lost = [particles(0.0), {n: c[:-20] for n, c in particles(1e-15).items()}]
    folders = [write_openpmd(tmp_path / f"run{i}", TIMES[:2], {"electrons": lost}) for i in range(2)]
    ds = openpmd.read(folders, parameters={"a": [1.0, 2.0]}, **OPTIONS)
    assert dict(ds.sizes) == {"run": 2, "time": 2, "sample": 200}
    assert ds.attrs["sampling"] == "snapshots"
    assert ds["n_particles"].values.tolist() == [[N, N - 20]] * 2
    assert "period" not in ds["x"].attrs


def cut_off(folder: Path) -> None:
    file = sorted(folder.iterdir())[1]
    file.write_bytes(file.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("electrons", "changes", "sentence"),
    [
        (
            {},
            {"species": "muons"},
            r"00000\.h5, iteration 0 has the species electrons, and species='muons' is asked for",
        ),
        ({}, {"parameters": {"a": [1.0, 2.0]}}, r"parameters\['a'\] has 2 values, and there are 1 runs"),
        ({}, {"axes": "y"}, "axes='y' must be one of 'x'"),
        (
            {"weights": None},
            {},
            r"00000\.h5, iteration 0 has no 'weighting' of the species 'electrons'.*equal_weights=True",
        ),
        ({"ids": np.arange(N - 5)}, {}, r"00000\.h5, iteration 0, species 'electrons' has arrays of different lengths"),
        ({"v": None}, {}, r"00000\.h5, iteration 0 has no record 'momentum' of the species"),
        ({"x": np.empty(0)}, {}, r"00100\.h5, iteration 100 has no particles, and species='electrons' is asked for"),
        ({"x": np.full(N, np.nan)}, {}, r"00000\.h5, iteration 0, species 'electrons': 'x' holds 200 values among 200"),
    ],
)
def test_what_is_wrong_is_said_of_the_file(tmp_path: Path, electrons, changes, sentence) -> None:
    snapshots = [{n: c for n, c in {**particles(t), **electrons}.items() if c is not None} for t in TIMES]
    if electrons.get("x") is not None and not len(electrons["x"]):
        snapshots[0] = particles(0.0)
    write_openpmd(tmp_path / "run", TIMES, {"electrons": snapshots})
    with pytest.raises(ValueError, match=sentence):
        openpmd.read(tmp_path / "run", **{**OPTIONS, **changes})


def test_files_that_are_cut_off_or_missing(tmp_path: Path) -> None:
    series(tmp_path / "run")
    cut_off(tmp_path / "run")
    with pytest.raises(ValueError, match=r"openpmd_000100\.h5, iteration 100 cannot be read: .*; leave this step out"):
        openpmd.read(tmp_path / "run", **OPTIONS)
    with pytest.raises(FileNotFoundError, match="does not exist; give a folder of openPMD files"):
        openpmd.read(tmp_path / "nothing", **OPTIONS)
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(ValueError, match=r"is no openPMD file by its name; give one that ends in \.h5"):
        openpmd.read(tmp_path / "notes.txt", **OPTIONS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no openPMD files"):
        openpmd.read(tmp_path / "empty", **OPTIONS)


def test_files_in_other_dimensions(tmp_path: Path) -> None:
    import openpmd_api as api

    folder = series(tmp_path / "run")
    again = api.Series(str(folder / "openpmd_%06T.h5"), api.Access.read_write)
    again.iterations[0].particles["electrons"]["position"].unit_dimension = {api.Unit_Dimension.T: 1.0}
    again.close()
    with pytest.raises(
        ValueError, match=r"has 'position' with the unitDimension \(1, 0, 1, 0, 0, 0, 0\), and it must be"
    ):
        openpmd.read(folder, **OPTIONS)

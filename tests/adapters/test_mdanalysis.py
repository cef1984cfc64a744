"""Trajectories by MDAnalysis: periods, unwrapping, units of LAMMPS, and what is wrong in a sentence that names the "
"file."""

import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

from hoam_plugin.adapters import mdanalysis

N, STEPS, BOX = 40, 6, np.asarray([10.0, 12.0, 9.0])
RNG = np.random.default_rng(0)
START, SPEED = RNG.uniform(0, 1, (N, 3)) * BOX, RNG.normal(size=(N, 3)) * 0.004
# Of a LAMMPS dump in the style real.
DUMP = {"lammps_units": "real", "timestep": 2.0, "progress": False}


def free(step: int) -> np.ndarray:
    """Positions, 100 steps of 2 fs from one to the next."""
    return START + SPEED * 200.0 * step


def write_dump(path: Path, box=lambda step: BOX) -> Path:
    with path.open("w") as file:
        for step in range(STEPS):
            file.write(f"ITEM: TIMESTEP\n{5_000_000 + 100 * step}\nITEM: NUMBER OF ATOMS\n{N}\n")
            file.write("ITEM: BOX BOUNDS pp pp pp\n" + "".join(f"0 {length}\n" for length in box(step)))
            file.write("ITEM: ATOMS id type x y z vx vy vz\n")
            for i in RNG.permutation(N):
                numbers = [*(free(step)[i] % box(step)), *SPEED[i]]
                file.write(f"{i + 1} {1 + i % 2} " + " ".join(f"{number:.6f}" for number in numbers) + "\n")
    return path


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dump(tmp_path_factory.mktemp("lammps") / "run.lammpstrj")


def test_a_wrapped_lammps_dump_keeps_its_period_and_units(dump: Path) -> None:
    ds = mdanalysis.read([dump, dump], parameters={"kT": [1.0, 2.0]}, **DUMP)
    assert dict(ds.sizes) == {"run": 2, "time": STEPS, "sample": N}
    assert [ds[axis].attrs["period"] for axis in "xyz"] == BOX.tolist()
    assert (ds["x"].attrs["units"], ds["vx"].attrs["units"], ds["time"].attrs["units"]) == (
        "angstrom",
        "angstrom fs-1",
        "fs",
    )
    np.testing.assert_array_equal(ds["time"], 2.0 * (5_000_000 + 100 * np.arange(STEPS)))
    assert ds.attrs["sampling"] == "trajectories"
    check = ds.drop_attrs(deep=False).hoam.check()
    assert "move with their velocities" in str(check), "atoms in another order at each time are put in theirs"
    assert not [s for s in check.suspicions if "period" in s or "units" in s]


def test_positions_are_unwrapped(dump: Path) -> None:
    ds = mdanalysis.read(dump, unwrap=True, axes="xz", **DUMP)
    assert "period" not in ds["x"].attrs
    way = ds["x"].values[0, -1].astype(float) - ds["x"].values[0, 0]
    expected = (ds["vx"].values[0, 0] * 200.0 * (STEPS - 1)).astype(float)
    np.testing.assert_allclose(way, expected, atol=2e-3)
    assert "y" not in ds


def test_a_selection_is_drawn(dump: Path) -> None:
    ds = mdanalysis.read(dump, select="type 1", n_samples=15, key=jax.random.key(0), **DUMP)
    assert (ds.sizes["sample"], int(ds["n_particles"][0, 0])) == (15, N // 2)


@pytest.mark.parametrize("suffix", ["dcd", "xtc", "trr"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    import MDAnalysis

    universe = MDAnalysis.Universe.empty(N, trajectory=True, velocities=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        universe.dimensions = [*BOX, 90, 90, 90]
        universe.atoms.positions = START
        universe.atoms.write(tmp_path / "top.pdb")
        with MDAnalysis.Writer(str(tmp_path / f"run.{suffix}"), N, dt=1.0) as writer:
            for step in range(STEPS):
                universe.atoms.positions, universe.atoms.velocities = free(step) % BOX, SPEED
                universe.trajectory.ts.frame, universe.trajectory.ts.data["time"] = step, float(step)
                writer.write(universe.atoms)
    ds = mdanalysis.read(tmp_path / f"run.{suffix}", topology=tmp_path / "top.pdb", progress=False)
    np.testing.assert_allclose(ds["time"], np.arange(STEPS), rtol=1e-6)
    assert ds["x"].attrs["period"] == pytest.approx(BOX[0])
    assert ("vx" in ds) == (suffix == "trr")
    by_order = np.sort(ds["z"].values[0, 3])
    np.testing.assert_allclose(by_order, np.sort(free(3)[:, 2] % BOX[2]), atol=0.02)
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes((tmp_path / f"run.{suffix}").read_bytes()[:-40])
    sentence = rf"cut\.dcd is cut off: it says that it has {STEPS} frames" if suffix == "dcd" else "cannot be read"
    with pytest.raises(ValueError, match=sentence):
        mdanalysis.read(cut, topology=tmp_path / "top.pdb", progress=False)


def test_xyz_has_no_times(tmp_path: Path) -> None:
    atoms = "".join(f"H {i} {i} 0.5 1.0 0.0 0.0\n" for i in range(4))
    plain, extended = tmp_path / "plain.xyz", tmp_path / "extended.xyz"
    plain.write_text(f"4\nwater\n{atoms}" * 3)
    extended.write_text(f'4\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:vel:R:3\n{atoms}' * 3)
    for path, sentence in (
        (plain, r"plain\.xyz is XYZ, which says no times; pass timestep="),
        (extended, r"extended\.xyz is extended XYZ, of which MDAnalysis reads positions alone"),
    ):
        with pytest.raises(ValueError, match=sentence):
            mdanalysis.read(path, progress=False)
    ds = mdanalysis.read(extended, timestep=0.5, period={"x": 5.0}, progress=False)
    assert (ds["time"].values.tolist(), ds["x"].attrs["period"]) == ([0.0, 0.5, 1.0], 5.0)


def test_runs_of_other_lengths_become_a_tree(dump: Path, tmp_path: Path) -> None:
    lines = dump.read_text().splitlines(keepends=True)
    short = tmp_path / "short.lammpstrj"
    short.write_text("".join(lines[: 4 * (N + 9)]))
    tree = mdanalysis.read([dump, short], parameters={"kT": [1.0, 2.0]}, **DUMP)
    assert isinstance(tree, xr.DataTree)
    assert [node.sizes["time"] for node in tree.children.values()] == [STEPS, 4]


def test_what_is_wrong_is_said_of_the_file(dump: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.lammpstrj"
    cut.write_text(dump.read_text()[:-200])
    changing = write_dump(tmp_path / "npt.lammpstrj", lambda step: BOX * (1 + 0.01 * step))
    for path, options, sentence in (
        (dump, {}, r"run\.lammpstrj is a LAMMPS dump, which says neither its units nor its time step"),
        (dump, {**DUMP, "select": "type 7"}, r"run\.lammpstrj has no atoms that select='type 7' names"),
        (dump, {**DUMP, "select": "typo"}, r"run\.lammpstrj cannot be read: .*; name atoms that are there"),
        (dump, {**DUMP, "parameters": {"kT": [1.0, 2.0]}}, "has 2 values, and there are 1 runs"),
        (cut, DUMP, rf"cut\.lammpstrj is cut off: its last frame has \d+ of {N} atoms"),
        (changing, DUMP, r"npt\.lammpstrj, frame 1 has the box .*, and the first frame has .*; .* unwrap=True"),
    ):
        with pytest.raises(ValueError, match=sentence):
            mdanalysis.read(path, **{"progress": False, **options})
    with pytest.raises(FileNotFoundError, match=r"nothing\.dcd' does not exist"):
        mdanalysis.read(tmp_path / "nothing.dcd")
    with pytest.raises(TypeError, match="key=None: n_samples atoms are drawn"):
        mdanalysis.read(dump, n_samples=5, **DUMP)

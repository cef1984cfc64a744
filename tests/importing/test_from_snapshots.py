"""`ensemble.from_snapshots`: one snapshot in memory at a time, stores that go on, runs of other times."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.ensemble import from_snapshots
from hoam_plugin.importing import parameters_of_paths, parameters_of_table, shelf

OPTIONS = {"n_samples": 64, "key": jax.random.key(0), "progress": False}


def snapshot(time: float, n: int = 500) -> dict[str, object]:
    rng = np.random.default_rng(int(10 * time))
    return {"time": time, "x": rng.normal(time, 1.0, n), "weights": rng.uniform(0.01, 1.0, n)}


def test_one_run_and_several() -> None:
    one = from_snapshots((snapshot(t) for t in (0.0, 0.5)), **OPTIONS)
    assert dict(one.sizes) == {"run": 1, "time": 2, "sample": 64}
    two = from_snapshots([[snapshot(0.0)], [snapshot(0.0)]], parameters={"mu": [1.0, 2.0]}, **OPTIONS)
    assert two.sizes["run"] == 2
    assert (two["x"][0] != two["x"][1]).any(), "runs are drawn independently"


def test_what_an_import_left_that_was_killed_at_its_very_end_goes(tmp_path: Path) -> None:
    store = tmp_path / "truth.zarr"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shelf.DiskShelf, "clear", lambda self: None)
        from_snapshots([snapshot(0.0), snapshot(0.5)], store=store, **OPTIONS)
    assert (tmp_path / "truth.zarr.import").is_dir()
    with pytest.raises(FileExistsError):
        from_snapshots([snapshot(0.0), snapshot(0.5)], store=store, **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["truth.zarr"]


def test_two_do_not_import_into_one_store(tmp_path: Path) -> None:
    store, said = tmp_path / "truth.zarr", []

    def meanwhile() -> dict[str, object]:
        with pytest.raises(FileExistsError, match="is being written by another process or thread") as caught:
            from_snapshots([snapshot(0.0)], store=store, **OPTIONS)
        said.append(str(caught.value))
        return snapshot(0.0)

    from_snapshots([meanwhile], store=store, **OPTIONS)
    assert len(said) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["truth.zarr"]


def test_what_needs_no_reading_is_not_read(tmp_path: Path) -> None:
    read: list[float] = []

    def reading(time: float, fails: bool = False) -> Callable[[], dict[str, object]]:
        def read_it() -> dict[str, object]:
            if fails:
                raise KeyboardInterrupt
            read.append(time)
            return snapshot(time)

        return read_it

    times, store = [0.0, 0.5, 1.0, 1.5], tmp_path / "truth.zarr"
    whole = from_snapshots([reading(t) for t in times], **OPTIONS)
    read.clear()
    with pytest.raises(KeyboardInterrupt):
        from_snapshots([reading(t, fails=t == 1.0) for t in times], store=store, **OPTIONS)
    assert not store.exists()
    with pytest.raises(ValueError, match=r"was begun with another n_samples: 64, not 65; .* or remove '.*\.import'"):
        from_snapshots([reading(t) for t in times], store=store, **{**OPTIONS, "n_samples": 65})
    damaged = tmp_path / "truth.zarr.import" / "run_0" / "1.npz"
    damaged.write_bytes(damaged.read_bytes()[:99])
    read.clear()
    resumed = from_snapshots([reading(t) for t in times], store=store, **OPTIONS)
    assert read == [0.5, 1.0, 1.5], "the damaged one, and those that were not reached"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["truth.zarr"]
    xr.testing.assert_equal(resumed.load().drop_attrs(), whole.drop_attrs())
    with pytest.raises(FileExistsError, match="exists; choose another path or pass overwrite=True"):
        from_snapshots([snapshot(0.0)], store=store, **OPTIONS)


def test_runs_of_other_times_become_a_tree(tmp_path: Path) -> None:
    runs = [[snapshot(t) for t in times] for times in ((0.0, 0.5, 1.0), (0.0, 0.4, 0.8, 1.2))]
    for store in (None, tmp_path / "runs.zarr"):
        tree = from_snapshots(runs, parameters={"mu": [1.0, 2.0]}, store=store, **OPTIONS)
        assert isinstance(tree, xr.DataTree)
        assert [node.sizes["time"] for node in tree.children.values()] == [3, 4]
        assert [float(node["mu"][0]) for node in tree.children.values()] == [1.0, 2.0]
    with pytest.raises(ValueError, match="holds runs of different times, as a tree"):
        hoam.ensemble.load(tmp_path / "runs.zarr")


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        ([], ValueError, "snapshots is empty"),
        ([[]], ValueError, "run 0 has no snapshots"),
        (snapshot(0.0), TypeError, "snapshots is dict; it must be a list"),
        ([[3.0]], TypeError, "run 0, snapshot 0 is float; it must be a mapping"),
        ([{"x": np.ones(3)}], ValueError, r"run 0, snapshot 0 has no 'time', only \['x'\]"),
        ([{"time": 0.0}], ValueError, "run 0, snapshot 0 has no variables"),
        (
            [{"time": 0.0, "x": np.ones(3), "v": np.ones(4)}],
            ValueError,
            "arrays of different lengths, {'x': 3, 'v': 4}",
        ),
        ([{"time": 0.0, "x": np.asarray(["a"])}], TypeError, "'x' has dtype <U1; it must hold numbers"),
        (
            [{"time": np.datetime64("2026-01-01"), "x": np.ones(3)}],
            TypeError,
            "is a date or a span of time; give it as a",
        ),
        ([{"time": 0.0, "run": np.ones(3)}], ValueError, "variable 'run' cannot be called so: .* are taken by dims"),
        ([{"time": 0.0, "n_particles": np.ones(3)}], ValueError, "variable 'n_particles' cannot be called so"),
        ([{"time": 0.0, 3: np.ones(3)}], TypeError, "run 0, snapshot 0 has the name 3; names of variables are words"),
        ([{"time": 0.0, "x": np.ma.masked_less(np.arange(4.0), 2)}], ValueError, "'x' has 2 masked entries among 4"),
        (
            [{"time": 0.0, "x": np.ones(4), "weights": np.ma.masked_less(np.arange(4.0), 2)}],
            ValueError,
            "'weights' has 2 masked entries among 4; leave these particles out, or fill",
        ),
        ([{"time": 0.0, "x": np.ones(3), "weights": np.ones((3, 1))}], ValueError, r"'weights' has the shape \(3, 1\)"),
        (
            [{"time": 0.0, "x": np.ones(2), "ids": np.asarray([0.0, 0.5])}],
            ValueError,
            "ids hold 0.5; they must be whole",
        ),
        (
            [{"time": t, "x": 1e12 + np.arange(100.0)} for t in (0.0, 1.0)],
            ValueError,
            "variable 'x' is so far from 0 that float32 does not resolve its spread; subtract an offset",
        ),
        ([snapshot(1.0), snapshot(0.5)], ValueError, "has the time 0.5, after 1; times must increase"),
        ([snapshot(0.0), {"time": 1.0, "y": np.ones(9)}], ValueError, "has the variables y, but those before have x"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(given, kind, sentence) -> None:
    with pytest.raises(kind, match=sentence):
        from_snapshots(given, **OPTIONS)


def test_odd_but_right_numbers_are_taken() -> None:
    x, ids = np.random.default_rng(0).normal(size=300), np.arange(300)
    kinds = [x.astype(np.float16), x.astype(">f4"), x.astype(np.longdouble), x > 0, jax.numpy.asarray(x), list(x)]
    for given in kinds:
        ds = from_snapshots([{"time": np.float32(0), "x": given, "weights": ids}], **OPTIONS)
        assert np.isin(ds["x"].values, np.asarray(given).astype(np.float32)).all()
    lost = np.where(ids < 100, np.nan, x)
    ds = from_snapshots([{"time": 0.0, "x": lost, "weights": (ids >= 100)}], **OPTIONS)
    assert np.isfinite(ds["x"].values).all(), "what weighs nothing is not drawn, whatever it holds"
    step = {"x": x, "ids": (ids + 2**40).astype(float)}
    assert from_snapshots([{"time": t, **step} for t in (0.0, 1.0)], **OPTIONS).attrs["sampling"] == "trajectories"
    start = [{"time": t, "x": 1e3 + t * x + 1e-9 * x} for t in (0.0, 1.0)]
    assert from_snapshots(start, **OPTIONS)["x"][0, 0].std() == 0, "clouds may begin as a point"


def test_parameters_from_a_table_and_from_paths(tmp_path: Path) -> None:
    runs = ["out/run_b0.5/diags", "out/run_b1e-2/diags"]
    table = tmp_path / "runs.csv"
    table.write_text("run,b,note\nrun_b1e-2,0.01,late\nrun_b0.5,0.5,early\n")
    assert {n: c.tolist() for n, c in parameters_of_table(table, runs).items()} == {"b": [0.5, 0.01]}
    assert parameters_of_paths("run_b{b}", runs)["b"].tolist() == [0.5, 0.01]
    table.write_text("b\n0.5\n")
    with pytest.raises(ValueError, match="has 1 rows, and there are 2 runs"):
        parameters_of_table(table, runs)
    table.write_text("run,b\nrun_b0.5,1\n")
    with pytest.raises(ValueError, match="has no row for the run 'out/run_b1e-2/diags' in its column 'run'"):
        parameters_of_table(table, runs)
    with pytest.raises(ValueError, match=r"pattern='a\{a\}' does not occur in 'out/run_b0.5/diags'"):
        parameters_of_paths("a{a}", runs)

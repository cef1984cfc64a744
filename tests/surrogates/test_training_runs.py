"""Where the training runs lie: distances in units of their spacing, and holes that no run is near."""

import itertools
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr
from repository import ROOT

import hoam_plugin as hoam
from hoam_plugin.dynamics import normalisation_of
from hoam_plugin.surrogates import TrainingRuns, file_format, physical_points, run_parameters, runs_at, runs_of

# Three corners of a box, and what lies between them.
L_SHAPE = [(1.0, 0.0), (1.0, 10.0), (1.0, 20.0), (1.5, 0.0), (2.0, 0.0), (2.5, 0.0), (1.0, 30.0)]


def ensemble(points: list[tuple[float, float]]) -> xr.Dataset:
    """Runs of a drifting gaussian at points (mu, shift)."""
    mu, shift = np.asarray(points).T
    ds = toy.moving_gaussian(tuple(mu.tolist()), n_samples=256)
    return ds.assign_coords(shift=("run", shift))


def grid(*levels: int) -> np.ndarray:
    return np.asarray(list(itertools.product(*(np.linspace(0, 1, n) for n in levels))))


def runs_of_points(points: np.ndarray) -> TrainingRuns:
    names = "abcdefgh"[: points.shape[1]]
    base = toy.moving_gaussian(tuple(np.arange(len(points), dtype=float).tolist()), n_samples=4, n_times=2)
    ds = base.drop_vars("mu").assign_coords({n: ("run", points[:, i]) for i, n in enumerate(names)})
    norm = normalisation_of(ds)
    found = runs_at({n: points[:, i] for i, n in enumerate(names)}, norm)
    assert found is not None
    np.testing.assert_allclose(physical_points(found, norm), points, atol=1e-6)
    return found


@pytest.fixture(scope="module")
def model() -> hoam.Surrogate:
    return toy.small_surrogate(ensemble(L_SHAPE))


@pytest.mark.parametrize("levels", [(8,), (3, 3), (8, 2), (5, 3, 2), (2, 2, 2, 2, 2)])
def test_in_a_grid_the_middle_of_a_cell_is_half_a_diagonal_away_and_nothing_is_a_hole(levels: tuple[int, ...]) -> None:
    points = grid(*levels)
    runs = runs_of_points(points)
    mean, deviation = points.mean(0), points.std(0)
    distance = jax.jit(jax.vmap(runs.distance))
    middle = np.asarray([[0.5 / (n - 1) for n in levels]])
    np.testing.assert_allclose(distance((middle - mean) / deviation), np.sqrt(len(levels)) / 2, rtol=1e-5)
    anywhere = np.random.default_rng(0).random((500, len(levels)))
    assert (distance((anywhere - mean) / deviation) <= runs.reach).all()
    np.testing.assert_allclose(distance((points - mean) / deviation), 0, atol=1e-5)


def test_scattered_runs_leave_hardly_a_hole_and_a_gap_is_one() -> None:
    rng = np.random.default_rng(3)
    points = rng.permuted(np.tile((np.arange(24) + 0.5) / 24, (2, 1)), axis=1).T
    runs = runs_of_points(points)
    distance = jax.jit(jax.vmap(runs.distance))
    inside = points.min(0) + np.ptp(points, 0) * rng.random((2000, 2))
    assert (distance((inside - points.mean(0)) / points.std(0)) > runs.reach).mean() < 0.1
    line = np.asarray([0.0, 0.1, 0.2, 1.0])[:, None]
    away = runs_of_points(line).distance((jnp.asarray([0.6]) - line.mean()) / line.std())
    np.testing.assert_allclose(away, 0.4 / (1 / 3), rtol=1e-5)


def test_a_parameter_that_all_runs_share_and_runs_at_one_place_do_not_count() -> None:
    points = np.asarray([[0.0, 7.0], [0.5, 7.0], [0.5, 7.0], [1.0, 7.0]])
    runs = runs_of_points(points)
    assert np.isinf(runs.spacing[1])
    at = (jnp.asarray([0.75]) - points[:, 0].mean()) / points[:, 0].std()
    np.testing.assert_allclose(runs.distance(jnp.stack([at[0], jnp.zeros(())])), 0.5, rtol=1e-5)


def test_corners_that_no_run_is_near_are_out_of_range_also_in_compiled_code(model: hoam.Surrogate) -> None:
    corners = {"mu": jnp.asarray([1.0, 2.5, 2.5, 3.5]), "shift": jnp.asarray([30.0, 0.0, 30.0, 0.0])}
    inside = jax.jit(jax.vmap(lambda p: model.in_range(p, 1.0)))(corners)
    np.testing.assert_array_equal(inside, [True, True, False, False])
    passed = jax.jit(lambda model, p: model.in_range(p, 1.0))
    assert not passed(model, {"mu": 2.5, "shift": 30.0})
    assert passed(model, {"mu": 1.2, "shift": 5.0})
    assert not passed(model, {"mu": 1.2, "shift": 5.0 + 30.0})
    assert not model.in_range({"mu": 1.0, "shift": 0.0}, 2.5)
    slope = jax.grad(lambda mu: model.distance_to_runs({"mu": mu, "shift": 15.0}))
    assert np.isfinite([slope(1.0), slope(1.7)]).all()
    with pytest.raises(ValueError, match="lacks"):
        model.distance_to_runs({"mu": 1.0})


def test_holes_are_warned_of_where_values_are_concrete(model: hoam.Surrogate) -> None:
    state = toy_state(model)
    hole, near = {"mu": 2.5, "shift": 30.0}, {"mu": 1.2, "shift": 5.0}
    said = r"mu=2.5, shift=30 lie within the trained ranges, but .* times the spacing of the training runs"
    with pytest.warns(UserWarning, match=said):
        model.step(state, 0.1, hole)
    with pytest.warns(UserWarning, match=said):
        model.with_options(on_extrapolation="warn").solve(state, [0.0, 0.5], hole)
    table = {name: [near[name], hole[name]] for name in near}
    with pytest.warns(UserWarning, match=said):
        hoam.simulate(model, table, [0.0, 0.5], key=jax.random.key(0), n_samples=8, initial=state, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.with_options(on_extrapolation="ignore").step(state, 0.1, hole)
        model.step(state, 0.1, near)
        traced = jax.jit(lambda mu: model.step(state, 0.1, {"mu": mu, "shift": 30.0}).y)(2.5)
    assert np.isfinite(traced).all()


def toy_state(model: hoam.Surrogate) -> object:
    return model.learned.in_place.state_from_samples({"y": np.zeros(8, np.float32)}, jnp.zeros(()))


def test_files_keep_the_runs_and_those_of_before_have_none(model: hoam.Surrogate, tmp_path: Path) -> None:
    loaded = hoam.load(model.save(tmp_path / "model.hoam"))
    before, after = runs_of(model), runs_of(loaded)
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after.points, before.points, atol=1e-6)
    np.testing.assert_allclose(after.spacing, before.spacing, rtol=1e-6)
    columns = run_parameters(file_format.read(tmp_path / "model.hoam"))
    assert columns is not None
    np.testing.assert_allclose(np.stack([columns["mu"], columns["shift"]], 1), L_SHAPE, atol=1e-5)
    assert "7 runs of 256 samples at 9 times" in repr(loaded)
    old = hoam.load(ROOT / "tests" / "fixtures" / "version_0_1" / "gradient.hoam")
    assert runs_of(old) is None
    assert np.isnan(old.distance_to_runs(dict.fromkeys(old.parameters, 1.4)))
    assert old.in_range({name: low for name, (low, _) in old.ranges.items()}, old.horizon[0])


def test_it_is_told_in_ten_lines_and_in_a_table(model: hoam.Surrogate) -> None:
    lines = repr(model).splitlines()
    assert len(lines) == 10
    assert lines[0] == "Surrogate"
    html = model._repr_html_()
    assert html.count("<tr>") == 9
    assert "mu in [1, 2.5], shift in [0, 30]" in html
    assert "<script" not in html
    assert "7 runs" in repr(jax.jit(lambda m: m)(model))

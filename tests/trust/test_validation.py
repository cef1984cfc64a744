"""`cross_validate`: what is left out takes no part, folds are kept, and what is refused."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.scores import verdict_table
from hoam_plugin.trust import validation as module
from hoam_plugin.trust.between_runs import looked_back, with_expected
from hoam_plugin.trust.folds import Fold, folds_of
from hoam_plugin.trust.validation import verdict_of


def grid(*axes: list[float]) -> xr.Dataset:
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    coords = {name: ("run", points[:, i]) for i, name in enumerate(("a", "b")[: len(axes)])}
    return xr.Dataset({"x": (("run", "time", "sample"), np.zeros((len(points), 2, 3)))}, {"time": [0.0, 1.0], **coords})


def test_runs_between_others_are_left_out_one_at_a_time() -> None:
    folds = folds_of(grid([1.0, 2.0, 3.0, 4.0]), None)
    assert folds == [Fold([1], [0, 2, 3]), Fold([2], [0, 1, 3])]


def test_runs_of_equal_parameters_are_left_out_together() -> None:
    assert folds_of(grid([1.0, 2.0, 2.0, 3.0]), None) == [Fold([1, 2], [0, 3])]


def test_corners_of_two_parameters_are_never_left_out() -> None:
    left_out = [run for fold in folds_of(grid([0.0, 1.0, 2.0], [0.0, 1.0, 2.0]), None) for run in fold.left_out]
    assert sorted(left_out) == [1, 3, 4, 5, 7]


def test_runs_are_dealt_to_fewer_folds() -> None:
    assert [f.left_out for f in folds_of(grid([1.0, 2.0, 3.0, 4.0, 5.0]), 2)] == [[1, 3], [2]]


@pytest.mark.parametrize(
    ("levels", "folds", "said"),
    [
        ([1.0, 2.0], None, "2 different parameters"),
        ([1.0, 2.0, 3.0], 2, "folds=2 exceeds the 1 parameters"),
        ([1.0, 2.0, 3.0], [[0, 0]], "must be different indices"),
        ([1.0, 2.0, 3.0], [[0, 1, 2]], "must be different indices"),
        ([1.0, 2.0, 3.0], [[3]], "0 to 2"),
    ],
)
def test_bad_folds_are_refused(levels: list[float], folds: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        folds_of(grid(levels), folds)


def test_scores_stand_beside_references_and_curves(validation: xr.Dataset, runs: xr.Dataset) -> None:
    assert validation["mu"].values.tolist() == [1.3, 1.4, 1.5]
    usual = {"surrogate", "bootstrap", "interpolation", "gaussian", "frozen"}
    assert set(validation["reference"].values) == usual | {"learned_from", "expected"}
    assert np.isfinite(validation["electric_energy_error"].sel(reference=["surrogate", "interpolation"])).all()
    own = runs["electric_energy"].isel(run=[1, 2, 3]).values
    np.testing.assert_allclose(validation["electric_energy_truth"], own, rtol=1e-6)
    variance = runs["v"].isel(run=[1, 2, 3]).astype(np.float64).var("sample")
    np.testing.assert_allclose(validation["variance_v_truth"], variance, rtol=1e-6)
    # The start is the truth's.
    start = {"time": 0}
    np.testing.assert_allclose(validation["mode_1_x_left_out"][start], validation["mode_1_x_truth"][start], rtol=1e-5)


def test_a_line_says_what_to_expect(validation: xr.Dataset) -> None:
    errors = validation["electric_energy_error"].sel(reference="surrogate").values
    worst = validation["mu"].values[errors.argmax()]
    expected = validation["electric_energy_error"].sel(reference="expected").values
    assert validation.attrs["verdict"] == (
        f"expect an electric energy error of {expected.min():.2g} to {expected.max():.2g} between your runs "
        f"({errors.min():.2g} to {errors.max():.2g} at those left out, worst at mu = {worst:g})"
    )
    assert "electric energy error" in verdict_table(validation)


def test_what_to_expect_follows_from_runs_that_are_left_out_and_learned_from(validation: xr.Dataset) -> None:
    for name in ("electric_energy_error", "sliced_wasserstein"):
        missed, seen, expected = (validation[name].sel(reference=r) for r in ("surrogate", "learned_from", "expected"))
        assert np.isfinite(seen).all()
        assert (seen != missed).all()
        np.testing.assert_allclose(expected**2, (3 * seen**2 + missed**2) / 4, rtol=1e-6)


def test_each_run_is_looked_back_at_by_the_next_fold_that_has_learned_from_it() -> None:
    overlapping = [Fold([1, 2], [0, 3, 4]), Fold([2], [0, 1, 3, 4]), Fold([3], [0, 1, 2, 4])]
    assert looked_back(overlapping) == [[3], [1], [2]]
    assert looked_back(overlapping[:1]) == [[]]


def test_one_fold_alone_expects_nothing(validation: xr.Dataset) -> None:
    rows = validation.sel(reference=["surrogate", "frozen"]).isel(run=[0])
    alone = with_expected(rows.assign_coords(learned=("run", [False])))
    assert alone["sliced_wasserstein"].sel(reference=["learned_from", "expected"]).isnull().all()
    assert alone["sliced_wasserstein"].attrs["expected_note"].startswith("no fold has learned")
    assert verdict_of(alone).endswith(" between your runs; worst at mu = 1.3")


@pytest.mark.long
def test_the_left_out_run_takes_no_part(runs: xr.Dataset, small: dict[str, Any]) -> None:
    other = runs.copy(deep=True)
    other["x_rate"][2] += 1.0
    other["v_rate"][2] *= -3.0
    found = [hoam.cross_validate(ds, key=jax.random.key(2), folds=[[2]], **small) for ds in (runs, other)]
    np.testing.assert_array_equal(found[0]["electric_energy_left_out"], found[1]["electric_energy_left_out"])


@pytest.mark.long
def test_folds_that_are_done_are_kept(
    runs: xr.Dataset, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"key": jax.random.key(2), "folds": [[1], [2]], "store": tmp_path / "folds", **small}
    scored, done = module._scored, list[int]()

    def stops(task: Any, number: int, fold: Fold) -> xr.Dataset:
        if number == 1 and not done:
            raise KeyboardInterrupt
        return scored(task, number, fold)

    monkeypatch.setattr(module, "_scored", stops)
    with pytest.raises(KeyboardInterrupt):
        hoam.cross_validate(runs, **arguments)
    done.append(1)
    first = hoam.cross_validate(runs, **arguments)
    monkeypatch.setattr(module, "_scored", lambda *_: pytest.fail("all folds are there"))
    xr.testing.assert_allclose(hoam.cross_validate(runs, **arguments), first)
    with pytest.raises(ValueError, match="other ensemble"):
        hoam.cross_validate(runs.isel(run=[0, 1, 2, 3]), **arguments)
    with pytest.raises(ValueError, match="other training"):
        hoam.cross_validate(runs, **{**arguments, "effort": 0.5})


def test_a_folder_of_something_else_is_left_alone(runs: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(FileExistsError, match="holds no cross-validation"):
        hoam.cross_validate(runs, key=jax.random.key(0), store=tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"iterations": 3}, "iterations=3 is no option of fit"),
        ({"checkpoint": "x.hoam"}, "is of a single training"),
        ({"effort": 0.0}, "effort=0.0 must be above 0"),
        ({"curves": ["electric"]}, "which the ensemble does not have"),
        ({"curves": {"mine": lambda ds: np.zeros(3)}}, "gives an array of shape"),
    ],
)
def test_what_is_refused_before_any_training(runs: xr.Dataset, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        hoam.cross_validate(runs, key=jax.random.key(0), **options)

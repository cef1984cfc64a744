"""Bands: what they promise, by simulated errors; kept with a surrogate and put into what it simulates."""

from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import trust
from hoam_plugin.surrogates import provenance_of
from hoam_plugin.trust.calibration import _band

TIMES = np.linspace(0.0, 1.0, 33)
UNKNOWN = np.full((10, len(TIMES)), np.nan)


def curves(rng: np.random.Generator, n: int, *, positive: bool) -> tuple[np.ndarray, np.ndarray]:
    """True curves and predictions whose errors grow with time and are correlated in it."""
    truth = 2.0 + np.sin(6 * TIMES)[None, :] * rng.uniform(0.5, 1.0, (n, 1))
    errors = rng.standard_normal((n, 1)) * TIMES**2 + 0.3 * rng.standard_normal((n, 1)) * TIMES
    return (truth, truth * np.exp(0.1 * errors)) if positive else (truth - 2.0, truth - 2.0 + errors)


@pytest.mark.long
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize(("n", "level"), [(6, 0.8), (9, 0.5)])
def test_a_new_curve_lies_inside_at_all_times_as_often_as_promised(positive: bool, n: int, level: float) -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(1000):
        truth, predicted = curves(rng, n + 1, positive=positive)
        band = _band(TIMES, truth[:n], predicted[:n], UNKNOWN[:n], level)
        low, high = band.around(predicted[n:], TIMES)
        inside.append(bool(((low <= truth[n:]) & (truth[n:] <= high)).all()))
    assert positive or band.scale == "linear"
    # Errors that are told by so few runs are told approximately.
    assert abs(np.mean(inside) - level) < 0.06


@pytest.mark.parametrize("positive", [True, False])
def test_the_band_is_narrower_by_what_surrogates_that_have_learned_from_a_run_miss_less(positive: bool) -> None:
    truth, predicted = curves(np.random.default_rng(1), 8, positive=positive)
    wide = _band(TIMES, truth, predicted, UNKNOWN[:8], 0.8)
    # A tenth of the errors: the share is the root of 1/4 + 3/4 of a hundredth.
    seen = truth * (predicted / truth) ** 0.1 if positive else truth + (predicted - truth) / 10
    narrow = _band(TIMES, truth, predicted, seen, 0.8)
    assert narrow.scale == wide.scale
    rtol = 1e-12 if wide.scale == "log" else 2e-2
    np.testing.assert_allclose(narrow.half_width, np.sqrt(0.25 + 0.75 / 100) * wide.half_width, rtol=rtol)
    # Of some runs nothing else is known than what was missed there.
    some = _band(TIMES, truth, predicted, np.where(np.arange(8)[:, None] < 5, seen, np.nan), 0.8)
    assert ((narrow.half_width < some.half_width) & (some.half_width < wide.half_width)).all()
    same = _band(TIMES, truth, predicted, predicted, 0.8)
    np.testing.assert_allclose(same.half_width, wide.half_width)


def test_no_run_has_a_say_in_the_unit_of_its_own_error() -> None:
    truth = np.ones((4, len(TIMES)))
    predicted = truth + np.array([1.0, -1.0, 1.0, 30.0])[:, None]
    band = _band(TIMES, -truth, -predicted, UNKNOWN[:4], 0.8)
    # In units of all it would be 30, twice the root mean square of all four.
    assert band.half_width.min() > 300.0


def test_simulate_adds_both_ends(validation: xr.Dataset, committee: hoam.Surrogate, tmp_path: Path) -> None:
    model = trust.with_bands(committee, validation, level=0.7)
    arguments = {"key": jax.random.key(3), "n_samples": 64, "progress": False}
    ds = hoam.simulate(model, {"mu": [1.35]}, [0.0, 0.75, 2.0], **arguments)
    for name in ("electric_energy", "variance_v", "mode_1_x"):
        assert (ds[f"{name}_low"] < ds[f"{name}_high"]).all()
    assert (ds["electric_energy_low"] > 0).all()
    assert (ds["electric_energy_low"] <= ds["electric_energy"]).all()
    assert "level 0.7" in ds["electric_energy_low"].attrs["long_name"]
    hoam.ensemble.validate(ds)
    loaded = hoam.load(model.save(tmp_path / "model.hoam"))
    bands = provenance_of(loaded).bands
    assert bands is not None
    assert (bands.level, bands.n_runs) == (0.7, 3)
    again = hoam.simulate(loaded, {"mu": [1.35]}, [0.0, 0.75, 2.0], **arguments)
    xr.testing.assert_equal(again["variance_v_high"], ds["variance_v_high"])
    figure = hoam.plots.energy_curves(ds, {"surrogate": ds})
    assert "its band" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_function_of_the_user_has_its_band(committee: hoam.Surrogate) -> None:
    ones = np.ones((4, 3))
    left_out = xr.Dataset(
        {"mine_truth": (("run", "time"), ones), "mine_left_out": (("run", "time"), -ones)}, {"time": [0.0, 1.0, 2.0]}
    )
    model = trust.with_bands(committee, left_out, level=0.8)
    low, high = trust.band_around(model, "mine", ones[:1], np.asarray([0.0, 0.5, 2.0]))
    np.testing.assert_allclose(high - low, 4.0)
    with pytest.raises(ValueError, match="it has \\['mine'\\]"):
        trust.band_around(model, "other", ones[:1], np.asarray([0.0, 0.5, 2.0]))


def test_what_so_few_runs_cannot_promise_is_refused(committee: hoam.Surrogate, validation: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"level=0\.8 cannot be promised by 3 left-out runs, but at most 0\.75"):
        trust.with_bands(committee, validation, level=0.8)
    with pytest.raises(ValueError, match="level=1"):
        trust.with_bands(committee, validation, level=1.0)
    with pytest.raises(ValueError, match="no curves"):
        trust.with_bands(committee, validation[["electric_energy_error"]], level=0.5)

"""What of a force the saved times resolve: positions whose waves move too fast for them are not seen."""

import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.training import choices

KEY = jax.random.key(0)
SHORT, LONG = 0.5, 40.0


def streaming(n_times: int, *, periods: dict[str, float]) -> xr.Dataset:
    """Free motion x + v t along every position, of a density with a wave, at Gauss nodes of [0, 4]."""
    rng = np.random.default_rng(0)
    nodes, weights = np.polynomial.legendre.leggauss(n_times)
    times = np.concatenate([[0.0], 2 * (nodes + 1), [4.0]])
    dims, variables = ("run", "time", "sample"), {}
    for name, period in periods.items():
        # A start that is not uniform, so that its waves are there.
        start = period * rng.beta(2, 3, 4000)
        v = rng.standard_normal(4000)
        x = np.mod(start + v * times[:, None], period)
        variables[name] = (dims, x[None].astype(np.float32), {"period": period})
        variables[f"v{name}"] = (dims, np.broadcast_to(v, x.shape)[None].astype(np.float32), {"velocity_of": name})
    variables["quadrature_weight"] = ("time", np.concatenate([[0.0], weights / 2, [0.0]]))
    return xr.Dataset(variables, {"time": times, "mu": ("run", [1.0])})


def chosen(ds: xr.Dataset, given: hoam.VectorField | None = None) -> choices.Choices:
    """What `fit` would train."""
    nothing: dict[str, Any] = dict.fromkeys(("loss", "training", "replaces", "validate", "clock", "base"))
    return choices.resolve(ds, structure="kinetic", potential=given, **nothing)


def potential(ds: xr.Dataset, given: hoam.VectorField | None = None) -> hoam.VectorField:
    found = chosen(ds, given).potential
    assert isinstance(found, hoam.VectorField)
    return found


def test_a_short_period_that_samples_cross_between_saved_times_is_not_seen() -> None:
    ds = streaming(24, periods={"x": LONG, "y": SHORT})
    with pytest.warns(UserWarning, match="24 saved times do not resolve the motion of the samples along y: ") as caught:
        found = potential(ds)
    assert len(caught) == 1
    assert found.unseen == (2,)
    assert found.time_harmonics is not None
    assert found.time_harmonics >= 1


def test_with_all_positions_resolved_all_are_seen() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = potential(streaming(64, periods={"x": LONG, "y": LONG}))
    assert found.unseen == ()


def test_with_none_resolved_all_are_seen_at_one_harmonic_in_time() -> None:
    with pytest.warns(UserWarning, match="along x, y: .* simulate on a rule with twice as many nodes") as caught:
        found = potential(streaming(24, periods={"x": SHORT, "y": SHORT}))
    assert len(caught) == 1
    assert found.unseen == ()
    assert found.time_harmonics == 1


def test_what_is_said_stays() -> None:
    ds = streaming(24, periods={"x": LONG, "y": SHORT})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert potential(ds, hoam.VectorField(unseen=(2,))).unseen == (2,)
        assert potential(ds, hoam.VectorField(unseen=(0, 2))).time_harmonics == 8
        assert potential(ds, hoam.VectorField(time_harmonics=2)).unseen == ()


def test_what_is_too_fast_is_added_to_what_is_said() -> None:
    ds = streaming(24, periods={"x": LONG, "y": SHORT, "z": LONG})
    with pytest.warns(UserWarning, match="along y: "):
        assert potential(ds, hoam.VectorField(unseen=(4,))).unseen == (4, 2)


@pytest.mark.parametrize("period", [LONG, SHORT])
def test_samples_are_followed_where_they_are_trajectories(period: float) -> None:
    ds = streaming(64, periods={"x": LONG, "y": period})
    given = hoam.VectorField(time_harmonics=1)
    assert chosen(ds, given).loss == hoam.ActionMatching(epsilon=0.0, samples="coupled", time_derivative="network")
    rng = np.random.default_rng(1)
    redrawn = ds.copy(deep=True)
    for time in range(ds.sizes["time"]):
        who = rng.permutation(ds.sizes["sample"])
        for name in ("x", "vx", "y", "vy"):
            redrawn[name][:, time] = ds[name].values[:, time][:, who]
    assert chosen(redrawn, given).loss == hoam.ActionMatching(
        epsilon=0.0, samples="independent", time_derivative="network"
    )


@pytest.mark.parametrize("conservative", [False, True])
def test_the_force_does_not_depend_on_what_is_not_seen(conservative: bool, tmp_path: Path) -> None:
    ds = streaming(24, periods={"x": LONG, "y": SHORT})
    field = hoam.VectorField(width=8, depth=2, time_harmonics=1, unseen=(2,), conservative=conservative)
    training = hoam.Training(iterations=30, warmup=5)
    model = hoam.fit(ds, key=KEY, structure="kinetic", potential=field, training=training, progress=False)
    rows = np.tile(np.asarray([[3.0, 0.2, 0.1, -0.4]], np.float32), (3, 1))
    rows[1, 0], rows[2, 2] = 20.0, 0.3
    velocity = np.asarray(model.velocity(rows, 1.0, {"mu": 1.0}))
    assert np.array_equal(velocity[2], velocity[0])
    assert not np.array_equal(velocity[1, [1, 3]], velocity[0, [1, 3]])
    if conservative:
        assert velocity[0, 3] == 0
    model.save(tmp_path / "model.hoam")
    again = hoam.load(tmp_path / "model.hoam")
    assert np.array_equal(np.asarray(again.velocity(rows, 1.0, {"mu": 1.0})), velocity)


@pytest.mark.usefixtures("as_installed")
def test_a_field_sees_something() -> None:
    ds = streaming(24, periods={"x": LONG})
    everything = hoam.VectorField(unseen=(0, 1), time_harmonics=1)
    with pytest.raises(ValueError, match="leaves no coordinate that it sees"):
        hoam.fit(ds, key=KEY, structure="field", loss=hoam.MomentMatching(), potential=everything, progress=False)


@pytest.mark.usefixtures("as_installed")
def test_columns_that_cannot_be_are_refused() -> None:
    with pytest.raises(TypeError, match=r"unseen=2 must be a tuple of columns"):
        hoam.VectorField(unseen=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="unseen=-1 must be a whole number of at least 0"):
        hoam.VectorField(unseen=(-1,))


@pytest.mark.usefixtures("as_installed")
@pytest.mark.parametrize(("structure", "column"), [("kinetic", 1), ("kinetic", 7), ("field", 4)])
def test_columns_that_are_not_there_or_no_positions_are_refused(structure: Any, column: int) -> None:
    ds = streaming(24, periods={"x": LONG, "y": LONG})
    loss = hoam.MomentMatching() if structure == "field" else None
    with pytest.raises(ValueError, match=rf"unseen=\({column},\) of VectorField must be columns of "):
        hoam.fit(
            ds,
            key=KEY,
            structure=structure,
            loss=loss,
            potential=hoam.VectorField(unseen=(column,), time_harmonics=1),
            training=hoam.Training(iterations=2),
            progress=False,
        )

"""Data of others without rates: where samples are followed, `fit` takes their differences; trees; what it says."""

import warnings

import jax
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import ensembles
from hoam_plugin.dynamics import structure_of
from hoam_plugin.training import check, default_loss

KEY = jax.random.key(0)
SMALL = {
    "potential": hoam.VectorField(width=8, depth=2),
    "training": hoam.Training(iterations=20, n_samples=16, block=10),
}


def oscillators(times: np.ndarray, noise: float = 0.0, mu: tuple[float, ...] = (0.8, 1.2)) -> xr.Dataset:
    """x'' = -mu^2 x, of followed samples."""
    rng = np.random.default_rng(0)
    x0, v0 = rng.normal(size=(2, len(mu), 1, 300))
    w, t = np.asarray(mu)[:, None, None], times[None, :, None]
    x, v = x0 * np.cos(w * t) + v0 / w * np.sin(w * t), v0 * np.cos(w * t) - w * x0 * np.sin(w * t)
    v = v + noise * np.cumsum(rng.normal(size=v.shape), axis=1) * np.sqrt(np.gradient(times))[:, None]
    return hoam.ensemble.from_arrays(x=x, v=v, time=times, parameters={"mu": mu}, velocity_of={"v": "x"})


def chosen(ds: xr.Dataset, kind: str = "kinetic") -> str:
    variables = ensembles.variables(ds)
    return type(default_loss(structure_of(kind, variables, [1] * len(variables)), ds)).__name__


EVEN = np.linspace(0.0, 6.0, 31)


def test_followed_samples_at_equal_times_are_matched_to_their_differences() -> None:
    assert chosen(oscillators(EVEN)) == "TrajectoryMatching"
    assert chosen(oscillators(EVEN), "field") == "TrajectoryMatching"
    assert chosen(oscillators(EVEN), "gradient") == "ActionMatching"


def test_not_where_differences_are_no_rates() -> None:
    assert chosen(oscillators(EVEN**2 / 6)) == "ActionMatching", "uneven"
    assert chosen(oscillators(np.linspace(0.0, 30.0, 21))) == "ActionMatching", "a turn in four steps"
    assert chosen(oscillators(EVEN, noise=2.0)) == "ActionMatching", "kicked"
    ds = oscillators(EVEN)
    order = np.random.default_rng(1).permuted(np.tile(np.arange(300), (31, 1)), axis=1)
    apart = {
        n: (ds[n].dims, np.stack([r[np.arange(31)[:, None], order] for r in ds[n].values]), ds[n].attrs) for n in ds
    }
    assert chosen(ds.assign(apart)) == "ActionMatching", "in another order at each time"
    assert chosen(ds.assign_attrs(sampling="snapshots")) == "ActionMatching", "said to be unrelated"


@pytest.mark.parametrize("units", [(1.0, 1.0, 0.0), (1e-9, 1e-15, 5e6), (1e12, 1e3, 0.0)])
def test_the_choice_does_not_depend_on_units(units: tuple[float, float, float]) -> None:
    length, time, late = units
    ds = oscillators(EVEN)
    other = hoam.ensemble.from_arrays(
        x=ds["x"].values * length,
        v=ds["v"].values.astype(float) * length / time,
        time=(EVEN + late) * time,
        parameters={"mu": ds["mu"].values},
        velocity_of={"v": "x"},
    )
    assert chosen(other) == "TrajectoryMatching"


@pytest.mark.long
def test_fit_says_what_it_learns_from(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = hoam.fit(oscillators(EVEN), key=KEY, structure="kinetic", **SMALL)
    said = capsys.readouterr().err
    assert "matched to their differences (TrajectoryMatching); loss=ActionMatching() takes samples alone" in said
    assert model.horizon == (0.0, 6.0)


def test_fit_takes_a_tree(capsys: pytest.CaptureFixture[str]) -> None:
    runs = hoam.ensemble.tree([oscillators(EVEN, mu=(0.8,)), oscillators(EVEN[:26], mu=(1.2,))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = hoam.fit(runs, key=KEY, structure="kinetic", **SMALL)
    assert "fit: 2 runs of different times are taken at 26 common ones, from 0 to 5" in capsys.readouterr().err
    assert (model.ranges, model.horizon) == ({"mu": (0.8, 1.2)}, (0.0, 5.0))


def test_the_plan_is_what_fit_does() -> None:
    plan = check(oscillators(EVEN)).plan
    assert "SplinePotential, ActionMatching" in plan[0]
    assert "VectorField, TrajectoryMatching" in plan[1]
    uneven = check(oscillators(EVEN**2 / 6)).plan
    assert "although samples are trajectories, since the times are not equally spaced" in uneven[1]
    assert "learns" not in check(oscillators(EVEN).isel(time=[0])).plan[0]
    tree = hoam.ensemble.tree([oscillators(EVEN, mu=(0.8,)), oscillators(EVEN[:26], mu=(1.2,))])
    assert "26 common ones" in check(tree).plan[0]

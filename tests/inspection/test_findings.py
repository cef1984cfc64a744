"""`ds.hoam.check()`: what is recognised, and every suspicion on data made to deserve it, and none on clean data."""

import re

import numpy as np
import pytest
import xarray as xr

from hoam_plugin import inspection
from hoam_plugin.inspection.summary import short_form

RNG = np.random.default_rng(0)
TIMES = np.linspace(0.0, 2.0, 11)
N = 600


def clean(**attributes: object) -> xr.Dataset:
    """Two runs of particles on a torus of length 8 that move with their velocities, which a wave of position drives."""
    mu = np.asarray([0.5, 1.0])[:, None, None]
    start, speed = RNG.uniform(0, 8, (2, 1, N)), RNG.normal(size=(2, 1, N))
    t = TIMES[None, :, None]
    wave = 0.5 * mu * np.cos(np.pi * start / 4)
    data = {"x": start + speed * t + wave * t**2 / 2, "v": speed + wave * t}
    ds = xr.Dataset({n: (("run", "time", "sample"), values) for n, values in data.items()})
    ds = ds.assign_coords(time=TIMES, mu=("run", mu.ravel()))
    ds["x"].attrs.update(period=8.0)
    ds["v"].attrs.update(velocity_of="x")
    return ds.assign_attrs(attributes)


def said(ds: xr.Dataset) -> str:
    return "\n".join(inspection.look_at(ds).suspicions)


TWO_VALUES = "the parameter 'mu' has two values"


def test_clean_data_is_recognised() -> None:
    found = inspection.look_at(clean())
    assert [s for s in found.suspicions if TWO_VALUES not in s] == []
    text = str(found)
    for line in (
        "2 runs, 11 times, 600 samples",
        "period 8",
        "velocity of x",
        "mu: 2 values (0.5, 1)",
        "spaced by 0.2",
    ):
        assert line in text
    assert "the same ones at all times, since they move with their velocities" in text
    assert short_form(clean()) == (
        "2 runs of 600 samples of x (period 8), v (velocity of x); parameters mu from 0.5 to 1; 11 equally spaced "
        "times from 0 to 2; trajectories; no rates"
    )


def test_what_is_no_ensemble_gives_its_error() -> None:
    found = inspection.look_at(clean().drop_vars("time"))
    assert found.error.startswith("the ensemble has no coordinate 'time'")
    assert not found.is_sound
    assert "x {'run': 2" in str(found)


def wrapped() -> xr.Dataset:
    ds = clean()
    return ds.assign(x=(ds["x"].dims, ds["x"].values % 8, {}), v=(ds["v"].dims, ds["v"].values, {}))


def changed(name: str, function) -> xr.Dataset:
    ds = clean()
    return ds.assign({name: (ds[name].dims, function(ds[name].values.copy()), ds[name].attrs)})


def with_outlier(values: np.ndarray) -> np.ndarray:
    values[0, 0, 3] = 1e4
    return values


def with_jump(values: np.ndarray) -> np.ndarray:
    values[0, 7:] += 5.0
    return values


CASES = {
    "wrapped": (wrapped, r"the values of 'x' fill \[0.\d+, 7.\d+\] to its ends, and no period is declared"),
    "undeclared velocity": (wrapped, "'v' is the velocity of 'x', by how samples move, and is not declared as one"),
    "velocity units": (lambda: changed("v", lambda v: 1e3 * v).assign_attrs(sampling="trajectories"), "'x' moves by "
    "0.00"),
    "no parameters": (lambda: clean().drop_vars("mu"), "has 2 runs and no parameters"),
    "constant": (lambda: clean().assign_coords(nu=("run", [0.1, 0.1])), "the parameter 'nu' is 0.1 in all runs"),
    "collinear": (lambda: clean().assign_coords(nu=("run", [1.0, 2.0])), "'mu' and 'nu' go with one another in all "
    "runs"),
    "outlier": (lambda: changed("v", with_outlier), "'v' has 1 of 600 values far from all others in run 0, time index "
    "0"),
    "jump": (lambda: changed("v", with_jump), "the mean of 'v' jumps by .* spreads between the times 1.2 and 1.4 of "
    "run 0"),
    "precision": (lambda: changed("v", lambda v: (v + 1e6).astype(np.float32)), "'v' spreads by .* float32 resolves "
    "0.06"),
    "small period": (lambda: changed("x", lambda x: x * 1e-9), "a small part of its period 8; are both in the same "
    "units"),
    "gap": (lambda: clean().isel(time=[0, 1, 2, 3, 10]), "the times 0.6 and 2 lie 7 times further apart than most"),
    "few times": (lambda: clean().isel(time=[0, 5, 10]), "there are 3 saved times"),
    "late clock": (
        lambda: clean().assign_coords(time=("time", (TIMES + 1e5).astype(np.float32))),
        "the clock resolves 0.0078, and the shortest gap is 0.1",
    ),
    "noise": (lambda: changed("v", lambda v: v + 2 * RNG.normal(size=v.shape)).assign_attrs(sampling="trajectories"),
              "of the rate of 'v' is a smooth function"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_suspicious_is_said(name: str) -> None:
    make, sentence = CASES[name]
    lines = said(make()).splitlines()
    assert any(re.search(sentence, line) for line in lines), lines


def test_recorded_rates_that_are_noise() -> None:
    ds = clean()
    a = 0.5 * ds["mu"].values[:, None, None] * np.cos(np.pi * ds["x"].values / 4)
    good = ds.assign(a=(ds["x"].dims, a, {"rate_of": "v"}))
    assert "smooth function" not in said(good)
    bad = ds.assign(a=(ds["x"].dims, RNG.normal(size=a.shape), {"rate_of": "v"}))
    assert "of the rate of 'v' is a smooth function of a sample's own variables" in said(bad)


def test_a_gaussian_cloud_is_not_taken_for_wrapped() -> None:
    x = RNG.normal(size=(1, 9, 2000))
    ds = xr.Dataset({"x": (("run", "time", "sample"), x)}, {"time": np.arange(9.0)})
    assert "period" not in said(ds)
    assert "perhaps unrelated" in str(inspection.look_at(ds))


@pytest.mark.parametrize("scale", [1e-24, 1e12])
def test_findings_do_not_depend_on_units(scale: float) -> None:
    """Lengths, times and parameters by powers of ten: the same suspicions but for their numbers."""
    for make in (clean, wrapped, CASES["jump"][0], CASES["outlier"][0]):
        RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state
        ds = make()
        other = ds.assign({n: (ds[n].dims, ds[n].values * scale, ds[n].attrs) for n in ("x", "v")})
        if "period" in ds["x"].attrs:
            other["x"].attrs["period"] = 8.0 * scale
        first, second = (inspection.look_at(d).suspicions for d in (ds, other))
        assert [s.split(" ")[:3] for s in first] == [s.split(" ")[:3] for s in second]

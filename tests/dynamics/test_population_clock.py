"""The clock of a population by itself, in normalisations, and found in samples."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import hoam_plugin as hoam
from hoam_plugin.dynamics import (
    PopulationClock,
    clock_attribute,
    clock_from,
    clock_through,
    normalisation_of,
    population_clock_of,
    recorded_clock,
)

FRACTIONS = np.linspace(-0.2, 1.2, 281)


def uneven() -> PopulationClock:
    """A clock with a fast phase in the middle."""
    gaps = 1 / (1 + 6 * np.exp(-(((np.linspace(0, 1, 16) - 0.4) / 0.15) ** 2)))
    knots = np.concatenate([[0.0], np.cumsum(gaps)]) / gaps.sum()
    knots[-1] = 1.0
    return clock_through(knots, np.linspace(0, 1, 17))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(1e-3, 1.0), st.floats(1e-3, 1.0)), min_size=2, max_size=12),
)
def test_it_rises_goes_through_what_is_given_and_has_an_inverse(gaps: list[tuple[float, float]]) -> None:
    knots, values = (np.concatenate([[0.0], np.cumsum(g) / np.sum(g)]) for g in zip(*gaps, strict=True))
    knots[-1] = values[-1] = 1.0
    clock = clock_through(knots, values)
    tau = clock.tau_on_host(FRACTIONS)
    assert (np.diff(tau) > 0).all()
    assert (clock.rate_on_host(FRACTIONS) > 0).all()
    np.testing.assert_allclose(clock.tau_on_host(np.asarray(knots, np.float32).astype(float)), values, atol=1e-7)
    # As exact as a reading determines it.
    ulps = 8 * np.finfo(float).eps * np.maximum(1.0, 1 / clock.rate_on_host(FRACTIONS))
    assert (np.abs(clock.fraction_on_host(tau) - FRACTIONS) <= ulps * 2).all()


@pytest.mark.long
@pytest.mark.usefixtures("x64")
def test_compiled_and_on_the_host_it_is_the_same_map_and_its_derivatives_are_right() -> None:
    clock = uneven()
    at = jnp.asarray(FRACTIONS)
    np.testing.assert_allclose(jax.jit(clock.tau)(at), clock.tau_on_host(FRACTIONS), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(clock.fraction(clock.tau(at)), FRACTIONS, atol=4e-15)
    np.testing.assert_allclose(jax.vmap(jax.grad(clock.tau))(at), clock.rate(at), rtol=1e-12)
    inside, h = jnp.asarray([0.113, 0.402, 0.871]), 1e-5
    slope, bend = jax.vmap(jax.grad(clock.fraction))(inside), jax.vmap(jax.grad(jax.grad(clock.fraction)))(inside)
    np.testing.assert_allclose(slope, 1 / clock.rate(clock.fraction(inside)), rtol=1e-12)
    slopes = [jax.vmap(jax.grad(clock.fraction))(inside + step) for step in (-h, h)]
    np.testing.assert_allclose(bend, (slopes[1] - slopes[0]) / (2 * h), rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(jax.jacfwd(jax.jacfwd(clock.fraction)))(inside), bend, rtol=1e-10)


@pytest.mark.usefixtures("x64")
def test_the_mean_rate_of_a_step_is_what_it_grows_by() -> None:
    clock = uneven()
    start = jnp.asarray(FRACTIONS)
    for length in (0.37, -0.2, 1e-3):
        grown = clock.mean_rate(start, jnp.full_like(start, length)) * length
        np.testing.assert_allclose(grown, clock.tau(start + length) - clock.tau(start), atol=1e-14)
    np.testing.assert_allclose(clock.mean_rate(start, jnp.zeros_like(start)), clock.rate(start), rtol=1e-12)


def test_single_precision_keeps_the_digits_of_short_steps() -> None:
    clock = uneven()
    start = jnp.asarray(np.linspace(0.01, 0.95, 57), jnp.float32)
    assert clock.tau(start).dtype == clock.fraction(start).dtype == jnp.float32
    np.testing.assert_allclose(clock.mean_rate(start, jnp.full_like(start, 1e-7)), clock.rate(start), rtol=1e-3)


def test_what_is_no_clock_is_refused() -> None:
    for knots, values in (([0, 0.5, 0.5, 1], [0, 0.1, 0.2, 1]), ([0, 0.5], [0, 1]), ([0, 1], [0, np.nan]), ([0], [0])):
        with pytest.raises(ValueError, match="must increase from 0 to 1"):
            clock_through(knots, values)
    with pytest.raises(ValueError, match="one for each"):
        clock_through([0, 0.5, 1], [0, 1])


def ensemble(times: Any, x: Any) -> xr.Dataset:
    return xr.Dataset({"x": (("run", "time", "sample"), np.asarray(x))}, {"time": times, "r": ("run", [0.0, 1.0])})


def shifted(times: Any, path: Any, n: int = 2000, *, coupled: bool = False) -> xr.Dataset:
    """Two runs of N(path(t), 1), drawn anew at every time, or once."""
    noise = np.random.default_rng(0).standard_normal((2, 1 if coupled else len(times), n))
    return ensemble(times, noise + path(np.asarray(times))[None, :, None])


def ended_gauss(n: int) -> np.ndarray:
    return np.concatenate([[0.0], hoam.quadrature.gauss_legendre(n).nodes_and_weights()[0], [1.0]])


@pytest.mark.parametrize("n", [64, 300, 4000])
def test_noise_is_no_motion(n: int) -> None:
    ds = shifted(ended_gauss(64), np.zeros_like, n)
    norm = normalisation_of(ds)
    assert population_clock_of(ds, norm) is None
    forced = population_clock_of(ds, norm, always=True)
    assert forced is not None
    # Nodes that crowd at the ends would be noise apart from one another.
    np.testing.assert_allclose(forced.rate_on_host(np.linspace(0, 1, 50)), 1.0, atol=0.2)


@pytest.mark.parametrize("coupled", [False, True])
def test_a_fast_start_is_spread_out(coupled: bool) -> None:
    def path(t: Any) -> Any:
        return 8 * (1 - np.exp(-t / 0.04)) + 2 * t

    ds = shifted(np.linspace(0, 1, 129), path, coupled=coupled)
    clock = population_clock_of(ds, normalisation_of(ds))
    assert clock is not None
    assert clock.rate_on_host(np.zeros(1))[0] > 4
    # Evenly in the clock, 70 % of the way is distance and the rest is time.
    tau = np.linspace(0, 1, 11)
    wanted = 0.7 * np.abs(path(np.linspace(0, 1, 2001))) / path(np.ones(1)) + 0.3 * np.linspace(0, 1, 2001)
    at = np.interp(tau, wanted, np.linspace(0, 1, 2001))
    np.testing.assert_allclose(clock.fraction_on_host(tau), at, atol=0.03)


def test_an_even_pace_needs_no_clock() -> None:
    ds = shifted(ended_gauss(32), lambda t: 5 * t)
    assert population_clock_of(ds, normalisation_of(ds)) is None


def test_units_origins_of_time_and_lazy_arrays_do_not_matter(tmp_path: Any) -> None:
    plain = shifted(np.linspace(0, 1, 65), lambda t: 6 * np.tanh(t / 0.1)).astype(np.float32)
    odd = plain.assign(x=plain["x"].astype(np.float64) * 1e-12 + 3e-10).assign_coords(time=1e6 + 1e-3 * plain["time"])
    hoam.ensemble.save(plain, tmp_path / "e.zarr")
    clocks = [
        population_clock_of(ds, normalisation_of(ds))
        for ds in (plain, odd.astype(np.float64), hoam.ensemble.load(tmp_path / "e.zarr", lazy=True))
    ]
    tau = np.linspace(0, 1, 21)
    readings = [clock.fraction_on_host(tau) for clock in clocks if clock is not None]
    np.testing.assert_allclose(readings[1], readings[0], atol=2e-3)
    np.testing.assert_array_equal(readings[2], readings[0])


def test_an_ensemble_remembers_the_clock_of_its_own_times_only() -> None:
    ds = shifted(np.linspace(2, 4, 9), np.zeros_like, 50)
    ds.attrs |= clock_attribute(uneven(), (2.0, 4.0))
    found = recorded_clock(ds)
    assert found is not None
    assert found.fields() == uneven().fields() == clock_from(json.loads(json.dumps(found.fields()))).fields()
    assert recorded_clock(ds.isel(time=slice(5))) is None
    ds.attrs["population_clock"] = "{}"
    with pytest.raises(ValueError, match="is no clock"):
        recorded_clock(ds)


@pytest.mark.usefixtures("x64")
def test_known_physics_stays_per_physical_time() -> None:
    ds = shifted(np.linspace(100, 104, 5), np.zeros_like, 64)
    norm = dataclasses.replace(normalisation_of(ds), clock=uneven())
    elapsed = jnp.linspace(0.0, 4.0, 9)
    np.testing.assert_allclose(norm.elapsed(norm.tau(elapsed)), elapsed, atol=1e-13)
    np.testing.assert_allclose(norm.tau_on_host(100 + np.asarray(elapsed)), norm.tau(elapsed), atol=1e-14)
    condition = norm.condition(jnp.asarray(1.3), {"r": 0.4}, jnp.float64)
    back, row = norm.physical_condition(condition)
    np.testing.assert_allclose([back, row["r"]], [1.3, 0.4], rtol=1e-13)
    # All of normalised time is all of the horizon.
    unit = norm.time_unit(norm.elapsed(jnp.linspace(0.0, 1.0, 4001)))
    assert np.trapezoid(unit, dx=1 / 4000) == pytest.approx(4.0, rel=1e-6)

"""Rollouts by tables of the flow: as good as the network's own, and nothing else where that cannot be."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import landau
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.steppers import abilities_of
from hoam_plugin.surrogates import flow_tables

TIMES = np.asarray([0.0, 1.0, 2.5, 4.0])
N = 3000


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small grids for few samples; the numbers of steps that tables were made for."""
    monkeypatch.setattr(flow_tables, "_SIDES", {2: (8, 24)})
    taken: list[int] = []
    original = flow_tables._moved

    def counted(learned: Any, options: Any, side: int, state: Any, steps: Any, *rest: Any) -> Any:
        taken.append(int(steps.length))
        return original(learned, options, side, state, steps, *rest)

    monkeypatch.setattr(flow_tables, "_moved", counted)
    return taken


def _run(model: hoam.Surrogate, **options: Any) -> xr.Dataset:
    settings: dict[str, Any] = {"key": jax.random.key(4), "n_samples": N, "dt": 0.25, "progress": False} | options
    return hoam.simulate(model, {"mu": [1.4]}, TIMES, **settings)


@pytest.mark.long
def test_samples_go_where_the_network_takes_them(model: hoam.Surrogate, tables: list[int]) -> None:
    tabulated = _run(model)
    assert tables
    start = {name: jnp.asarray(tabulated[name].values[0, 0]) for name in ("x", "v")}
    state = dataclasses.replace(model.init(jax.random.key(0), N, {"mu": 1.4}), **start)
    own = model.solve(state, TIMES, {"mu": 1.4}, dt=0.25)
    for name, period in (("x", 50.0), ("v", None)):
        missed = tabulated[name].values[0] - np.asarray(getattr(own, name))
        missed = missed if period is None else missed - period * np.round(missed / period)
        share = np.sqrt(np.mean(missed**2, axis=1)) / tabulated[name].values[0].std(axis=1)
        assert np.all(share < 2 * flow_tables._LARGEST_ERROR * TIMES / 4 + 1e-6)
        assert share[-1] > 0


def test_no_grid_is_fine_enough(model: hoam.Surrogate, tables: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_tables, "_LARGEST_ERROR", 0.0)
    refused = _run(model)
    # Tables of fewer and fewer steps, then a finer grid.
    assert tables == [4, 2, 1, 4, 2, 1]
    monkeypatch.setattr(flow_tables, "_SIDES", {})
    for name in ("x", "v"):
        np.testing.assert_array_equal(refused[name], _run(model)[name])


def test_where_tables_are_not_tried(model: hoam.Surrogate, noisy: hoam.Surrogate) -> None:
    def tables(chosen: hoam.Surrogate, n_samples: int) -> object:
        return abilities_of(chosen).tables(n_samples)

    assert tables(model, 25_000) is not None
    # As many points as samples, nearly.
    assert tables(model, 5000) is None
    assert tables(noisy, 25_000) is None
    assert tables(model.with_options(tables=False), 25_000) is None
    assert tables(model.with_options(on_extrapolation="fallback"), 25_000) is None


def test_tables_do_not_leave_the_trained_times(model: hoam.Surrogate, tables: list[int]) -> None:
    early = dataclasses.replace(model.init(jax.random.key(2), N, {"mu": 1.4}), time=jnp.asarray(-2.0))
    with pytest.raises(ValueError, match="-2"):
        _run(model, initial=early)
    assert not tables


@pytest.fixture(scope="module", params=[False, True], ids=["free", "conservative"])
def force_in_space(request: pytest.FixtureRequest) -> hoam.Surrogate:
    return landau.fit_force(conservative=request.param)


@pytest.mark.long
def test_flow_of_a_force_that_sees_one_of_three_positions(
    force_in_space: hoam.Surrogate, tables: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_tables, "_MANY", 2000)
    settings: dict[str, Any] = {"key": jax.random.key(4), "n_samples": N, "dt": 0.05, "progress": False}
    times = np.asarray([0.0, 0.2, 2.0])
    by_tables = hoam.simulate(force_in_space, {"mu": [1.0]}, times, **settings)
    # From the first saved time to the second there are so few steps that they are taken.
    assert tables
    assert max(tables) == 36
    by_steps = hoam.simulate(force_in_space.with_options(tables=False), {"mu": [1.0]}, times, **settings)
    for variable in force_in_space.variables:
        found, wanted = (ds[variable.name].values[0] for ds in (by_tables, by_steps))
        assert np.abs(wanted[-1] - wanted[0]).max() > 0 or variable.name in ("v2", "v3")
        np.testing.assert_array_equal(found[1], wanted[1])
        missed = found[-1] - wanted[-1]
        if variable.period is not None:
            missed = missed - variable.period * np.round(missed / variable.period)
            assert found.min() >= 0
            assert found.max() < variable.period
        assert np.sqrt(np.mean(missed**2)) < 2 * flow_tables._LARGEST_ERROR * wanted[-1].std()


def test_kinetic_tables_are_for_many_samples_without_noise(force_in_space: hoam.Surrogate) -> None:
    def made(model: hoam.Surrogate, n_samples: int) -> bool:
        return flow_tables.flow_tables(model.learned, model.trained, model.options, n_samples) is not None

    assert made(force_in_space, 1_000_000)
    assert not made(force_in_space, 25_000)
    assert not made(force_in_space.with_options(integrator="heun"), 1_000_000)
    assert not made(force_in_space.with_options(on_extrapolation="fallback"), 1_000_000)

"""Rollouts by tables of the flow: as good as the network's own, and nothing else where that cannot be."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
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

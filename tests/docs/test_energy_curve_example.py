"""The downstream example: written once, it runs on the simulator or the surrogate, by name."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from repository import ROOT

import hoam_plugin as hoam
from hoam_plugin import registry

pytestmark = pytest.mark.long

NAME = "two_stream"
MU = [1.3, 1.6]
TIMES = np.linspace(0.0, 2.0, 3)


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = ROOT / "examples" / "energy_curve.py"
    spec = importlib.util.spec_from_file_location("energy_curve", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def surrogate(example: ModuleType) -> hoam.Surrogate:
    # As in test_cli.py, so that one compilation serves both.
    return example.small_surrogate(NAME, key=jax.random.key(0), n_runs=2, n_nodes=8, n_samples=400, iterations=10)


@pytest.fixture
def registered(surrogate: hoam.Surrogate) -> Iterator[hoam.Surrogate]:
    hoam.register(NAME, surrogate)
    yield surrogate
    registry.unregister(NAME)


def test_the_same_function_gives_the_same_structure_by_either_stepper(
    example: ModuleType, registered: hoam.Surrogate
) -> None:
    def curve() -> xr.DataArray:
        return example.energy_curve(NAME, MU, TIMES, key=jax.random.key(1), n_samples=400)

    by_simulator = curve()
    with hoam.use_surrogate(NAME):
        by_surrogate = curve()
    assert by_surrogate.dims == by_simulator.dims == ("run", "time")
    assert by_surrogate.shape == by_simulator.shape == (2, 3)
    assert by_surrogate.dtype == by_simulator.dtype
    assert by_surrogate.attrs == by_simulator.attrs
    for name, coordinate in by_simulator.coords.items():
        np.testing.assert_array_equal(by_surrogate[name], coordinate)
    # Both draw the same start, so that only what follows differs.
    np.testing.assert_allclose(by_surrogate[:, 0], by_simulator[:, 0], rtol=1e-5)
    assert not np.allclose(by_surrogate[:, 1:], by_simulator[:, 1:], rtol=1e-5)
    np.testing.assert_array_equal(curve(), by_simulator)


def test_script_prints_both_curves(
    example: ModuleType, surrogate: hoam.Surrogate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    surrogate.save(tmp_path / "model.hoam")
    try:
        example.main(["--model", str(tmp_path / "model.hoam"), "--mu", "1.4", "--samples", "400"])
    finally:
        registry.unregister(NAME)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["mu", "time", "simulator", "surrogate"]
    assert len(lines) == 10
    assert all(np.isfinite([float(word) for word in line.split()]).all() for line in lines[1:])


def test_names_resolve_at_trace_time(registered: hoam.Surrogate) -> None:
    state = hoam.stepper(NAME).init(jax.random.key(0), 400, {"mu": jnp.asarray(1.4)})

    def acceleration(stepper: Any, state: Any) -> jax.Array:
        return stepper.rates(state, {"mu": jnp.asarray(1.4)})["v"]

    # The name is looked up while tracing, so that the compiled function goes on with what it found then.
    name_inside = jax.jit(lambda state: acceleration(hoam.stepper(NAME), state))
    # A stepper is a pytree: look the name up outside and pass the stepper in.
    stepper_passed_in = jax.jit(acceleration)

    first = name_inside(state)
    np.testing.assert_array_equal(stepper_passed_in(hoam.stepper(NAME), state), first)
    with hoam.use_surrogate(NAME):
        np.testing.assert_array_equal(name_inside(state), first)
        assert not np.array_equal(stepper_passed_in(hoam.stepper(NAME), state), first)

"""`examples/choose_runs.py`: the loop adds runs where they are proposed."""

import importlib.util
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pytest
import xarray as xr
from repository import ROOT

from hoam_plugin import simulate, simulators


@pytest.mark.long
def test_the_loop_adds_runs_one_by_one(runs: xr.Dataset, small: dict[str, Any]) -> None:
    sim, asked = simulators.two_stream(n_cells=32, dt=0.25, horizon=(0.0, 2.0)), list[float]()

    def truth(values: Sequence[dict[str, float]]) -> xr.Dataset:
        asked.extend(row["mu"] for row in values)
        columns = {"mu": [row["mu"] for row in values]}
        return simulate(
            sim, columns, runs["time"].values, key=jax.random.key(1), n_samples=64, rates=True, progress=False
        )

    path = ROOT / "examples" / "choose_runs.py"
    spec = importlib.util.spec_from_file_location("choose_runs", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    options = {name: value for name, value in small.items() if name != "progress"}
    candidates = {"mu": np.linspace(1.2, 1.6, 9)}
    chosen = example.choose(runs, candidates, 6, truth, key=jax.random.key(0), members=3, n_samples=64, **options)
    assert chosen.runs["mu"].values[:5].tolist() == runs["mu"].values.tolist()
    assert chosen.runs["mu"].values[5:].tolist() == asked
    assert asked[0] not in runs["mu"].values
    assert chosen.why[0].startswith(f"mu = {asked[0]:g}: ")

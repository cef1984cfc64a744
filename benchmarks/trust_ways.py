"""Ways to tell the error between runs from folds: `python -m benchmarks.trust_ways --problems ... --seeds ...`.

Each is set against the error of the surrogate of all runs at new parameters. `python -m benchmarks.trust table` writes
what came of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks.trust_parts import ITERATIONS, N_RUNS, RANGE, keep, measure_all, options, predicted_of, runs_of
from hoam_plugin.training import iterations

INNER = range(1, N_RUNS - 1)
# Of the iterations of a fold that begins with the weights of another surrogate.
SHARE = 0.25


def energy_errors(model: hoam.Surrogate, truth: xr.Dataset) -> list[float]:
    """Electric energy errors of all runs of the truth."""
    predicted = predicted_of(model.with_options(on_extrapolation="ignore"), truth)
    # They begin alike.
    own, other = (hoam.scores.curve_of_ensemble(ds, "electric_energy")[:, 1:] for ds in (truth, predicted))
    return np.mean(np.abs(other - own) / np.abs(own), axis=1).tolist()


def measure(problem: str, seed: int) -> None:
    """Errors at all runs of surrogates of some of them."""
    truth = runs_of(problem, np.linspace(*RANGE, N_RUNS), seed)
    new = runs_of(problem, np.random.default_rng(seed).uniform(*RANGE, 20), seed + 100, rates=False)
    key = jax.random.key(seed)

    def fold(left_out: Sequence[int], number: int, **more: Any) -> hoam.Surrogate:
        others = truth.isel(run=[run for run in range(N_RUNS) if run not in left_out])
        return hoam.fit(others, key=jax.random.fold_in(key, number), **options(**more))

    model = hoam.fit(truth, key=key, **options())
    row: dict[str, Any] = {"held_out": energy_errors(model, new), "all_runs": energy_errors(model, truth)}
    row["one"] = [energy_errors(fold([run], run - 1), truth) for run in INNER]
    halves = [fold(INNER[first::2], 100 + first) for first in range(2)]
    row["half"] = [energy_errors(half, truth) for half in halves]
    row["pair"] = [energy_errors(fold([run, run + 1], 200 + run // 2), truth) for run in INNER[::2]]
    row["started"] = []
    for run in INNER:
        # The half that has not seen the run.
        weights = halves[(run - 1) % 2].learned.weights
        with mock.patch.object(
            iterations, "start", lambda setup, *_, w=weights: iterations.start_of(setup.training, w)
        ):
            short = fold([run], run - 1, iterations=round(SHARE * ITERATIONS))
        row["started"].append(energy_errors(short, truth))
    keep({"part": "ways", "problem": problem, "seed": seed, **row})


if __name__ == "__main__":
    measure_all(measure, __doc__)

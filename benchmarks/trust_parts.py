"""What the measurements of trust have in common: runs, options, scores, and where rows are kept."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report

PROBLEMS = ("two_stream", "bump_on_tail")
RANGE = (1.2, 1.9)
N_NODES, N_SAMPLES, N_RUNS, ITERATIONS = 128, 4000, 10, 1000
CACHE = report.RESULTS / "trust.jsonl"
CURVES = ("electric_energy", "variance_v", "mode_1_x")
SCORES = ("electric_energy_error", "mean_error", "covariance_error", "histogram_l1", "sliced_wasserstein")


def runs_of(problem: str, mu: Sequence[float], seed: int, *, rates: bool = True) -> xr.Dataset:
    """Runs of the true simulator."""
    return hoam.simulate(
        hoam.stepper(problem, surrogate=False),
        {"mu": list(mu)},
        hoam.quadrature.gauss_legendre(N_NODES),
        key=jax.random.key(seed),
        n_samples=N_SAMPLES,
        dt=0.1,
        rates=rates,
        progress=False,
    )


def options(iterations: int = ITERATIONS) -> dict[str, Any]:
    """Of `fit`."""
    training = hoam.recipes.velocity_training(iterations)
    return {"structure": "kinetic", "training": training, "progress": False}


def predicted_of(model: hoam.Surrogate, truth: xr.Dataset, **more: Any) -> xr.Dataset:
    """What the surrogate makes of the same starts."""
    return hoam.simulate(
        model,
        {"mu": truth["mu"].values},
        truth["time"].values,
        key=jax.random.key(1),
        n_samples=N_SAMPLES,
        initial=truth,
        progress=False,
        **more,
    )


def own_scores(truth: xr.Dataset, predicted: xr.Dataset) -> xr.Dataset:
    """Scores of the prediction alone."""
    return hoam.compare(truth, predicted).sel(reference="surrogate")


def keep(row: dict[str, Any]) -> None:
    """Add a row to the results."""
    with CACHE.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)


def measure_all(measure: Callable[..., None], description: str | None, **options: dict[str, Any]) -> None:
    """Measure the problems and seeds of the command line.

    Args:
        measure: of a problem, a seed, and the further options by name.
        description: of the command.
        **options: further ones, as `add_argument` takes them.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--problems", nargs="+", default=PROBLEMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    for name, told in options.items():
        parser.add_argument(f"--{name}", **told)
    given = vars(parser.parse_args())
    problems, seeds = given.pop("problems"), given.pop("seeds")
    for seed in seeds:
        for problem in problems:
            measure(problem, seed, **given)

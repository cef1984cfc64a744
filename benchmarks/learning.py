"""What studies of learning share: problems, ensembles that are simulated once, trainings of a given time, scores."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import problems, report
from benchmarks.resumable import Row

Clock = Literal["physical", "population"]

# Scores of `compare`, by the headers of their columns.
SCORES = {
    "L1": "histogram_l1",
    "SW": "sliced_wasserstein",
    "e.e.": "electric_energy_error",
    "mean": "mean_error",
    "covariance": "covariance_error",
    "Sinkhorn": "paper_sinkhorn_divergence",
}
# What needs no training, by its name in tables.
REFERENCES = {"moments alone": "gaussian", "frozen": "frozen", "floor": "noise_floor"}
TRAINING_SEED, HELD_OUT_SEED, FLOOR_SEED = 0, 1, 2
# Iterations by which a training is timed, in blocks.
_TIMED, _BLOCK = 100, 20
# What a training takes beside its iterations: the judge.
_BESIDE = 1.05


class Task(NamedTuple):
    """A problem as it is learned from samples alone.

    Attributes:
        case: simulator, parameters and sizes.
        variables: which of them are learned; None for all.
        nodes: of the training runs.
    """

    case: problems.Case
    variables: tuple[str, ...] | None = None
    nodes: int = 256

    @property
    def kinetic(self) -> dict[str, Any] | None:
        """Options of `fit` with which the force is learned; None without velocities."""
        options = self.case.options
        return options if options.get("structure") == "kinetic" and self.variables is None else None


TASKS = {
    "oscillator": Task(problems.CASES["oscillator"], ("x",)),
    "duffing": Task(problems.CASES["duffing"]),
    "two_stream": Task(problems.CASES["two_stream"]),
    "bump_on_tail": Task(problems.CASES["bump_on_tail"]),
    "strong_landau": Task(problems.CASES["strong_landau"]),
    "lorenz9": Task(problems.CASES["lorenz9"]),
    "trap": Task(problems.CASES["trap"], nodes=128),
    "yukawa_quench": Task(problems.CASES["yukawa_quench"]),
}


class Data:
    """Runs of the true simulators, each simulated once and kept as a Zarr folder.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def gauss(self, name: str, nodes: int, clock: Clock) -> xr.Dataset:
        """Training runs on Gauss-Legendre nodes, spread over physical time or the clock of the population."""
        return self._training(name, f"gauss{nodes}_{clock}", hoam.quadrature.gauss_legendre(nodes), clock=clock)

    def equal(self, name: str, n_times: int) -> xr.Dataset:
        """Training runs at equal distances in time."""
        return self._training(name, f"equal{n_times}", np.linspace(*_horizon(name), n_times))

    def held_out(self, name: str, seed: int = HELD_OUT_SEED) -> xr.Dataset:
        """Held-out runs at the times that are scored."""
        task = TASKS[name]
        times = np.linspace(*_horizon(name), task.case.n_times)
        return self._runs(name, f"held_out{task.case.n_times}", task.case.held_out, times, seed)

    def _training(self, name: str, label: str, times: Any, **options: Any) -> xr.Dataset:
        return self._runs(name, f"training_{label}", TASKS[name].case.training, times, TRAINING_SEED, **options)

    def _runs(
        self, name: str, label: str, parameters: dict[str, Any], times: Any, seed: int, **options: Any
    ) -> xr.Dataset:
        task = TASKS[name]
        path = self._folder / f"{name}_{label}_{task.case.n_samples}_{seed}.zarr"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            aside = path.with_suffix(f".part{os.getpid()}")
            shutil.rmtree(aside, ignore_errors=True)
            problems.simulated(task.case, parameters, times, seed, store=aside, **options)
            aside.rename(path)
        ds = hoam.ensemble.load(path)
        return ds if task.variables is None else ds[list(task.variables)]


def _horizon(name: str) -> tuple[float, float]:
    return TASKS[name].case.stepper().horizon


# Training


def default_training(loss: Any = None, **changes: Any) -> hoam.Training:
    """The settings that `fit` takes by itself for a loss, by default that of marginals, with changes."""
    return hoam.Training(**((loss or hoam.ActionMatching()).default_training() | changes))


def iterations_in(
    seconds: float, train: Callable[[hoam.Training], Any], training: hoam.Training, most: int | None = None
) -> int:
    """How many iterations a training of some seconds has, by the first ones of a short training without feedback.

    Args:
        seconds: of the training, compilation included, feedback not.
        train: takes settings and gives a stepper with a `history`.
        training: the settings.
        most: iterations.
    """

    def wall(iterations: int) -> tuple[Any, float]:
        begin = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = train(dataclasses.replace(training, iterations=iterations, block=_BLOCK, feedback=False))
        return model, time.perf_counter() - begin

    try:
        model, total = wall(_TIMED)
        if "seconds" in model.history:
            # The first block compiles.
            each = float(np.median(model.history["seconds"].values[_BLOCK:]))
        else:
            # What compiles but once, then two lengths whose compilations take the same time.
            total = wall(_TIMED)[1]
            each = max(wall(5 * _TIMED)[1] - total, 1e-3 * total) / (4 * _TIMED)
    except hoam.TrainingDivergedError:
        # A longer one will tell.
        return most or training.iterations
    n = int((seconds - (total - _TIMED * each)) / (_BESIDE * each))
    return max(1, n if most is None else min(n, most))


# Scores


class Outcome(NamedTuple):
    """What became of a training: its row, and the model, if there is one."""

    row: Row
    model: Any


def outcome(
    train: Callable[[], Any], held: xr.Dataset, case: problems.Case, *, seed: int, sinkhorn: Any = False
) -> Outcome:
    """Train, roll out from the truth's own starts at the held-out parameters, score.

    Args:
        train: gives a stepper with a `history`.
        held: the truth.
        case: of which it is.
        seed: of the rollout.
        sinkhorn: see `compare`.

    Returns:
        A row with `verdict`, `sentence`, `warnings`, `iterations`, `ms` (per iteration), `validation_last` and
        `validation_best`, `training_s`, `rollout_s`, `model` ("yes" or "no") and the scores, one value per run. Entries
        that do not exist are missing.
    """
    row: Row = {"model": "no"}
    model = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        begin = time.perf_counter()
        try:
            model = train()
        except hoam.TrainingDivergedError as error:
            row |= {"verdict": "diverged", "sentence": str(error)}
        row["training_s"] = time.perf_counter() - begin
        if model is not None:
            row |= {"model": "yes", **_of_history(model.history)}
            begin = time.perf_counter()
            try:
                predicted = hoam.simulate(
                    model,
                    case.held_out,
                    held["time"].values,
                    key=jax.random.key(100 + seed),
                    n_samples=held.sizes["sample"],
                    initial=held,
                    dt=case.dt,
                    progress=False,
                )
            except FloatingPointError as error:
                row |= {"verdict": "not finite", "sentence": str(error)}
            else:
                row["rollout_s"] = time.perf_counter() - begin
                row |= scores_of(hoam.compare(held, predicted, sinkhorn=sinkhorn), "surrogate")
    row["warnings"] = list(dict.fromkeys(str(warning.message) for warning in caught))
    return Outcome(row, model)


def _of_history(history: xr.Dataset) -> Row:
    row: Row = {"iterations": history.sizes["iteration"]}
    if "seconds" in history:
        row["ms"] = 1e3 * float(np.median(history["seconds"]))
    if "converged" in history.attrs:
        row |= {"verdict": history.attrs["converged"], "sentence": history.attrs["verdict"]}
    judged = history["validation"].dropna("iteration").values if "validation" in history else np.zeros(0)
    if len(judged):
        row |= {"validation_last": float(judged[-1]), "validation_best": float(judged.min())}
    return row


def scores_of(scores: xr.Dataset, reference: str) -> Row:
    """What a reference has of the scores, one number per run, None where it is not finite."""
    own = scores.sel(reference=reference)
    found = {str(name): own[name].values.tolist() for name in own.data_vars}
    rounded = {name: [float(f"{v:.5g}") if np.isfinite(v) else None for v in values] for name, values in found.items()}
    return {name: values for name, values in rounded.items() if any(v is not None for v in values)}


def reference_scores(held: xr.Dataset, floor: xr.Dataset, training: xr.Dataset | None, **options: Any) -> xr.Dataset:
    """The scores of all that needs no training."""
    return hoam.compare(held, held, training=training, floor=floor, **options)


def mean_of(row: Row, score: str) -> float:
    """Over the held-out runs; infinite where there is none."""
    values = row.get(score) or [None]
    return float("inf") if None in values else float(np.mean(values))


# Commands


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Those that the commands share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    cache = Path(tempfile.gettempdir()) / "hoam_benchmarks"
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the table and its rows")
    parser.add_argument("--cache", type=Path, default=cache, help="folder of simulated runs, many GB")
    return parser

"""Cross-validation, bands, committees and the choice of runs, measured. `python -m benchmarks.trust PART`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks.trust_parts import (
    CURVES,
    N_RUNS,
    N_SAMPLES,
    PROBLEMS,
    RANGE,
    SCORES,
    keep,
    options,
    own_scores,
    predicted_of,
    runs_of,
)
from benchmarks.trust_tables import table
from hoam_plugin import trust
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin.simulators import Beam


def validation(problem: str, seed: int = 0, effort: float = 1.0) -> None:
    """Cross-validated against true held-out errors, the time of folds, and bands over 20 new runs."""
    truth = runs_of(problem, np.linspace(*RANGE, N_RUNS), seed)
    key = jax.random.key(seed)
    begin = time.perf_counter()
    model = hoam.fit(truth, key=key, **options())
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    left_out = hoam.cross_validate(truth, key=key, curves=list(CURVES), effort=effort, **options())
    folds = time.perf_counter() - begin
    new_mu = np.random.default_rng(seed).uniform(*RANGE, 20)
    new = runs_of(problem, new_mu, seed + 100, rates=False)
    banded = trust.with_bands(model, left_out, level=0.8)
    predicted = predicted_of(banded, new)
    scores = own_scores(new, predicted)
    errors = scores["electric_energy_error"].values
    of_folds = left_out["electric_energy_error"]
    own = of_folds.sel(reference="surrogate").values
    row = {
        "part": "validation",
        "effort": effort,
        "problem": problem,
        "seed": seed,
        "left_out": own.tolist(),
        "learned_from": of_folds.sel(reference="learned_from").values.tolist(),
        "held_out": errors.tolist(),
        "scores": {
            name: {
                "left_out": left_out[name].sel(reference="surrogate").values.tolist(),
                "learned_from": left_out[name].sel(reference="learned_from").values.tolist(),
                "held_out": scores[name].values.tolist(),
            }
            for name in SCORES
        },
        "cores": available_cores(),
        "verdict": left_out.attrs["verdict"],
        "fit_seconds": first,
        "folds": len(own),
        "fold_seconds": folds,
    }
    for name in CURVES:
        true = hoam.scores.curve_of_ensemble(new, name)
        central = hoam.scores.curve_of_ensemble(predicted, name)
        low, high = predicted[f"{name}_low"].values, predicted[f"{name}_high"].values
        inside = ((low <= true) & (true <= high))[:, 1:]
        half, off = (high - low)[:, 1:] / 2, np.abs(central - true)[:, 1:]
        size = np.abs(true)[:, 1:]
        row[name] = {
            "coverage": float(inside.all(axis=1).mean()),
            "of_times": float(inside.mean()),
            "relative_half_width": float(np.median(half / size)),
            "relative_error": float(np.median(off / size)),
            "relative_largest_error": float(np.median((off / size).max(axis=1))),
            "narrowest_half_width": narrowest(true[:, 1:], central[:, 1:]),
        }
    keep(row)


def narrowest(true: np.ndarray, central: np.ndarray, level: float = 0.8) -> float:
    """What the relative half width of a band of the same kind would be if it were made with the new runs' own errors.

    Their root mean square over the runs is its shape, and the share `level` of these very runs lies inside.
    """
    widths = []
    for scale in ("linear", "log") if (true > 0).all() and (central > 0).all() else ("linear",):
        errors = np.log(central / true) if scale == "log" else central - true
        shape = np.sqrt((errors**2).mean(axis=0))
        half = np.quantile((np.abs(errors) / shape).max(axis=1), level) * shape
        reach = central * np.sinh(half) if scale == "log" else half
        widths.append(float(np.median(reach / np.abs(true))))
    return min(widths)


def committee(problem: str, seed: int = 0, n: int = 4) -> None:
    """The scores of a committee against those of its members; `benchmarks.trust_times` has the time it takes."""
    truth = runs_of(problem, np.linspace(*RANGE, 8), seed)
    new = runs_of(problem, np.random.default_rng(seed).uniform(*RANGE, 5), seed + 100, rates=False)
    model = hoam.fit(truth, key=jax.random.key(seed), members=n, **options())
    mean = own_scores(new, predicted_of(model, new))
    each = [own_scores(new, predicted_of(member, new)) for member in trust.members_of(model)]
    keep(
        {
            "part": "committee",
            "problem": problem,
            "seed": seed,
            "mean": {name: float(mean[name].mean()) for name in SCORES},
            "members": {name: [float(one[name].mean()) for one in each] for name in SCORES},
        }
    )


class OfMu:
    """Two streams that hardly grow at one end of the range, and strongly at the other."""

    name = "two_stream, mu"
    low, high = (0.8,), (2.8,)
    n_even = ((6,), (8,))
    first = ((0.0,), (0.5,), (1.0,))

    def runs(self, points: np.ndarray, seed: int, *, rates: bool = True, times: Any = None) -> xr.Dataset:
        """Runs of the true simulator at rows of parameters."""
        sim = hoam.simulators.two_stream(horizon=(0.0, 30.0))
        return _simulated(sim, {"mu": points[:, 0]}, seed, rates=rates, times=times)


class OfMuAndDrift:
    """The same with the speed of the beams as a second parameter, over fewer speeds of growth."""

    name = "two_stream, mu and drift"
    low, high = (1.0, 2.4), (2.2, 3.6)
    n_even = ((2, 3), (2, 4))
    first = ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (1.0, 0.0))

    def runs(self, points: np.ndarray, seed: int, *, rates: bool = True, times: Any = None) -> xr.Dataset:
        """Runs of the true simulator at rows of parameters; of each drift by a simulator of its own."""
        each = []
        for mu, drift in points.tolist():
            beams = (Beam(0.5, -drift, 1.0), Beam(0.5, drift, 1.0))
            sim = hoam.simulators.two_stream(beams=beams, horizon=(0.0, 30.0))
            each.append(_simulated(sim, {"mu": [mu]}, seed, rates=rates, times=times))
        ds = xr.concat(each, dim="run", data_vars="minimal", coords="minimal", compat="override", join="override")
        # No simulator is that of all runs.
        attributes = {name: value for name, value in ds.attrs.items() if name != "stepper"}
        own = ds.drop_vars("electric_energy").assign_coords(drift=("run", points[:, 1])).copy()
        own.attrs = attributes
        return own


def _simulated(sim: Any, columns: dict[str, Any], seed: int, *, rates: bool, times: Any) -> xr.Dataset:
    return hoam.simulate(
        sim,
        columns,
        hoam.quadrature.gauss_legendre(64) if times is None else times,
        key=jax.random.key(seed),
        n_samples=N_SAMPLES,
        dt=0.1,
        rates=rates,
        progress=False,
    )


def grid(problem: Any, counts: Sequence[int]) -> np.ndarray:
    """So many parameters along each axis of the range, as rows."""
    axes = [np.linspace(a, b, n) for a, b, n in zip(problem.low, problem.high, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(counts))


def worst_of(problem: Any, runs: xr.Dataset, held: xr.Dataset, key: jax.Array, iterations: int) -> dict[str, float]:
    """The worst and the mean distance of populations of a surrogate of these runs at held-out parameters."""
    model = hoam.fit(runs, key=key, **options(iterations)).with_options(on_extrapolation="ignore")
    columns = {name: held[name].values for name in model.parameters}
    predicted = hoam.simulate(
        model, columns, held["time"].values, key=key, n_samples=N_SAMPLES, initial=held, progress=False
    )
    distances = own_scores(held, predicted)["sliced_wasserstein"].values
    return {"worst": float(distances.max()), "mean": float(distances.mean())}


def propose(problem: Any, seed: int, *, n_chosen: int = 6, iterations: int = 800, members: int = 3) -> None:
    """Runs that are chosen one by one against runs that are evenly spread."""
    key = jax.random.key(seed)
    low, high = np.asarray(problem.low), np.asarray(problem.high)
    held_points = low + (high - low) * np.random.default_rng(seed).uniform(size=(16, len(low)))
    held = problem.runs(held_points, seed + 50, rates=False)
    row: dict[str, Any] = {"part": "propose", "problem": problem.name, "seed": seed}
    for counts in problem.n_even:
        even = problem.runs(grid(problem, counts), seed)
        row[f"even {int(np.prod(counts))}"] = worst_of(problem, even, held, key, iterations)
    candidates = grid(problem, (41,) if len(low) == 1 else (9, 9))
    starts = problem.runs(candidates, seed, rates=False, times=[0.0])
    points = low + (high - low) * np.asarray(problem.first)
    while len(points) < n_chosen:
        key, own = jax.random.split(key)
        runs = problem.runs(points, seed)
        named = {name: candidates[:, i] for i, name in enumerate(hoam.ensemble.parameter_names(runs))}
        found = hoam.propose(runs, named, key=own, initial=starts, members=members, **options(iterations // 2))
        points = np.concatenate([points, [[float(found[name][0]) for name in named]]])
    row[f"chosen {n_chosen}"] = worst_of(problem, problem.runs(points, seed), held, jax.random.key(seed), iterations)
    row["points"] = points[len(problem.first) :].tolist()
    keep(row)


def main() -> None:
    """Measure one part, or write `results/trust.md` of all that was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["validation", "committee", "propose", "propose2", "table"])
    parser.add_argument("--problems", nargs="+", default=PROBLEMS, help="of validation and committee")
    parser.add_argument("--effort", type=float, default=1.0, help="of validation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments = parser.parse_args()
    if arguments.part == "table":
        table()
        return
    for seed in arguments.seeds:
        if arguments.part == "propose":
            propose(OfMu(), seed)
        elif arguments.part == "propose2":
            propose(OfMuAndDrift(), seed)
        else:
            for problem in arguments.problems:
                if arguments.part == "validation":
                    validation(problem, seed, arguments.effort)
                else:
                    committee(problem, seed)


if __name__ == "__main__":
    main()

"""Rollouts of a potential by tables of the flow, beside step by step. `python -m benchmarks.flow_tables`."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report

_SCORES = ("electric_energy_error", "histogram_l1", "sliced_wasserstein", "mean_error", "covariance_error")
_MU = 1.25
_TIMES = np.linspace(0.0, 40.0, 129)
# Of a million samples, where the streams have rolled up: as many as are computed step by step in a minute.
_LATE = slice(64, 72)


def network_of(truth: xr.Dataset, seconds: float) -> hoam.Surrogate:
    """The default network, trained on the samples alone for a time."""
    training = hoam.Training(iterations=200, feedback=False)
    begin = time.perf_counter()
    hoam.fit(truth, key=jax.random.key(0), structure="gradient", training=training, progress=False)
    pace = (time.perf_counter() - begin) / 200
    training = hoam.Training(iterations=max(200, int(seconds / pace)), feedback=False)
    return hoam.fit(truth, key=jax.random.key(0), structure="gradient", training=training, progress=False)


def timed(model: hoam.Surrogate, initial: xr.Dataset, times: np.ndarray, repeats: int) -> tuple[float, xr.Dataset]:
    """Seconds of `simulate` (median after a first call), and what it returns."""
    seconds, found = [], initial
    n = initial.sizes["sample"]
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        found = hoam.simulate(
            model, {"mu": [_MU]}, times, key=jax.random.key(4), n_samples=n, initial=initial, progress=False
        )
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:]), found


def scores_of(held: xr.Dataset, prediction: xr.Dataset) -> list[float]:
    """The scores of one run."""
    table = hoam.compare(held, prediction)
    return [float(table[name].sel(reference="surrogate").values[0]) for name in _SCORES]


def rows_of(name: str, model: hoam.Surrogate, held: xr.Dataset, many: xr.Dataset, repeats: int) -> list[list[str]]:
    """Rows of one model: step by step and by tables."""
    rows = []
    for label, initial, times in (("25 000", held, _TIMES), ("1 000 000", many, _TIMES[_LATE])):
        scored = initial is held
        slow, direct = timed(model.with_options(tables=False), initial, times, repeats if scored else 1)
        fast, tabulated = timed(model, initial, times, repeats)
        rows.append([name, label, str(len(times)), f"{slow:.2f}", f"{fast:.2f}", f"{slow / fast:.1f}"])
        apart = float(np.abs(direct["v"].values - tabulated["v"].values).max() / direct["v"].values.std())
        cells = ["-"] * len(_SCORES)
        if scored:
            pairs = zip(scores_of(held, direct), scores_of(held, tabulated), strict=True)
            cells = [f"{a:.3g} / {b:.3g}" for a, b in pairs]
        rows[-1] += [f"{apart:.1e}", *cells]
        print(json.dumps(rows[-1]), flush=True)
    return rows


def main() -> None:
    """Write `results/flow_tables.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training of the network")
    parser.add_argument("--models", type=Path, nargs="*", help="saved surrogates in place of those trained here")
    options = parser.parse_args()
    sim, rule = hoam.stepper("two_stream"), hoam.quadrature.gauss_legendre(256)
    runs: dict[str, Any] = {"dt": 0.1, "progress": False}
    held = hoam.simulate(sim, {"mu": [_MU]}, _TIMES, key=jax.random.key(1), n_samples=25_000, **runs)
    late = [_TIMES[_LATE.start], _TIMES[_LATE.start + 1]]
    many = hoam.simulate(sim, {"mu": [_MU]}, late, key=jax.random.key(1), n_samples=1_000_000, **runs)
    if options.models:
        models = {path.stem: hoam.load(path) for path in options.models}
    else:
        mu = np.linspace(1.2, 1.9, 8)
        truth = hoam.simulate(sim, {"mu": mu}, rule, key=jax.random.key(0), n_samples=25_000, **runs)
        solved = hoam.fit(truth, key=jax.random.key(0), structure="gradient", progress=False)
        models = {"solved for": solved, "network": network_of(truth, options.seconds)}
    rows = [row for name, model in models.items() for row in rows_of(name, model, held, many, options.repeats)]
    header = [
        "potential",
        "samples",
        "saved times",
        "step by step s",
        "by tables s",
        "ratio",
        "largest difference of v",
    ]
    report.write(
        "flow_tables",
        f"# Rollouts by tables\n\n`python -m benchmarks.flow_tables`: `simulate` of `two_stream`, mu = {_MU}, by "
        "a potential that is solved for and a network (trained with noise, for which there are no tables); 25 000 "
        "samples over the whole horizon, a million over eight saved times in its middle. "
        "Scores step by step / by tables, against the truth; the largest difference of a velocity in standard"
        f" deviations. Medians of {options.repeats} calls after a first one.\n\n"
        f"{report.machine(['hoam-plugin', 'jax'])}\n\n"
        + report.table([*header, *(name.replace("_", " ") for name in _SCORES)], rows),
    )


if __name__ == "__main__":
    main()

"""Accuracy of the gradient-field surrogate on the two-stream instability, beside noise floor and interpolation."""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin import simulators

TRAINING_MU = [1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9]
HELD_OUT_MU = [1.25, 1.55, 1.85]
N_SAMPLES = 25_000
# Energies are also scored from here on: the quiet phase before is the hard part.
LATE = 10.0
_DT = 0.1
# Settings of `fit`, and the number of Gauss nodes of its training runs.
_SETTINGS: dict[str, tuple[Any, int]] = {"demo": (dict, 256), "quality": (hoam.recipes.quality, 256)}
_REFERENCES = ("surrogate", "noise_floor", "interpolation", "frozen")


def simulated(mu: list[float], times: Any, seed: int) -> xr.Dataset:
    """Runs of the simulator."""
    return hoam.simulate(
        simulators.two_stream(),
        {"mu": mu},
        times,
        key=jax.random.key(seed),
        n_samples=N_SAMPLES,
        dt=_DT,
        progress=False,
    )


def training_runs(nodes: int, seed: int) -> xr.Dataset:
    """On Gauss nodes; every seed has samples of its own, none of them those of the held-out runs."""
    return simulated(TRAINING_MU, hoam.quadrature.gauss_legendre(nodes), 100 * seed)


def truths() -> dict[str, xr.Dataset]:
    """Training runs on the scored times, held-out truth, and a second scramble of it as floor."""
    times = np.linspace(0.0, 40.0, 129)
    return {
        "curves": simulated(TRAINING_MU, times, 0),
        "held": simulated(HELD_OUT_MU, times, 1),
        "floor": simulated(HELD_OUT_MU, times, 2),
    }


def one_seed(data: dict[str, xr.Dataset], setting: str, seed: int) -> tuple[list[list[str]], hoam.Surrogate]:
    """Train and score once; one row per held-out mu and reference."""
    start = time.perf_counter()
    model = hoam.fit(data["training"], key=jax.random.key(seed), **_SETTINGS[setting][0]())
    trained = time.perf_counter()
    prediction = hoam.simulate(
        model,
        {"mu": HELD_OUT_MU},
        data["held"]["time"].values,
        key=jax.random.key(100 + seed),
        n_samples=N_SAMPLES,
        initial=data["held"],
    )
    rolled = time.perf_counter()
    scored = (data["held"], prediction)
    options = {"training": data["curves"], "floor": data["floor"]}
    scores, late = hoam.compare(*scored, **options), hoam.compare(*scored, **options, from_time=LATE)
    rows = []
    for run, mu in enumerate(HELD_OUT_MU):
        fastest = float(np.abs(prediction["v"].isel(run=run)).max())
        for reference in _REFERENCES if seed == 0 else _REFERENCES[:1]:
            values = [
                float(ds[name].sel(reference=reference).isel(run=run))
                for ds, name in (
                    (scores, "histogram_l1"),
                    (scores, "sliced_wasserstein"),
                    (scores, "electric_energy_error"),
                    (late, "electric_energy_error"),
                )
            ]
            rows.append(
                [
                    f"{mu:g}",
                    reference.replace("_", " "),
                    str(seed) if reference == "surrogate" else "",
                    *("-" if np.isnan(value) else f"{value:.3g}" for value in values),
                    f"{fastest:.1f}" if reference == "surrogate" else "",
                    f"{trained - start:.0f}" if reference == "surrogate" else "",
                    f"{rolled - trained:.0f}" if reference == "surrogate" else "",
                ]
            )
    return rows, model


def main() -> None:
    """Write `results/accuracy_<setting>.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting", choices=sorted(_SETTINGS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--save", help="where to keep the model of seed 0")
    options = parser.parse_args()
    nodes = _SETTINGS[options.setting][1]
    data = truths()
    rows: list[list[str]] = []
    for seed in range(options.seeds):
        data["training"] = training_runs(nodes, seed)
        new, model = one_seed(data, options.setting, seed)
        rows += new
        if seed == 0 and options.save:
            model.save(options.save, overwrite=True)
    header = ["mu", "", "seed", "L1", "SW", "e.e.", f"e.e. from t = {LATE:g}", "largest v", "training s", "rollout s"]
    rows.sort(key=lambda row: (float(row[0]), row[1] != "surrogate", row[1]))
    report.write(
        f"accuracy_{options.setting}",
        f"# Accuracy, {options.setting} settings\n\n`python -m benchmarks.accuracy {options.setting} --seeds "
        f"{options.seeds}`: `two_stream`, {N_SAMPLES} samples, trained on mu = {TRAINING_MU} at {nodes} Gauss nodes, "
        "started from the truth's own initial samples, 128 saved times after t = 0. A seed is that of training runs "
        "and training. Lower is better; the noise floor is a second scramble of the truth, interpolation is between "
        "the curves of neighbouring training runs. Times "
        f"(all {len(HELD_OUT_MU)} runs rolled out) include compilation.\n\n{report.machine(['hoam-plugin', 'jax'])}\n\n"
        f"{report.table(header, rows)}",
    )


if __name__ == "__main__":
    main()

"""Errors of a learned force beyond its training runs, and over the number of them."""

from __future__ import annotations

import argparse
from typing import Any

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from benchmarks.methods import N_SAMPLES, PROBLEMS, Problem, simulated

RANGES = {"two_stream": (1.2, 1.9), "bump_on_tail": (1.3, 2.0)}
COUNTS = (4, 6, 8, 12)
# Half of them beyond the range of the training runs, on both sides.
DISTANCES = (-0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.15, 0.35, 0.55, 0.65, 0.7, 0.75, 0.8, 0.9, 1.0)
_TIMES = np.linspace(0, 40, 65)
_ITERATIONS = 5000
SCORES = {"e.e.": "electric_energy_error", "L1": "histogram_l1", "SW": "sliced_wasserstein"}


def learned(problem: Problem, mu: Any, seed: int) -> hoam.Surrogate:
    """A force from recorded accelerations."""
    ds = simulated(problem, mu, hoam.quadrature.gauss_legendre(64), 0, rates=True)
    training = hoam.recipes.velocity_training(_ITERATIONS)
    return hoam.fit(ds, key=jax.random.key(seed), structure="kinetic", training=training, progress=False)


def scored(models: list[hoam.Surrogate], held: xr.Dataset, floor: xr.Dataset) -> xr.Dataset:
    """Scores at any parameters, means over the seeds."""
    predictions = []
    for seed, model in enumerate(models):
        free = model.with_options(on_extrapolation="ignore")
        options: dict[str, Any] = {"key": jax.random.key(seed), "n_samples": N_SAMPLES, "initial": held}
        predictions.append(hoam.simulate(free, {"mu": held["mu"].values}, _TIMES, progress=False, **options))
    return hoam.compare(held, predictions, floor=floor)


def cells(scores: xr.Dataset, run: int | None) -> list[str]:
    """Value, spread over seeds and floor of the three scores, of one run or the worst of all."""
    row = []
    for name in SCORES.values():
        own = scores[name].sel(reference="surrogate")
        index = int(own.argmax()) if run is None else run
        spread = ""
        if f"{name}_spread" in scores:
            spread = f" ± {float(scores[f'{name}_spread'].sel(reference='surrogate')[index]):.1g}"
        floor = float(scores[name].sel(reference="noise_floor")[index])
        row.append(f"{float(own[index]):.2g}{spread} ({floor:.2g})")
    return row


def main() -> None:
    """Write `results/extrapolation.md` and its picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    text, beyond, counts = [], {}, {}
    for name, (low, high) in RANGES.items():
        problem = PROBLEMS[name]
        within = np.linspace(low, high, 16)[1:-1:2]
        inner = [simulated(problem, within, _TIMES, seed) for seed in (1, 2)]
        outer_mu = [round(low + distance, 3) for distance in DISTANCES]
        outer = [simulated(problem, outer_mu, _TIMES, seed) for seed in (1, 2)]
        rows = []
        for count in COUNTS:
            models = [learned(problem, np.linspace(low, high, count), seed) for seed in range(options.seeds)]
            scores = scored(models, *inner)
            counts[name, count] = scores
            rows.append([str(count), f"{(high - low) / (count - 1):.3f}", *cells(scores, None)])
            print(rows[-1], flush=True)
            if count == 8:
                beyond[name] = scored(models, *outer)
        outer_rows = []
        for run, mu in enumerate(outer_mu):
            place = "inside" if low <= mu <= high else f"{max(low - mu, mu - high):.2f} beyond"
            outer_rows.append([f"{mu:g}", place, *cells(beyond[name], run)])
        text.append(
            f"## `{name}`, trained on [{low}, {high}]\n\nBy number of runs, the worst of seven mu inside:\n\n"
            f"{report.table(['runs', 'spacing', *SCORES], rows)}\n\nBy mu, eight runs of spacing 0.1:\n\n"
            f"{report.table(['mu', '', *SCORES], outer_rows)}"
        )
    _draw(beyond, counts)
    report.write(
        "extrapolation",
        "# Beyond and between the training runs\n\n"
        f"`python -m benchmarks.extrapolation --seeds {options.seeds}`: a force learned from recorded accelerations "
        f"({_ITERATIONS} iterations), {N_SAMPLES} samples, 64 saved times; mean over seeds (here {options.seeds}) ± "
        "their standard deviation, and in brackets the floor (a second scramble of the "
        "truth).\n\n![errors](extrapolation.png)\n\n"
        + "\n\n".join(text)
        + f"\n\n{report.machine(['hoam-plugin', 'jax'])}",
    )


def _draw(beyond: dict[str, xr.Dataset], counts: dict[Any, xr.Dataset]) -> None:
    from hoam_plugin.plots import new_figure

    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    for i, (name, scores) in enumerate(beyond.items()):
        low, high = RANGES[name]
        error = scores[SCORES["e.e."]]
        place = (scores["mu"].values - low) / (high - low)
        left.semilogy(place, error.sel(reference="surrogate"), "-o", color=f"C{i}", label=name)
        left.semilogy(place, error.sel(reference="noise_floor"), ":", color=f"C{i}")
        worst = [float(counts[name, n][SCORES["e.e."]].sel(reference="surrogate").max()) for n in COUNTS]
        floor = [float(counts[name, n][SCORES["e.e."]].sel(reference="noise_floor").max()) for n in COUNTS]
        right.semilogy(COUNTS, worst, "-o", color=f"C{i}", label=name)
        right.semilogy(COUNTS, floor, ":", color=f"C{i}")
    left.axvspan(0, 1, color="0.92", zorder=0)
    left.set_xlabel("place in the trained range (grey)")
    left.set_ylabel("error of the electric energy (dotted: floor)")
    right.set_xlabel("training runs on the same range")
    right.set_ylabel("worst error inside")
    right.set_xticks(COUNTS)
    left.legend()
    figure.savefig(report.RESULTS / "extrapolation.png", dpi=110)


if __name__ == "__main__":
    main()

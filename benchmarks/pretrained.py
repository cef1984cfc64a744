"""Trains the surrogates that come with the package, writes them into it, and scores them at held-out parameters."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import problems, report
from benchmarks.problems import steps
from hoam_plugin import simulators
from hoam_plugin._internal.files import written_aside
from hoam_plugin.quadrature import gauss_legendre
from hoam_plugin.steppers import Stepper
from hoam_plugin.surrogates import Provenance, provenance_of, with_provenance

MODELS = Path(hoam.__file__).parent / "shipped" / "models"
# No file of the package is larger.
MOST_BYTES = 300_000
# One of so many iterations stays in the history.
THINNED = 100
SEED = 0
SCORES = {label: score for label, score in problems.SCORES.items() if label != "Sinkhorn"}


class Case(NamedTuple):
    """A problem and how it is learned.

    Attributes:
        stepper: makes the simulator.
        training: parameters of the training runs.
        held_out: parameters of the runs that are scored.
        iterations: of the training.
        options: of `fit`.
        dt: of the training runs; the simulator's own by default.
    """

    stepper: Callable[[], Stepper]
    training: dict[str, list[float]]
    held_out: dict[str, list[float]]
    iterations: int
    options: dict[str, Any]
    dt: float | None = None


_FORCE: dict[str, Any] = {"structure": "kinetic"}
# Of a force that does not depend on time.
_STEADY: dict[str, Any] = _FORCE | {"potential": hoam.VectorField(time_harmonics=0)}
CASES = {
    "two_stream": Case(simulators.two_stream, {"mu": steps(1.2, 1.9, 8)}, {"mu": [1.25, 1.85]}, 2000, _FORCE, dt=0.1),
    "bump_on_tail": Case(
        simulators.bump_on_tail, {"mu": steps(1.3, 2.0, 8)}, {"mu": [1.35, 1.95]}, 2000, _FORCE, dt=0.1
    ),
    "duffing": Case(simulators.duffing, {"mu": [0.1, 0.15, 0.2, 0.25, 0.3]}, {"mu": [0.12, 0.28]}, 2000, _STEADY),
    "oscillator": Case(simulators.oscillator, {}, {}, 1000, _STEADY),
    "lorenz9": Case(
        simulators.lorenz9, {"r": steps(13.5, 14.2, 8)}, {"r": [13.65, 14.05]}, 3000, {"structure": "field"}
    ),
}


def trained(case: Case, n_samples: int, nodes: int, iterations: int) -> tuple[hoam.Surrogate, dict[str, Any]]:
    """The surrogate of a problem, and how it was trained."""
    keys = jax.random.split(jax.random.key(SEED), 2)
    began = time.perf_counter()
    truth = hoam.simulate(
        case.stepper(), case.training, gauss_legendre(nodes), key=keys[0], n_samples=n_samples, rates=True, dt=case.dt
    )
    simulated = time.perf_counter()
    settings = hoam.recipes.velocity_training(iterations)
    model = hoam.fit(truth, key=keys[1], training=settings, **case.options)
    about = {
        "runs": truth.sizes["run"],
        "samples": n_samples,
        "nodes": nodes,
        "iterations": iterations,
        "seed": SEED,
        "seconds_of_simulation": round(simulated - began, 1),
        "seconds_of_training": round(time.perf_counter() - simulated, 1),
    }
    return small(model), about


def small(model: hoam.Surrogate) -> hoam.Surrogate:
    """With a history of some iterations alone."""
    provenance = provenance_of(model)
    assert provenance.history is not None
    history = provenance.history.isel(iteration=slice(None, None, -THINNED)).isel(iteration=slice(None, None, -1))
    history.attrs["thinned"] = f"every {THINNED}th iteration"
    return with_provenance(model, Provenance(provenance.configuration, history))


def scored(case: Case, model: hoam.Surrogate, n_samples: int, n_times: int) -> xr.Dataset:
    """Scores at held-out parameters, beside the noise floor."""
    stepper = case.stepper()
    times = np.linspace(*stepper.horizon, n_times)
    held, floor = (
        hoam.simulate(stepper, case.held_out, times, key=jax.random.key(SEED + seed), n_samples=n_samples)
        for seed in (101, 102)
    )
    prediction = hoam.simulate(
        model, case.held_out, times, key=jax.random.key(SEED + 103), n_samples=n_samples, initial=held
    )
    return hoam.compare(held, prediction, floor=floor)


def numbers(scores: xr.Dataset) -> dict[str, dict[str, list[float | None]]]:
    """The scores of surrogate and noise floor, where they are defined, with three digits."""
    found = {}
    for name in SCORES.values():
        if name in scores and bool(scores[name].sel(reference="surrogate").notnull().any()):
            found[name] = {
                reference: [
                    float(f"{value:.3g}") if np.isfinite(value) else None
                    for value in scores[name].sel(reference=reference).values
                ]
                for reference in ("surrogate", "noise_floor")
            }
    return found


def write_table(measured: dict[str, Any]) -> None:
    """The results as a page."""
    titles = {long: short for short, long in SCORES.items()}
    rows = []
    for name, found in measured.items():
        n_runs = len(next(iter(found["scores"].values()))["surrogate"])
        for run in range(n_runs):
            at = ", ".join(f"{parameter} = {values[run]:g}" for parameter, values in found["parameters"].items())
            cells = {
                titles[score]: " / ".join(
                    "-" if by[reference][run] is None else f"{by[reference][run]:.2g}" for reference in by
                )
                for score, by in found["scores"].items()
            }
            how = found["training"]
            first = (name, f"{how['seconds_of_training']:.0f} s", f"{found['bytes'] / 1000:.0f} kB")
            rows.append([*(first if run == 0 else ("", "", "")), at or "none", *(cells.get(s, "") for s in SCORES)])
    lines = [
        "# Surrogates that come with the package",
        "",
        "`hoam.pretrained(name)`, at parameters that were not trained on: score of the surrogate / noise floor, what",
        "two runs of the simulator differ by. Surrogate and truth start from the same samples, so that scores can lie",
        "below the floor. Training and files are small on purpose; [all problems, learned](problems.md) are larger.",
        "",
        report.table(["problem", "training", "file", "held out", *SCORES], rows),
        "",
        f"Seed {SEED} of training runs and training, others for the held-out runs; 25 000 samples of each run.",
        f"{report.machine(['jax', 'jaxlib'])}",
        "Other jobs were running, so that times are no measure of speed. `python -m benchmarks.pretrained` trains",
        "them, and writes the files in the package and this page.",
        "",
    ]
    (report.RESULTS / "pretrained.md").write_text("\n".join(lines))


def main() -> None:
    """Train what is asked for; the others stay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *CASES], default=[])
    parser.add_argument("--samples", type=int, default=25_000)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--times", type=int, default=65)
    options = parser.parse_args()
    place = MODELS / "scores.json"
    measured = json.loads(place.read_text()) if place.exists() else {}
    for name in options.names or CASES:
        case = CASES[name]
        model, about = trained(case, options.samples, options.nodes, case.iterations)
        found = scored(case, model, options.samples, options.times)
        file = model.save(MODELS / f"{name}.hoam", overwrite=True)
        size = file.stat().st_size
        if size > MOST_BYTES:
            file.unlink()
            raise ValueError(f"{name}.hoam has {size} bytes; what comes with the package has at most {MOST_BYTES}")
        measured[name] = {
            "parameters": case.held_out,
            "scores": numbers(found),
            "training": about,
            "bytes": size,
        }
        print(name, size, about, numbers(found), flush=True)
        with written_aside(place) as aside:
            aside.write_text(json.dumps({n: measured[n] for n in CASES if n in measured}, indent=1) + "\n")
        write_table({n: measured[n] for n in CASES if n in measured})


if __name__ == "__main__":
    main()

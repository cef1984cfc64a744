"""Optimisers at equal training time on the demo's problem. Run by `python -m benchmarks.optimisers`."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report

# Name and learning rate. Around the default, and for the others Adam's rate or what their authors advise.
_CASES = (
    ("adam", 6e-3),
    ("adam", 3e-3),
    ("adam", 1.2e-2),
    ("muon", 6e-3),
    ("muon", 2e-2),
    ("muon", 3e-3),
    ("muon", 1e-2),
    ("adan", 6e-3),
    ("nadam", 6e-3),
    ("adamw", 6e-3),
)


def training_of(name: Any, learning_rate: float, iterations: int) -> hoam.Training:
    """The demo's settings with another optimiser."""
    return dataclasses.replace(hoam.Training(), optimiser=name, learning_rate=learning_rate, iterations=iterations)


def seconds_per_iteration(ds: xr.Dataset, name: str, learning_rate: float) -> float:
    """Median over the blocks of a short training, the first of which compiles."""
    model = hoam.fit(ds, key=jax.random.key(0), training=training_of(name, learning_rate, 600), progress=False)
    assert model.history is not None
    return float(np.median(model.history["seconds"].values[100:]))


def main() -> None:
    """Write `results/optimisers.md`, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="*", default=None, help="names of optimisers")
    options = parser.parse_args()
    sim = hoam.stepper("two_stream")
    rule = hoam.quadrature.gauss_legendre(256)
    common: dict[str, Any] = {"n_samples": 25_000, "progress": False}
    ds = hoam.simulate(sim, {"mu": np.linspace(1.2, 1.9, 8)}, rule, key=jax.random.key(0), **common)
    held_out = hoam.simulate(sim, {"mu": [1.25, 1.55, 1.85]}, rule, key=jax.random.key(1), **common)
    truth = hoam.simulate(sim, {"mu": [1.25, 1.55, 1.85]}, np.linspace(0, 40, 33), key=jax.random.key(1), **common)
    cases = [case for case in _CASES if options.only is None or case[0] in options.only]
    pace = {name: seconds_per_iteration(ds, name, rate) for name, rate in dict(cases).items()}
    for name, rate in cases:
        iterations = int(options.seconds / pace[name])
        for seed in options.seeds:
            start = [name, f"{rate:g}", str(seed), str(iterations), f"{1e3 * pace[name]:.1f}"]
            write(start + outcome(ds, held_out, truth, training_of(name, rate, iterations), seed), options.seconds)


def outcome(ds: xr.Dataset, held_out: xr.Dataset, truth: xr.Dataset, settings: hoam.Training, seed: int) -> list[str]:
    """The remaining columns of a row."""
    key = jax.random.key(seed)
    try:
        model = hoam.fit(ds, key=key, training=settings, validate=held_out, progress=False)
    except hoam.TrainingDivergedError as error:
        return [str(error).split(":")[0], "", "", "", ""]
    rolled = hoam.simulate(
        model,
        {"mu": truth["mu"].values},
        truth["time"].values[1:],
        key=jax.random.key(5),
        initial=truth,
        n_samples=truth.sizes["sample"],
        progress=False,
    )
    result = hoam.compare(truth.isel(time=slice(1, None)), rolled).sel(reference="surrogate")
    assert model.history is not None
    validation = model.history["validation"]
    return [
        f"{float(validation.min()):.4f}",
        f"{float(validation[-1]):.4f}",
        f"{float(result['histogram_l1'].mean()):.3f}",
        f"{float(result['sliced_wasserstein'].mean()):.4f}",
        str(model.history.attrs.get("learning_rate_halvings", 0)),
    ]


def write(row: list[str], seconds: float) -> None:
    """Put one row into `results/optimisers.md`, in the place of an earlier one of the same case."""
    path = report.RESULTS / "optimisers.md"
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")][2:]
    rows = [old for old in rows if old[:3] != row[:3]] + [row]
    header = ["optimiser", "learning rate", "seed", "iterations", "ms", "best validation loss", "last", "L1", "SW"]
    header += ["halvings"]
    report.write(
        "optimisers",
        f"# Optimisers at equal time\n\n`python -m benchmarks.optimisers`: the demo's settings, as many iterations as "
        f"fit {seconds:g} s at the pace measured before. Validation loss (lower is better), L1 and SW at the held-out "
        "mu = 1.25, 1.55, 1.85, which the choice of the default has therefore seen.\n\n"
        f"{report.machine(['hoam-plugin', 'jax', 'optax'])}\n\n{report.table([*header], rows)}",
    )


if __name__ == "__main__":
    main()

"""An ensemble larger than memory: simulated into Zarr and trained from there. `python -m benchmarks.streaming`."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np

import hoam_plugin as hoam
from benchmarks import report

PARTS = ("simulate", "train", "copy", "compare")


def simulate(path: Path, n_samples: int) -> None:
    """Eight runs of the two-stream instability on 256 Gauss nodes."""
    rule = hoam.quadrature.gauss_legendre(256)
    sim = hoam.stepper("two_stream")
    hoam.simulate(
        sim,
        {"mu": np.linspace(1.2, 1.9, 8)},
        rule,
        key=jax.random.key(0),
        n_samples=n_samples,
        dt=0.1,
        store=path,
        progress=False,
    )


def train(path: Path, iterations: int) -> None:
    """The quick settings, from the Zarr folder."""
    ds = hoam.ensemble.load(path, lazy=True)
    options = hoam.Training(iterations=iterations)
    model = hoam.fit(ds, key=jax.random.key(0), training=options, progress=False)
    assert model.history is not None
    print(float(model.history["loss"][-100:].mean()))


def copy(path: Path) -> None:
    """Saved again, from disk to disk."""
    hoam.ensemble.save(hoam.ensemble.load(path, lazy=True), path.with_name("copy.zarr"), overwrite=True)


def compare(path: Path) -> None:
    """Scored against itself: the same work as against another."""
    ds = hoam.ensemble.load(path, lazy=True)
    print(float(hoam.compare(ds, ds)["sliced_wasserstein"].sel(reference="bootstrap").mean()))


def main() -> None:
    """Write `results/streaming.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=250_000)
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--part", choices=PARTS, help="one part, in this process")
    parser.add_argument("--path", type=Path)
    options = parser.parse_args()
    if options.part == "simulate":
        simulate(options.path, options.samples)
    elif options.part == "train":
        train(options.path, options.iterations)
    elif options.part == "copy":
        copy(options.path)
    elif options.part == "compare":
        compare(options.path)
    else:
        measure(options.samples, options.iterations)
    if options.part:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def measure(n_samples: int, iterations: int) -> None:
    """Each part in its own process, since the largest resident memory of a process never falls."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ensemble.zarr"
        for part in PARTS:
            command = [sys.executable, "-m", "benchmarks.streaming", "--part", part, "--path", str(path)]
            command += ["--samples", str(n_samples), "--iterations", str(iterations)]
            began = time.perf_counter()
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
            said = {"train": "final loss", "compare": "sliced Wasserstein distance of the bootstrap"}
            note = f"{said[part]} {float(printed[0]):.4f}" if part in said else ""
            rows.append([part, f"{time.perf_counter() - began:.0f}", f"{int(printed[-1]) / 1e9:.2f}", note])
        size = sum(hoam.ensemble.load(path, lazy=True)[name].nbytes for name in ("x", "v"))
    report.write(
        "streaming",
        f"# Ensembles larger than memory\n\n`python -m benchmarks.streaming`: 8 runs, 258 saved times and {n_samples} "
        f"samples of `two_stream`, {size / 1e9:.2f} GB, simulated (dt = 0.1) into a Zarr folder, and {iterations} "
        f"iterations of the quick settings from it; then saved again from disk to disk, and compared with itself (all "
        f"scores, at all times).\n\n{report.machine(['hoam-plugin', 'jax', 'zarr'])}\n\n"
        + report.table(["part", "s", "largest resident memory, GB", ""], rows),
    )


if __name__ == "__main__":
    main()

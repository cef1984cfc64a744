"""Data as other codes write them, beside the same given natively. Run by `python -m benchmarks.their_data`."""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin import simulators

KEY = jax.random.key(0)
MU, HELD_OUT = [1.2, 1.4, 1.6, 1.8], 1.5
TIMES = np.linspace(0.0, 10.0, 41)
N_PARTICLES, N_SAMPLES = 16_000, 4_000
# Draws of particles, weights and losses: beside native, and of weights.
DRAWS, DRAWS_OF_WEIGHTS = 3, 2
PERIOD = 50.0
# Of the SI series: lengths in m and times in s; velocities are 1e6 m/s, far from that of light.
LENGTH, TIME = 1e-6, 1e-12
OPTIONS = {"key": KEY, "progress": False}
# Solved for in any case, so that no case is trained where others are not.
SOLVED = {"potential": hoam.SplinePotential(), **OPTIONS}


def population(mu: Sequence[float], n: int, seed: int) -> xr.Dataset:
    """Runs of two streams, with nothing but numbers."""
    sim = simulators.two_stream(horizon=(0.0, float(TIMES[-1])))
    return hoam.simulate(sim, {"mu": list(mu)}, TIMES, key=jax.random.key(seed), n_samples=n, progress=False)


@functools.cache
def training() -> xr.Dataset:
    """The whole populations of the training runs."""
    return population(MU, N_PARTICLES, 1)


@functools.cache
def held_out() -> tuple[xr.Dataset, xr.Dataset]:
    """A run that is not trained on, and another draw of it."""
    one, other = (population([HELD_OUT], N_SAMPLES, seed) for seed in (2, 3))
    return one, other


# What is said of native ensembles as well: no stepper, no diagnostics.
def bare(ds: xr.Dataset) -> xr.Dataset:
    """Samples, times and parameters alone."""
    return hoam.ensemble.from_arrays(
        x=ds["x"].values,
        v=ds["v"].values,
        time=ds["time"].values,
        parameters={"mu": ds["mu"].values},
        period={"x": PERIOD},
        velocity_of={"v": "x"},
    )


def renamed(ds: xr.Dataset, length: float, time_unit: float, offset: float = 0.0, late: float = 0.0) -> xr.Dataset:
    """The same in other units, with an offset of velocities in their spreads, and a clock that starts late."""
    speed = length / time_unit
    shift = offset * float(ds["v"].std())
    return hoam.ensemble.from_arrays(
        x=ds["x"].values.astype(np.float64) * length,
        v=(ds["v"].values.astype(np.float64) + shift) * speed,
        time=(ds["time"].values + late) * time_unit,
        parameters={"mu": ds["mu"].values},
        period={"x": PERIOD * length},
        velocity_of=None if offset else {"v": "x"},
    )


def scores(model: hoam.Surrogate, convert: Callable[[xr.Dataset], xr.Dataset]) -> tuple[float, float]:
    """Sliced Wasserstein distance of a held-out run, of the model and of another draw, over all times."""
    truth, other = map(convert, held_out())
    parameters = {"mu": truth["mu"].values}
    predicted = hoam.simulate(
        model, parameters, truth["time"].values, n_samples=N_SAMPLES, initial=truth, key=KEY, progress=False
    )
    table = hoam.compare(truth, predicted, floor=other)["sliced_wasserstein"].mean("run")
    return float(table.sel(reference="surrogate")), float(table.sel(reference="noise_floor"))


class Flaws(NamedTuple):
    """What a run as others write it has, and a native one has not.

    Attributes:
        decades: that weights range over.
        missing: whether up to a tenth of the particles is missing at each time, always others.
        ids: whether particles have ids, by which those of a run without losses are followed.
    """

    decades: float = 2.0
    missing: bool = True
    ids: bool = True


def snapshots_of(run: int, flaws: Flaws, seed: int) -> list[dict[str, object]]:
    """One training run in SI units, in another order at each time."""
    ds, rng = training().isel(run=run), np.random.default_rng([run, seed])
    weights = 10 ** rng.uniform(8, 8 + flaws.decades, N_PARTICLES)
    found: list[dict[str, object]] = []
    for moment, x, v in zip(TIMES, ds["x"].values, ds["v"].values, strict=True):
        share = rng.uniform(0.9, 1.0) if flaws.missing else 1.0
        there = rng.permutation(N_PARTICLES)[: int(N_PARTICLES * share)]
        one = {"time": moment * TIME, "x": x[there] * LENGTH, "v": v[there] * LENGTH / TIME, "weights": weights[there]}
        found.append({**one, "ids": there} if flaws.ids else one)
    return found


def drawn(flaws: Flaws, seed: int, n_samples: int = N_SAMPLES) -> xr.Dataset:
    """The training runs with such flaws, as an import gives them."""
    ds = hoam.ensemble.from_snapshots(
        [snapshots_of(run, flaws, seed) for run in range(len(MU))],
        n_samples=n_samples,
        key=jax.random.key(seed),
        parameters={"mu": MU},
        period={"x": PERIOD * LENGTH},
        velocity_of={"v": "x"},
        progress=False,
    )
    assert isinstance(ds, xr.Dataset)
    return ds


def write_series(folder: Path, run: int, seed: int) -> Path:
    """One training run as WarpX would write it: two species, weights over 100 x, particles that come and go."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))
    from foreign_files import write_openpmd

    rng = np.random.default_rng(run)
    ions = [{"x": rng.uniform(0, PERIOD * LENGTH, 100), "weights": np.ones(100)}] * len(TIMES)
    species = {"electrons": snapshots_of(run, Flaws(), seed), "ions": ions}
    return write_openpmd(folder / f"seed{seed}" / f"run{run}" / "diags", TIMES * TIME, species, length=PERIOD * LENGTH)


def from_series(folder: Path, seed: int) -> xr.Dataset:
    """The training runs, imported."""
    from hoam_plugin.adapters import openpmd

    runs = [write_series(folder, run, seed) for run in range(len(MU))]
    ds = openpmd.read(
        runs,
        species="electrons",
        n_samples=N_SAMPLES,
        key=jax.random.key(seed),
        parameters={"mu": MU},
        axes="x",
        progress=False,
    )
    assert isinstance(ds, xr.Dataset)
    return ds.rename(vx="v")


def write_dump(path: Path, run: int) -> Path:
    """One training run as a LAMMPS dump in `real` units (angstrom, fs): wrapped, in no order, with idle y and z."""
    ds, rng = training().isel(run=run, sample=slice(N_SAMPLES)), np.random.default_rng(run)
    with path.open("w") as file:
        for step, (x, v) in enumerate(zip(ds["x"].values, ds["v"].values, strict=True)):
            file.write(f"ITEM: TIMESTEP\n{1000 * step}\nITEM: NUMBER OF ATOMS\n{len(x)}\nITEM: BOX BOUNDS pp pp pp\n")
            file.write(f"0.0 {PERIOD}\n0.0 40.0\n0.0 30.0\nITEM: ATOMS id type x y z vx vy vz\n")
            for i in rng.permutation(len(x)).tolist():
                file.write(f"{i + 1} 1 {x[i] % PERIOD:.6f} 1.0 1.0 {v[i]:.7g} 0 0\n")
    return path


def from_dumps(folder: Path) -> xr.Dataset:
    """The training runs, imported."""
    from hoam_plugin.adapters import mdanalysis

    folder.mkdir(exist_ok=True)
    dumps = [write_dump(folder / f"run{run}.lammpstrj", run) for run in range(len(MU))]
    step = float(TIMES[1]) / 1000
    ds = mdanalysis.read(dumps, lammps_units="real", timestep=step, parameters={"mu": MU}, axes="x", progress=False)
    assert isinstance(ds, xr.Dataset)
    return ds.rename(vx="v")


def in_si(ds: xr.Dataset) -> xr.Dataset:
    """The held-out run in the units of the series."""
    return renamed(ds, LENGTH, TIME)


def native(seed: int, *, same: bool = True) -> xr.Dataset:
    """Some of the particles of the training runs: the same in all runs, or others in each."""
    if same:
        return bare(hoam.ensemble.subsample(training(), N_SAMPLES, key=jax.random.key(seed)))
    keys = jax.random.split(jax.random.key(seed), len(MU))
    runs = [hoam.ensemble.subsample(training().isel(run=[i]), N_SAMPLES, key=key) for i, key in enumerate(keys)]
    return bare(xr.concat(runs, "run"))


def errors_of(
    cases: Callable[[int], xr.Dataset], convert: Callable[[xr.Dataset], xr.Dataset], draws: int = DRAWS
) -> list[float]:
    """Errors of models that are solved for, of each draw."""
    counts = ["n_particles", "total_weight", "effective_particles"]
    return [
        scores(hoam.fit(cases(seed).drop_vars(counts, errors="ignore"), **SOLVED), convert)[0] for seed in range(draws)
    ]


def row_of(name: str, errors: Sequence[float], reference: Sequence[float]) -> list[str]:
    """Mean, each seed, and the mean over that of the reference."""
    each = ", ".join(f"{error:.4f}" for error in errors)
    return [name, f"{np.mean(errors):.4f}", each, f"{np.mean(errors) / np.mean(reference):.2f}"]


def beside_native(folder: Path) -> list[list[str]]:
    """Errors of plain arrays and of an openPMD series, over those of the same runs given natively; one cause each."""
    whole = lambda ds: ds[["x", "v"]]  # noqa: E731
    reference = errors_of(lambda seed: hoam.ensemble.subsample(training(), N_SAMPLES, key=jax.random.key(seed)), whole)
    cases: dict[str, tuple[Callable[[int], xr.Dataset], Callable[[xr.Dataset], xr.Dataset]]] = {
        "plain arrays": (native, bare),
        "plain arrays, other particles in each run": (functools.partial(native, same=False), bare),
        "**openPMD series**": (functools.partial(from_series, folder), in_si),
        "shuffled ids alone": (functools.partial(drawn, Flaws(decades=0.0, missing=False)), in_si),
        "particles missing alone": (functools.partial(drawn, Flaws(decades=0.0)), in_si),
        "weights over 100 x alone": (functools.partial(drawn, Flaws(missing=False)), in_si),
    }
    rows = [row_of("native", reference, reference)]
    return rows + [row_of(name, errors_of(*case), reference) for name, case in cases.items()]


def of_weights() -> list[list[str]]:
    """Errors by the range of the weights, and by how many samples are drawn."""
    rows = []
    for decades, n in (
        (0.0, N_SAMPLES),
        (1.0, N_SAMPLES),
        (2.0, N_SAMPLES),
        (3.0, N_SAMPLES),
        (2.0, 8_000),
        (2.0, 32_000),
    ):
        flaws = Flaws(decades=decades, missing=False, ids=False)
        errors = errors_of(functools.partial(drawn, flaws, n_samples=n), in_si, DRAWS_OF_WEIGHTS)
        effective = float(drawn(flaws, 0, 100)["effective_particles"].mean())
        rows.append([f"{10**decades:g}", f"{effective:,.0f}", f"{n:,}", *row_of("", errors, errors)[1:3]])
    return rows


def by_trajectories(folder: Path) -> list[list[str]]:
    """Errors of forces of plain arrays and dumps, over those of the same runs given natively."""
    first = training().isel(sample=slice(N_SAMPLES))
    kinetic = {"structure": "kinetic", "training": hoam.Training(iterations=1500, **vars_of_velocity()), **OPTIONS}
    cases = {"native": first, "plain arrays": bare(first), "LAMMPS dumps": from_dumps(folder)}
    rows, of_native = [], 0.0
    for name, ds in cases.items():
        convert = bare if name != "native" else lambda ds: ds[["x", "v"]]
        error, floor = scores(hoam.fit(ds, **kinetic), convert)
        of_native = of_native or error
        rows.append([name, f"{error:.4f}", f"{floor:.4f}", f"{error / of_native:.2f}"])
    return rows


def vars_of_velocity() -> dict[str, int | float]:
    """Settings of the matching of forces."""
    return {"n_samples": 8, "n_times": 64, "runs_per_iteration": 4, "learning_rate": 1e-2}


def in_other_units() -> list[list[str]]:
    """Errors of the same data in other units, over that in natural ones."""
    some = native(0)
    cases: dict[str, dict[str, float]] = {
        "natural": {"length": 1.0, "time_unit": 1.0},
        "nm and fs": {"length": 1e-9, "time_unit": 1e-15},
        "a clock from 5e6": {"length": 1.0, "time_unit": 1.0, "late": 5e6},
        "1e-20 and 1e-25": {"length": 1e-20, "time_unit": 1e-25},
        "light years": {"length": 1e16, "time_unit": 1e9},
    }
    rows, first = [], 0.0
    for name, case in cases.items():
        convert = functools.partial(renamed, **case)
        error, _ = scores(hoam.fit(convert(some), **SOLVED), convert)
        first = first or error
        rows.append([name, f"{error:.5f}", f"{error / first:.4f}"])
    return rows


def clouds(theta: Sequence[float], seed: int, n: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Times, and particles in one dimension that are pulled and kicked: (run, time, sample)."""
    rng, times = np.random.default_rng(seed), np.linspace(0.0, 2.0, 65)
    x = np.empty((len(theta), times.size, n))
    x[:, 0] = rng.normal(0.0, 0.5, (len(theta), n))
    for i, dt in enumerate(np.diff(times)):
        away = np.asarray(theta)[:, None] - x[:, i]
        x[:, i + 1] = x[:, i] + (away + 0.3 * away**3) * dt + 0.3 * np.sqrt(dt) * rng.normal(size=away.shape)
    return times, x


def far_away() -> list[list[str]]:
    """Errors of clouds far from the origin, in float32, over those around it."""
    theta, between = [0.5, 1.0, 1.5, 2.0], [1.25]

    def moved(values: Sequence[float], seed: int, offset: float, scale: float, late: float) -> xr.Dataset:
        times, x = clouds(values, seed)
        parameters = {"theta": (np.asarray(values) + offset) * scale}
        return hoam.ensemble.from_arrays(x=(x + offset) * scale, time=(times + late) * scale, parameters=parameters)

    rows, first = [], 0.0
    for name, case in {
        "natural": (0.0, 1.0, 0.0),
        "offset of 1e5 spreads": (1e5, 1.0, 0.0),
        "offset of 1e5 spreads, clock from 5e6": (1e5, 1.0, 5e6),
        "1e-9, offset of 1e5 spreads": (1e5, 1e-9, 0.0),
        "1e-27": (0.0, 1e-27, 0.0),
    }.items():
        train, truth, other = (moved(v, seed, *case) for seed, v in enumerate((theta, between, between)))
        model = hoam.fit(train, **OPTIONS)
        parameters = {"theta": truth["theta"].values}
        predicted = hoam.simulate(
            model, parameters, truth["time"].values, n_samples=5000, initial=truth, key=KEY, progress=False
        )
        table = hoam.compare(truth, predicted, floor=other)["sliced_wasserstein"].mean("run")
        error = float(table.sel(reference="surrogate"))
        first = first or error
        rows.append([name, f"{error:.5f}", f"{float(table.sel(reference='noise_floor')):.5f}", f"{error / first:.4f}"])
    return rows


def write_large(folder: Path, gigabytes: float, n_iterations: int = 24) -> int:
    """A series of so many gigabytes; returns the particles of an iteration."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))
    from foreign_files import write_openpmd

    # x, px, py, pz, weight and id; the mass is a constant.
    n = int(gigabytes * 1e9 / n_iterations / 48)

    class Snapshots(Sequence[dict[str, np.ndarray]]):
        def __len__(self) -> int:
            return n_iterations

        def __getitem__(self, index: int) -> dict[str, np.ndarray]:  # type: ignore[override]
            rng = np.random.default_rng(index)
            x = rng.uniform(0, 1e-4, n)
            return {"x": x, "v": 1e6 * rng.normal(size=n), "weights": 10 ** rng.uniform(8, 10, n), "ids": np.arange(n)}

    write_openpmd(folder, np.arange(n_iterations) * 1e-15, {"electrons": Snapshots()}, length=1e-4)
    return n


def import_large(folder: Path, store: Path) -> None:
    """What the process that is measured and killed does."""
    from hoam_plugin.adapters import openpmd

    openpmd.read(folder, species="electrons", n_samples=25_000, key=KEY, store=str(store), progress=False)
    # Of this program alone: `ru_maxrss` begins with the memory of the process that has started it.
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({"peak": int(status["VmHWM"].split()[0]) * 1024}))


def large(folder: Path, gigabytes: float) -> list[str]:
    """Memory of an import, and one that is killed, beside an undisturbed one."""
    series = folder / "large"
    n = write_large(series, gigabytes)
    size = sum(file.stat().st_size for file in series.iterdir())
    command = [sys.executable, "-m", "benchmarks.their_data", "--import-large", str(series)]
    begin = time.perf_counter()
    whole = subprocess.run([*command, str(folder / "whole.zarr")], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - begin
    peak = json.loads(whole.stdout.splitlines()[-1])["peak"]
    killed = subprocess.Popen([*command, str(folder / "killed.zarr")], stdout=subprocess.DEVNULL)
    kept = folder / "killed.zarr.import" / "run_0"
    while len(list(kept.glob("*.npz"))) < 10:
        time.sleep(0.1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    n_kept = len(list(kept.glob("*.npz")))
    again = time.perf_counter()
    subprocess.run([*command, str(folder / "killed.zarr")], check=True, capture_output=True)
    rest = time.perf_counter() - again
    one, other = (hoam.ensemble.load(folder / name) for name in ("whole.zarr", "killed.zarr"))
    same = all(np.array_equal(one[name].values, other[name].values) for name in one.data_vars)
    return [
        f"{size / 1e9:.2f} GB of HDF5 files, {n:,} particles at 24 times: imported in {seconds:.0f} s with a peak of "
        f"{peak / 1e9:.2f} GB of memory (resident, of the whole process).",
        f"Killed by SIGKILL after {n_kept} of 24 snapshots; the same call went on in {rest:.0f} s, and its ensemble is "
        f"{'equal to that of the undisturbed one, bit for bit' if same else 'NOT that of the undisturbed one'}.",
    ]


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("build/their_data"))
    parser.add_argument("--gigabytes", type=float, default=5.2)
    parser.add_argument("--import-large", nargs=2, type=Path)
    options = parser.parse_args()
    if options.import_large:
        import_large(*options.import_large)
        return
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    try:
        parts = []
        for part in _parts(options.folder, options.gigabytes):
            parts.append(part)
            print(part, file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(options.folder)
    report.write("their_data", "\n\n".join(parts))


def _parts(folder: Path, gigabytes: float) -> Iterator[str]:
    versions = report.machine(["hoam-plugin", "jax", "openPMD-api", "MDAnalysis"])
    yield f"# Their data\n\n`python -m benchmarks.their_data`. {versions}"
    about = (
        f"Two streams, {len(MU)} runs of {len(TIMES)} equal times to {TIMES[-1]:g}; scored is mu = {HELD_OUT}, which "
        "is between them, by the sliced Wasserstein distance (mean over times). "
        f"{N_SAMPLES:,} samples of {N_PARTICLES:,} particles, which start quietly, drawn at random where they are "
        "given natively, and along a curve through phase space where they are imported. The series has weights over a "
        "range of 100, up to a tenth of the particles missing at each time, shuffled ids, two species and SI units. "
        f"{DRAWS} draws of particles, weights and losses."
    )
    header = ["data", "error", "each draw", "over native"]
    yield f"## Beside the same given natively\n\n{about}\n\n" + report.table(header, beside_native(folder))
    yield "## In other units, float32\n\nThe same two streams.\n\n" + report.table(
        ["units", "error", "over natural"], in_other_units()
    )
    about = (
        "The same, drawn anew at each time, by the range of the weights. `effective` particles of equal weight would "
        "say as much of a mean."
    )
    header = ["range of weights", "effective", "samples", "error", "each draw"]
    yield f"## What weights cost\n\n{about}\n\n" + report.table(header, of_weights())
    about = (
        f"Forces, matched to differences of the trajectories of the first {N_SAMPLES:,} particles (1500 iterations, "
        "one seed); the dumps are wrapped, shuffled and rounded to six decimal places."
    )
    header = ["data", "error", "another draw", "over native"]
    yield f"## Trajectories\n\n{about}\n\n" + report.table(header, by_trajectories(folder))
    about = (
        "Clouds in one dimension that are pulled and kicked, four runs of 5000 samples at 65 times; far from the "
        "origin single precision rounds by a hundredth of a spread."
    )
    header = ["units", "error", "another draw", "over natural"]
    yield f"## Far from the origin, float32\n\n{about}\n\n" + report.table(header, far_away())
    yield "## Files larger than memory\n\n" + "\n\n".join(large(folder, gigabytes))


if __name__ == "__main__":
    main()

"""The paper's recipe on one accelerator within minutes: step, training, rollout. Run by `python -m benchmarks.gpu`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import signal
import statistics
import sys
import threading
import time
from _thread import interrupt_main
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from benchmarks.training_step import synthetic_data
from hoam_plugin import recipes, simulators
from hoam_plugin.losses import loss_and_gradient
from hoam_plugin.potentials import Embedding
from hoam_plugin.simulation.advancing import legs
from hoam_plugin.steppers import abilities_of
from hoam_plugin.training import iterations
from hoam_plugin.training.data import TrainingData
from hoam_plugin.training.drawing import draw_batch
from hoam_plugin.training.iterations import Setup

_DEFAULT, _FULL, _BRAIN = None, "float32", "BF16_BF16_F32"

# Peak TFLOP/s of dense matrix products with float32, TF32 and bfloat16 factors. Data sheets of NVIDIA, whose TF32 and
# bfloat16 figures of the H100 and H200 are with sparsity: half of them. "H100 Tensor Core GPU" (SXM 67, 989, 1979; PCIe
# 51, 756, 1513), "H200 Tensor Core GPU" (67, 989, 1979), "A100 Tensor Core GPU" (19.5, 156, 312, dense).
_PEAKS = {
    "H100 PCIe": (51.0, 378.0, 756.5),
    "H100": (67.0, 494.5, 989.5),
    "H200": (67.0, 494.5, 989.5),
    "A100": (19.5, 156.0, 312.0),
}


def peak(device_kind: str, precision: str | None) -> float | None:
    """TFLOP/s that a card can reach at most, or None for one that is not in the table."""
    for name, (single, tensor_float, brain) in _PEAKS.items():
        if name in device_kind:
            # JAX computes products of float32 matrices in TF32 by default, where a card has it: lax.Precision.
            return {_FULL: single, _BRAIN: brain}.get(precision or "", tensor_float)
    return None


class Sizes(NamedTuple):
    """How much is computed.

    Attributes:
        nodes: of the rule.
        per_node: samples per node and iteration.
        larger: samples per node of a larger batch.
        n_samples: of a population.
        many: samples of a large population.
        n_runs: training runs.
        n_times: saved times of the runs that are scored.
        most_iterations: of a training; None leaves the recipe's.
        potential: None leaves the recipe's.
        dimensions: coordinates for which the training step is measured.
    """

    nodes: int = 256
    per_node: int = 256
    larger: int = 1024
    n_samples: int = 25_000
    many: int = 1_000_000
    n_runs: int = 8
    n_times: int = 65
    most_iterations: int | None = None
    potential: hoam.CoLoRA | None = None
    dimensions: tuple[int, ...] = (2, 9)


SMALL = Sizes(16, 8, 16, 400, 1000, 3, 9, 30, hoam.CoLoRA(width=8, depth=3, rank=2, hyper_width=5))


class Problem(NamedTuple):
    """What is learned.

    Attributes:
        make: the simulator.
        parameter: its name, and the first and the last value of the training runs.
        held_out: values of the runs that are scored.
        dt: step of the simulator; None for its own.
        iterations: of the paper.
        share: of the time that is left when it is its turn, for training.
        published: what the paper reports.
    """

    make: Callable[[], Any]
    parameter: tuple[str, float, float]
    held_out: tuple[float, ...]
    dt: float | None
    iterations: int
    share: float
    published: str

    def training(self, n_runs: int) -> dict[str, list[float]]:
        """Parameters of the training runs."""
        name, first, last = self.parameter
        return {name: np.linspace(first, last, n_runs).round(6).tolist()}

    @property
    def held(self) -> dict[str, list[float]]:
        """Parameters of the runs that are scored."""
        return {self.parameter[0]: list(self.held_out)}


PROBLEMS = {
    "two_stream": Problem(simulators.two_stream, ("mu", 1.2, 1.9), (1.25, 1.85), 0.1, 25_000, 0.4, "e.e. .208"),
    "lorenz9": Problem(simulators.lorenz9, ("r", 13.5, 14.2), (13.65, 14.05), None, 50_000, 0.7, "Sinkhorn .217"),
}

STEP = ["D", "nodes x samples", "precision", "ms", "TFLOP/s", "% of peak", "XLA's TFLOP/s", "% of peak"]
RECIPE = [
    "problem",
    "iterations",
    "of",
    "training s",
    "ms",
    "loss",
    "reference",
    "e.e.",
    "L1",
    "SW",
    "Sinkhorn",
    "paper",
]
ROLLOUT = ["what", "problem", "runs x samples", "steps", "first s", "s", "samples x steps / s"]
HEADERS = {"step": STEP, "recipe": RECIPE, "rollout": ROLLOUT}
TITLES = {
    "step": "Training step: one iteration of `fit` with the paper's potential. TFLOP/s count the products with square "
    "matrices alone (forward, and twice as many backward); XLA's count is of the whole program before optimisation",
    "recipe": "`recipes.paper()`, its iterations scaled to the time, so that the learning rate decays to zero; scored "
    "at the held-out parameters from the truth's own starts; one value per run",
    "rollout": "Rollout: the second of two calls; `simulate` includes the copy to the host",
}


class Table:
    """The rows so far; written after every new one, so that whatever stops the command loses none.

    Args:
        folder: where `gpu.md` and `gpu.json`, from which a later command goes on, are written.
        resume: go on from there.
        heading: the lines above the tables.
    """

    def __init__(self, folder: Path, *, resume: bool, heading: str) -> None:
        self._folder, self._heading = folder, heading
        self._state: dict[str, Any] = {"rows": [], "plans": {}}
        folder.mkdir(parents=True, exist_ok=True)
        if resume and (folder / "gpu.json").exists():
            self._state = json.loads((folder / "gpu.json").read_text())

    def has(self, section: str, label: str) -> bool:
        """Whether something has been measured."""
        return any(row["section"] == section and row["label"] == label for row in self._state["rows"])

    def add(self, section: str, label: str, *rows: Sequence[str]) -> None:
        """Print rows and write them."""
        for cells in rows:
            self._state["rows"].append({"section": section, "label": label, "cells": list(cells)})
            say(f"{section}: " + " | ".join(cells))
        self._write()

    def cells(self, section: str) -> list[list[str]]:
        """All rows of a section."""
        return [row["cells"] for row in self._state["rows"] if row["section"] == section]

    def plan(self, name: str, value: Callable[[], int]) -> int:
        """A number that stays what it was when the command is taken up again."""
        if name not in self._state["plans"]:
            self._state["plans"][name] = value()
            self._write()
        return self._state["plans"][name]

    def _write(self) -> None:
        parts = [self._heading]
        for section, header in HEADERS.items():
            if rows := self.cells(section):
                parts.append(f"## {section.capitalize()}\n\n{TITLES[section]}.\n\n{report.table(header, rows)}")
        for name, text in (("gpu.json", json.dumps(self._state)), ("gpu.md", "\n\n".join(parts) + "\n")):
            aside = self._folder / f"{name}.part"
            aside.write_text(text)
            aside.replace(self._folder / name)


def say(text: str) -> None:
    """A line that is seen at once."""
    print(f"[{time.perf_counter() - _START:6.1f} s] {text}", flush=True)


_START = time.perf_counter()


@dataclasses.dataclass(frozen=True)
class Bench:
    """What the parts of the command share.

    Attributes:
        sizes: how much is computed.
        table: of results.
        seconds: that all of it may take.
        folder: for models.
        sinkhorn: whether Sinkhorn divergences are computed.
        began: when, as `time.perf_counter` counts.
    """

    sizes: Sizes
    table: Table
    seconds: float
    folder: Path
    sinkhorn: bool = False
    began: float = dataclasses.field(default_factory=time.perf_counter)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.began + self.seconds - time.perf_counter()

    def recipe(self, iterations: int, precision: str | None = None, samples: int | None = None) -> recipes.Settings:
        """The paper's settings for a number of iterations."""
        settings = recipes.paper(iterations=iterations)
        if self.sizes.potential is not None:
            settings["potential"] = self.sizes.potential
        settings["training"] = dataclasses.replace(
            settings["training"],
            n_samples=self.sizes.per_node if samples is None else samples,
            n_end_samples=min(256, self.sizes.n_samples),
            matmul_precision=precision,
            # All samples stay on the card.
            sample_memory=8_000_000_000,
        )
        return settings


# Training step


def training_steps(bench: Bench) -> None:
    """The paper's batch in three precisions and a larger batch, for every number of coordinates."""
    sizes, on_cpu = bench.sizes, jax.default_backend() == "cpu"
    cases = [(d, sizes.per_node, _DEFAULT) for d in sizes.dimensions]
    cases += (
        [] if on_cpu else [(d, sizes.per_node, precision) for precision in (_FULL, _BRAIN) for d in sizes.dimensions]
    )
    cases += [(d, sizes.larger, _DEFAULT) for d in sizes.dimensions]
    for n_dims, samples, precision in cases:
        label = f"{n_dims} {samples} {precision}"
        if bench.table.has("step", label) or bench.left < 0.8 * bench.seconds:
            continue
        setup, data = step_of(bench, n_dims, samples, precision)
        try:
            seconds = seconds_per_iteration(setup, data)
        except jax.errors.JaxRuntimeError as error:  # out of memory, or a precision that the card has not
            say(f"step: {label}: {str(error).splitlines()[0]}")
            continue
        products, counted = analytic_flops(setup, data), counted_flops(setup, data)
        most = peak(jax.devices()[0].device_kind, precision)
        row = [str(n_dims), f"{sizes.nodes} x {samples}", _name_of(precision), f"{1e3 * seconds:.2f}"]
        for flops in (products, counted):
            rate = flops / seconds / 1e12
            known = not math.isnan(rate)
            row += [f"{rate:.3g}" if known else "-", f"{100 * rate / most:.1f}" if known and most else "-"]
        bench.table.add("step", label, row)


def _name_of(precision: str | None) -> str:
    if precision is not None:
        return precision
    return "float32" if jax.default_backend() == "cpu" else "default (TF32)"


def step_of(bench: Bench, n_dims: int, samples: int, precision: str | None) -> tuple[Setup, TrainingData]:
    """The paper's training of random samples."""
    settings = bench.recipe(1_000_000, precision, samples)
    training = dataclasses.replace(settings["training"], block=10)
    setup = Setup(settings["potential"], Embedding((None,) * n_dims), settings["loss"], training)
    return setup, synthetic_data(bench.sizes.nodes, samples, n_dims)


def seconds_per_iteration(setup: Setup, data: TrainingData, least: float = 1.5) -> float:
    """Of the loop that `fit` runs: the median of the blocks of some time, after the first."""
    state, key = iterations.start(setup, jax.random.key(0), 2), jax.random.key(1)
    blocks = iterations.blocks(setup, state, lambda iteration: data, key)
    next(blocks)
    seconds: list[float] = []
    for record in blocks:
        seconds.append(record.seconds / len(record.loss))
        if sum(seconds) * setup.training.block > least or len(seconds) >= 20:
            break
    return statistics.median(seconds)


def analytic_flops(setup: Setup, data: TrainingData) -> float:
    """Of the products of an iteration with square matrices: value, gradient, time derivative, Laplacian of a sample."""
    rows = len(data.nodes) * data.points.shape[-2]
    width, depth = setup.potential.width, setup.potential.depth
    return 2.0 * 3 * rows * (3 + data.points.shape[-1]) * width**2 * (depth - 2)


def counted_flops(setup: Setup, data: TrainingData) -> float:
    """Of batch, loss and gradient of an iteration, as XLA counts them before it optimises.

    It counts the body of a loop once. So the count is of one node and of two with few samples, each a single pass of
    the loop over chunks: the difference is what those samples cost.
    """
    few = min(_FEW, data.points.shape[-2])
    one, two = (_counted(setup, data, n_nodes, few) for n_nodes in (1, 2))
    return 2 * one - two + len(data.nodes) * data.points.shape[-2] / few * (two - one)


# Two nodes of these are no more rows than the least of a chunk.
_FEW = 64


def _counted(setup: Setup, data: TrainingData, n_nodes: int, n_samples: int) -> float:
    part = dataclasses.replace(data, nodes=data.nodes[:n_nodes], points=data.points[..., :n_samples, :])

    def of_key(key: jax.Array) -> Any:
        weights = setup.potential.init(key, setup.embedding.n_features, data.conditions.shape[-1])
        batch = draw_batch(setup.loss, part, key)
        return loss_and_gradient(setup.loss, setup.potential, setup.embedding, weights, batch)

    # None on a backend that counts compiled programs alone.
    counts = jax.jit(of_key).lower(jax.random.key(0)).cost_analysis()
    return math.nan if counts is None else float(counts["flops"])


# Training


class Truth(NamedTuple):
    """Runs of the simulator: to learn from, to be scored against, as a floor, and at the scored times."""

    training: xr.Dataset
    held: xr.Dataset
    floor: xr.Dataset
    curves: xr.Dataset | None


def truth_of(bench: Bench, name: str) -> Truth:
    """Simulated on the card."""
    problem, sizes = PROBLEMS[name], bench.sizes
    stepper = problem.make()
    times = np.linspace(*stepper.horizon, sizes.n_times)

    def runs(parameters: dict[str, Any], saved: Any, seed: int) -> xr.Dataset:
        return simulated(stepper, parameters, saved, seed, n_samples=sizes.n_samples, dt=problem.dt)

    training = problem.training(sizes.n_runs)
    has_curve = any(variable.name == "electric_energy" for variable in abilities_of(stepper).diagnostic_variables)
    return Truth(
        runs(training, hoam.quadrature.gauss_legendre(sizes.nodes), 0),
        runs(problem.held, times, 1),
        runs(problem.held, times, 2),
        runs(training, times, 0) if has_curve else None,
    )


def simulated(stepper: Any, parameters: dict[str, Any], times: Any, seed: int, **options: Any) -> xr.Dataset:
    """Runs of any stepper."""
    return hoam.simulate(stepper, parameters, times, key=jax.random.key(seed), progress=False, **options)


def learn(bench: Bench, name: str) -> hoam.Surrogate | None:
    """Simulate, train for a share of the time that is left, score; the surrogate, or None where there was no time."""
    problem = PROBLEMS[name]
    path = bench.folder / f"gpu_{name}.hoam"
    if bench.table.has("recipe", name) and path.exists():
        return hoam.load(path)
    if bench.left < 0.1 * bench.seconds:
        say(f"recipe: {name}: no time left")
        return None
    begin = time.perf_counter()
    truth = truth_of(bench, name)
    say(f"recipe: {name}: simulated in {time.perf_counter() - begin:.1f} s")
    planned = bench.table.plan(f"{name} iterations", lambda: iterations_for(bench, name, problem.share * bench.left))
    settings = bench.recipe(planned)
    begin = time.perf_counter()
    model = trained(truth.training, path, settings, limit=max(bench.left - 0.08 * bench.seconds, 5.0))
    seconds = time.perf_counter() - begin
    if model is None:
        bench.table.add("recipe", name, [name, "0", str(problem.iterations), f"{seconds:.0f}", *["no model"] * 8])
        return None
    times, n_samples = truth.held["time"].values, bench.sizes.n_samples
    predicted = simulated(model, problem.held, times, 3, n_samples=n_samples, initial=truth.held)
    scores = hoam.compare(truth.held, predicted, training=truth.curves, floor=truth.floor, sinkhorn=bench.sinkhorn)
    bench.table.add("recipe", name, *score_rows(name, model, scores, seconds))
    return model


def iterations_for(bench: Bench, name: str, seconds: float) -> int:
    """As many of the paper's as a time allows, by the measured time of one; a fifth is left for the data."""
    problem, sizes = PROBLEMS[name], bench.sizes
    n_dims = sum(math.prod(shape) for shape in shapes_of(problem.make()))
    setup, data = step_of(bench, n_dims, sizes.per_node, _DEFAULT)
    each = seconds_per_iteration(setup, data)
    most = problem.iterations if sizes.most_iterations is None else sizes.most_iterations
    planned = max(1, min(most, int(0.8 * seconds / each)))
    say(f"recipe: {name}: {planned} of {problem.iterations} iterations at {1e3 * each:.2f} ms")
    return planned


def shapes_of(stepper: Any) -> list[tuple[int, ...]]:
    """Shapes of the variables of a sample."""
    row = dict.fromkeys(stepper.parameters, 1.0)
    state = jax.eval_shape(lambda key: stepper.init(key, 2, row), jax.random.key(0))
    return [getattr(state, variable.name).shape[1:] for variable in stepper.variables]


def trained(training: xr.Dataset, path: Path, settings: recipes.Settings, limit: float) -> hoam.Surrogate | None:
    """The surrogate, also where its training was stopped after `limit` seconds or ran away; goes on from a checkpoint.

    None where there is none.
    """
    # Shells start commands in the background with this signal ignored, and then nothing would stop the training.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(limit, interrupt_main)
    timer.start()
    options: dict[str, Any] = {"key": jax.random.key(0), "checkpoint": path, "progress": sys.stderr.isatty()}
    try:
        if path.exists():
            try:
                return hoam.fit(training, resume=path, **options, **settings)
            except ValueError as error:  # sums on a card come out in another order, and the samples with them
                say(f"recipe: begins anew: {error}")
        return hoam.fit(training, overwrite=True, **options, **settings)
    except (hoam.TrainingInterrupted, hoam.TrainingDivergedError) as stopped:
        say(f"recipe: {stopped}")
        return stopped.surrogate
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)


_SCORES = ("electric_energy_error", "histogram_l1", "sliced_wasserstein", "sinkhorn_divergence")


def score_rows(name: str, model: hoam.Surrogate, scores: xr.Dataset, seconds: float) -> Iterator[list[str]]:
    """One row per reference, the surrogate first."""
    history = model.history
    assert history is not None
    done, each = history.sizes["iteration"], float(history["seconds"].median())
    loss = float(history["loss"][-100:].mean())
    own = [str(done), str(PROBLEMS[name].iterations), f"{seconds:.0f}", f"{1e3 * each:.2f}", f"{loss:.4g}"]
    for reference in scores["reference"].values.tolist():
        values = [scores[score].sel(reference=reference).values if score in scores else np.nan for score in _SCORES]
        if np.isnan(np.concatenate([np.atleast_1d(value) for value in values])).all():
            continue
        first = reference == "surrogate"
        cells = [" / ".join("-" if np.isnan(v) else f"{v:.3g}" for v in np.atleast_1d(value)) for value in values]
        yield [name, *(own if first else [""] * len(own)), reference, *cells, PROBLEMS[name].published if first else ""]


# Rollout


def rollouts(bench: Bench, name: str, model: hoam.Surrogate) -> None:
    """`solve` of the learned population, and `simulate` of it and of the simulator, small and large."""
    problem, sizes = PROBLEMS[name], bench.sizes
    stepper, row = problem.make(), {key: values[0] for key, values in problem.held.items()}
    times = np.linspace(*stepper.horizon, sizes.n_times)
    for n in (sizes.n_samples, sizes.many):
        state = jax.jit(stepper.init, static_argnums=1)(jax.random.key(4), n, row)

        def solve(seed: int, state: Any = state) -> Any:
            return jax.block_until_ready(model.solve(state, times, row, key=jax.random.key(seed)))

        _roll(bench, "solve, surrogate", name, f"1 x {n}", steps_of(model, times), n, solve)
    for what, mover, dt in (("simulate, truth", stepper, problem.dt), ("simulate, surrogate", model, None)):
        for n_runs, n in ((sizes.n_runs, sizes.n_samples), (1, sizes.many)):
            parameters = problem.training(n_runs)

            def simulate(seed: int, mover: Any = mover, dt: Any = dt, parameters: Any = parameters, n: int = n) -> Any:
                return simulated(mover, parameters, times, seed, n_samples=n, dt=dt)

            n_steps = steps_of(mover, times, dt)
            _roll(bench, what, name, f"{n_runs} x {n}", n_steps, n_runs * n, simulate)


def steps_of(mover: Any, times: np.ndarray, dt: float | None = None) -> int:
    """Of a run of a stepper through some times."""
    ways = legs(float(times[0]), times, mover.dt if dt is None else dt, abilities_of(mover).steps_between)
    return sum(leg.n_steps for leg in ways)


def _roll(
    bench: Bench, what: str, name: str, size: str, n_steps: int, n_samples: int, call: Callable[[int], Any]
) -> None:
    """One row: a first call, which compiles, and a second."""
    label = f"{what} {name} {size}"
    if bench.table.has("rollout", label) or bench.left < 0:
        return
    seconds = []
    for seed in (5, 6):
        begin = time.perf_counter()
        try:
            call(seed)
        except jax.errors.JaxRuntimeError as error:  # out of memory
            say(f"rollout: {label}: {str(error).splitlines()[0]}")
            return
        seconds.append(time.perf_counter() - begin)
    rate = n_samples * n_steps / seconds[1]
    row = [what, name, size, str(n_steps), f"{seconds[0]:.2f}", f"{seconds[1]:.3f}", f"{rate:.3g}"]
    bench.table.add("rollout", label, row)


def measure(bench: Bench, only: Sequence[str] = tuple(PROBLEMS)) -> None:
    """All rows, as far as the time goes."""
    training_steps(bench)
    for name in only:
        model = learn(bench, name)
        if model is not None:
            rollouts(bench, name, model)
    say(f"done, with {bench.left:.0f} s left")


def heading(minutes: float, *, small: bool) -> str:
    """The lines above the tables."""
    device = jax.devices()[0]
    size = " at toy size (`--small`), which says nothing about speed" if small else ""
    return (
        f"# On one accelerator\n\n`python -m benchmarks.gpu`{size}, {minutes:g} minutes in all: float32, JAX's default "
        "precision of matrix products (TF32 on these cards) where nothing else is said.\n\n"
        f"{device.device_kind} ({device.platform}); {report.machine(['hoam-plugin', 'jax', 'jaxlib'])}"
    )


def main() -> None:
    """Write `gpu.md`, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything but the start of Python")
    parser.add_argument("--only", nargs="*", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of table, state and models")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there and go on")
    parser.add_argument("--sinkhorn", action="store_true", help="score by Sinkhorn divergences as well")
    parser.add_argument("--small", action="store_true", help="toy sizes, for a look at the command on a CPU")
    options = parser.parse_args()
    if not options.resume:
        for name in PROBLEMS:
            for left in options.out.glob(f"gpu_{name}.hoam*"):
                left.unlink()
    table = Table(options.out, resume=options.resume, heading=heading(options.minutes, small=options.small))
    sizes = SMALL if options.small else Sizes()
    say(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, to {options.out / 'gpu.md'}")
    measure(Bench(sizes, table, 60 * options.minutes, options.out, options.sinkhorn), options.only)


if __name__ == "__main__":
    main()

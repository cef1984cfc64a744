"""`hoam demo`: the two-stream instability from the simulator to the verdict on its surrogates, in one go."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from rich.console import Console

from hoam_plugin import ensembles, plots, quadrature, registry
from hoam_plugin._internal import freed_memory
from hoam_plugin._internal.files import worked_on_aside
from hoam_plugin._internal.progress import Phase, whole_bar
from hoam_plugin._internal.stopwatch import Stopwatch, peak_memory
from hoam_plugin.cli.demo_sizes import DEFAULT, Sizes
from hoam_plugin.cli.parsing import DEMO_FILES
from hoam_plugin.dynamics import Kind
from hoam_plugin.quadrature import Rule
from hoam_plugin.recipes import velocity_training
from hoam_plugin.scores import compare, verdict_table
from hoam_plugin.simulation import simulate
from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training import Training, fit

NAME = "two_stream"
HELD_OUT = (1.25, 1.85)
_MU_FIRST, _MU_LAST = 1.2, 1.9
# A step of 0.1 changes the energy error by 0.001 against the default, and halves the work.
_DT = 0.1
# What is learned, the better one first; the values are structures of `fit`.
STRUCTURES: dict[str, Kind] = {"force": "kinetic", "potential": "gradient"}


def population(name: str, mu: Sequence[float] | np.ndarray, times: np.ndarray | Rule, **options: Any) -> xr.Dataset:
    """What downstream code does: ask for a stepper by name and run it, whichever it is."""
    return simulate(registry.stepper(name), {"mu": mu}, times, **options)


def run_demo(output: Path, sizes: Sizes, *, seed: int = 0, progress: bool = True) -> xr.Dataset:
    """Simulate, fit two surrogates, swap, compare and plot; write everything into the folder `output`.

    The folder is written aside and takes its name, in the place of an earlier one, when everything is complete.

    Args:
        output: the folder; whether it may be replaced is for the caller to check.
        sizes: samples, runs, nodes, times and iterations.
        seed: seed of all random numbers.
        progress: show progress bars.

    Returns:
        The scores.
    """
    console = Console(record=True, soft_wrap=True, highlight=False, markup=False)
    watch = Stopwatch()
    keys = jax.random.split(jax.random.key(seed), 6)
    training_mu = np.linspace(_MU_FIRST, _MU_LAST, sizes.runs)
    first, last = registry.build(NAME).horizon
    times = np.linspace(first, last, sizes.saved_times)
    options = {"n_samples": sizes.samples, "progress": progress}

    with worked_on_aside(output) as folder, whole_bar(_expected(sizes), show=progress) as whole:

        @contextlib.contextmanager
        def phase(name: str) -> Iterator[None]:
            with watch.phase(name), whole.phase(name):
                yield
            freed_memory.give_back()

        folder.mkdir()
        console.print(f"Simulating {sizes.runs} training runs and, with two seeds, {len(HELD_OUT)} held-out ones")
        with phase("simulate"):
            nodes = quadrature.gauss_legendre(sizes.nodes)
            kept = {**options, "key": keys[0], "dt": _DT}
            # On disk as they come, since they are most of what there is to hold.
            truth = population(NAME, training_mu, nodes, rates=True, store=folder / "training.zarr", **kept)
            # The same runs on the times of the held-out ones: what can be had by interpolating between them.
            neighbours = population(NAME, training_mu, times, store=folder / "neighbours.zarr", **kept)
            held = population(NAME, HELD_OUT, times, key=keys[1], dt=_DT, **options)
            floor = population(NAME, HELD_OUT, times, key=keys[2], dt=_DT, **options)

        predictions, models = {}, {}
        for label, structure in STRUCTURES.items():
            training = _training(structure, sizes)
            console.print(f"Fitting: {label}")
            with phase(f"train: {label}"):
                runs = truth
                if structure == "kinetic":
                    # Enough for its iterations, and half as much to hold.
                    runs = ensembles.subsample(truth, math.ceil(sizes.samples / 2), key=keys[5])
                models[label] = fit(runs, key=keys[3], structure=structure, training=training, progress=progress)
            console.print(f"Swapping: the same code asks for {NAME!r} and now gets the surrogate")
            registry.register(NAME, models[label])
            with phase(f"roll out: {label}"), registry.use_surrogate(NAME, models[label]):
                predictions[label] = population(NAME, HELD_OUT, times, key=keys[4], initial=held, **options)

        console.print("Comparing")
        with phase("compare"):
            scores = _scores(held, predictions, training=neighbours, floor=floor)

        console.print("Drawing")
        with phase("plots"):
            _draw(folder, held, predictions, floor, neighbours, models)
        with phase("write files"):
            ensembles_by_name = {"truth": held, "floor": floor}
            ensembles_by_name |= {f"surrogate_{label}": ds for label, ds in predictions.items()}
            for name, ds in ensembles_by_name.items():
                ensembles.save(ds, folder / f"{name}.zarr")
            ensembles.write(scores, folder / "scores.zarr")
            models["force"].save(folder / DEMO_FILES[0])
            models["potential"].save(folder / "potential.hoam")

        _print_verdict(console, scores, held, predictions)
        console.print("\nWall time\n")
        console.print(_time_table(watch.seconds))
        if (memory := peak_memory()) is not None:
            console.print(f"\nPeak memory: {memory:.2f} GB")
        (folder / DEMO_FILES[1]).write_text(console.export_text())
    print(f"Everything is in {output}/: {', '.join(sorted(path.name for path in output.iterdir()))}")
    return scores


def _expected(sizes: Sizes) -> dict[str, Phase]:
    """Seconds of the phases on two cores, compilation among them."""
    work = sizes.samples * sizes.runs * sizes.nodes / (DEFAULT.samples * DEFAULT.runs * DEFAULT.nodes)
    return {
        "simulate": Phase(5 + 7 * work, bars=4),
        "train: force": Phase(18 + 16 * work),
        "roll out: force": Phase(2),
        "train: potential": Phase(7 + 16 * work),
        "roll out: potential": Phase(7),
        "compare": Phase(4 + 4 * work),
        "plots": Phase(7),
        "write files": Phase(1),
    }


def _training(structure: Kind, sizes: Sizes) -> Training | None:
    """Settings of a minute or so; None leaves a potential of two coordinates to be solved for."""
    if structure == "gradient":
        return None if sizes.iterations is None else Training(iterations=sizes.iterations)
    return velocity_training(sizes.force_iterations if sizes.iterations is None else sizes.iterations)


def _scores(
    held: xr.Dataset, predictions: dict[str, xr.Dataset], *, training: xr.Dataset, floor: xr.Dataset
) -> xr.Dataset:
    """One table of all surrogates, in the place of the reference "surrogate"."""
    first, *others = predictions.values()
    # The other references are the same for all.
    tables = [compare(held, first, training=training, floor=floor), *(compare(held, ds) for ds in others)]
    own = [
        table.isel(reference=slice(1)).assign_coords(reference=[label])
        for label, table in zip(predictions, tables, strict=True)
    ]
    return xr.concat([*own, tables[0].isel(reference=slice(1, None))], "reference", combine_attrs="override")


def _print_verdict(console: Console, scores: xr.Dataset, held: xr.Dataset, predictions: dict[str, xr.Dataset]) -> None:
    """Tables, and what they say in one sentence."""
    console.print("\nScores (0 is perfect; the noise floor is what two runs of the simulator differ by)\n")
    console.print(verdict_table(scores))
    console.print("\nforce: from recorded accelerations, around exact kinematics; potential: from samples alone")
    console.print("\nEnergy at saturation, by the same call of the name before and after the swap\n")
    console.print(_saturation_table(held, predictions))
    console.print(f"\n{_in_one_sentence(scores)}")


def _in_one_sentence(scores: xr.Dataset) -> str:
    """How good the surrogates are, at the worst held-out parameter."""

    def worst(score: str, reference: str) -> float:
        return float(scores[score].sel(reference=reference).max())

    energies = " and ".join(f"{worst('electric_energy_error', label):.1%} ({label})" for label in STRUCTURES)
    distances = " and ".join(f"{worst('sliced_wasserstein', label):.2g} ({label})" for label in STRUCTURES)
    return (
        f"In the simulator's place, at parameters that were not trained on, the energy is off by {energies} where two "
        f"runs of the simulator differ by {worst('electric_energy_error', 'noise_floor'):.1%}, and populations lie "
        f"{distances} apart where those of two runs do {worst('sliced_wasserstein', 'noise_floor'):.2g}."
    )


def _draw(
    folder: Path,
    held: xr.Dataset,
    predictions: dict[str, xr.Dataset],
    floor: xr.Dataset,
    training: xr.Dataset,
    models: dict[str, Surrogate],
) -> None:
    for run, mu in enumerate(held["mu"].values):
        plots.save_figure(plots.phase_space(held, predictions, run=run), folder / f"phase_space_mu_{mu:g}.png")
    figure = plots.energy_curves(held, predictions, floor=floor, training=training)
    plots.save_figure(figure, folder / "energy.png")
    for label in STRUCTURES:
        history = models[label].history
        assert history is not None
        plots.save_figure(plots.loss_history(history), folder / f"loss_{label}.png")
    plots.animation(held, next(iter(predictions.values())), folder / "phase_space.gif")


def _saturation_table(held: xr.Dataset, predictions: dict[str, xr.Dataset]) -> str:
    lines = [["mu", *(cell for name in ("simulator", *predictions) for cell in (name, "at t"))]]
    for run, mu in enumerate(held["mu"].values):
        line = [f"{mu:g}"]
        for ds in (held, *predictions.values()):
            curve = ds["electric_energy"].values[run]
            peak = int(np.argmax(curve))
            line += [f"{curve[peak]:.4g}", f"{ds['time'].values[peak]:.3g}"]
        lines.append(line)
    return _aligned(lines)


def _time_table(seconds: dict[str, float]) -> str:
    lines = [["phase", "seconds"], *([phase, f"{value:.1f}"] for phase, value in seconds.items())]
    return _aligned([*lines, ["total", f"{sum(seconds.values()):.1f}"]])


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in [lines[0], ["-" * w for w in widths], *lines[1:]]
    ]
    return "\n".join(rows)

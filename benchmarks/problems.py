"""Every problem of the package, learned with the structure that fits it, scored at held-out parameters."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin import simulators
from hoam_plugin.quadrature import gauss_legendre

SCORES = {
    "e.e.": "electric_energy_error",
    "L1": "histogram_l1",
    "SW": "sliced_wasserstein",
    "mean": "mean_error",
    "covariance": "covariance_error",
    "Sinkhorn": "sinkhorn_divergence",
}


class Case(NamedTuple):
    """A problem and how it is learned.

    Attributes:
        stepper: makes the simulator.
        training: parameters of the training runs.
        held_out: parameters of the runs that are scored.
        n_samples: per run.
        nodes: Gauss-Legendre nodes of the training runs.
        n_times: saved times of the held-out runs.
        options: of `fit`.
        rates: whether the training runs record them.
        published: what the paper reports, in words.
        dt: step of the surrogate, where its default is too long for the motion.
        clock: over which the nodes of the training runs are spread, see `simulate`.
    """

    stepper: Callable[[], Any]
    training: dict[str, Any]
    held_out: dict[str, Any]
    n_samples: int
    nodes: int
    n_times: int
    options: dict[str, Any]
    rates: bool = False
    published: str = ""
    dt: float | None = None
    clock: str = "physical"


def steps(first: float, last: float, n: int) -> list[float]:
    """Parameters at equal distances."""
    return np.linspace(first, last, n).round(6).tolist()


_KINETIC: dict[str, Any] = {"structure": "kinetic"}
_TRAP = {"mu": [0.3, 0.4, 0.5, 0.7, 0.8, 0.9]}
CASES = {
    "oscillator": Case(simulators.oscillator, {}, {}, 10_000, 64, 65, _KINETIC, rates=True),
    "duffing": Case(
        simulators.duffing,
        {"mu": [0.1, 0.15, 0.25, 0.3]},
        {"mu": [0.2]},
        25_000,
        64,
        65,
        # The force does not depend on time.
        _KINETIC | {"potential": hoam.VectorField(time_harmonics=0)},
        rates=True,
        dt=0.02,
    ),
    "two_stream": Case(
        simulators.two_stream,
        {"mu": steps(1.2, 1.9, 8)},
        {"mu": [1.25, 1.85]},
        25_000,
        64,
        129,
        _KINETIC,
        rates=True,
        published="e.e. .208",
    ),
    "bump_on_tail": Case(
        simulators.bump_on_tail,
        {"mu": steps(1.3, 2.0, 8)},
        {"mu": [1.35, 1.95]},
        25_000,
        64,
        129,
        _KINETIC,
        rates=True,
        published="e.e. .429",
    ),
    "strong_landau": Case(
        simulators.strong_landau,
        {"mu": [0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5]},
        {"mu": [1.0]},
        25_000,
        48,
        65,
        _KINETIC,
        rates=True,
        published="e.e. .447",
    ),
    "lorenz9": Case(
        simulators.lorenz9,
        {"r": steps(13.5, 14.2, 8)},
        {"r": [13.65, 14.05]},
        25_000,
        96,
        65,
        {"structure": "field"},
        rates=True,
        published="Sinkhorn .217",
    ),
    "lorenz9, samples alone": Case(
        simulators.lorenz9,
        {"r": steps(13.5, 14.2, 8)},
        {"r": [13.65, 14.05]},
        25_000,
        256,
        65,
        {},
        published="Sinkhorn .217",
        clock="population",
    ),
    "trap": Case(
        simulators.trap,
        _TRAP,
        {"mu": [0.6]},
        5000,
        64,
        41,
        {"structure": "field"},
        rates=True,
    ),
    "trap, samples alone": Case(
        simulators.trap,
        _TRAP,
        {"mu": [0.6]},
        5000,
        128,
        41,
        {},
    ),
    "yukawa_quench": Case(
        simulators.yukawa_quench,
        {"kT": [0.1, 0.1, 0.1, 0.25, 0.25, 0.25, 0.4, 0.4, 0.4], "screening_length": [0.8, 1.1, 1.4] * 3},
        {"kT": [0.15, 0.325], "screening_length": [0.95, 1.25]},
        16 * 512,
        48,
        33,
        # The mean force depends on the velocity: kinetic energy turns into energy of correlations.
        _KINETIC | {"potential": hoam.CoLoRA(width=24, depth=3, rank=4)},
        rates=True,
    ),
}


def simulated(case: Case, parameters: dict[str, Any], times: Any, seed: int, **options: Any) -> xr.Dataset:
    """Runs of the true simulator."""
    key = jax.random.key(seed)
    return hoam.simulate(
        case.stepper(), parameters, times, key=key, n_samples=case.n_samples, progress=False, **options
    )


def measure(name: str, seed: int) -> tuple[list[str], xr.Dataset, xr.Dataset]:
    """One row, the truth and the prediction."""
    case = CASES[name]
    stepper = case.stepper()
    times = np.linspace(*stepper.horizon, case.n_times)
    training = simulated(case, case.training, gauss_legendre(case.nodes), 0, rates=case.rates, clock=case.clock)
    held, floor = (simulated(case, case.held_out, times, other) for other in (1, 2))
    begin = time.perf_counter()
    model = hoam.fit(training, key=jax.random.key(seed), progress=False, **case.options)
    trained = time.perf_counter() - begin
    options: dict[str, Any] = {"key": jax.random.key(100 + seed), "n_samples": case.n_samples, "dt": case.dt}
    begin = time.perf_counter()
    predicted = hoam.simulate(model, case.held_out, times, initial=held, progress=False, **options)
    rolled = time.perf_counter() - begin
    scores = hoam.compare(held, predicted, floor=floor, sinkhorn=name.startswith("lorenz9"))
    n_dims = sum(int(np.prod(held[v].shape[3:])) for v in (variable.name for variable in stepper.variables))
    data = "rates" if case.rates else "samples"
    row = [name, str(n_dims), case.options.get("structure", "gradient"), data, str(seed)]
    row += [_cell(scores, score) for score in SCORES.values()]
    return [*row, case.published, f"{trained:.0f}", f"{rolled:.1f}"], held, predicted


def _cell(scores: xr.Dataset, name: str) -> str:
    """The surrogate's value and in brackets the noise floor, for every held-out run."""
    if name not in scores:
        return "-"
    own, floor = (scores[name].sel(reference=reference).values for reference in ("surrogate", "noise_floor"))
    return " / ".join(f"{a:.2g} ({b:.2g})" for a, b in zip(own, floor, strict=True))


def picture_lorenz9(name: str, held: xr.Dataset, predicted: xr.Dataset) -> None:
    """Densities of the second and ninth mode, with the bridge of low probability between the lobes."""
    from hoam_plugin.plots import new_figure

    figure = new_figure(9, 5)
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for row, (label, ds) in zip(panels, (("truth", held), ("surrogate", predicted)), strict=True):
        row[0].set_ylabel(f"{label}\nmode 9")
        for panel, t in zip(row, (5, 10, 15, 20), strict=True):
            x = ds["x"].isel(run=0).sel(time=t, method="nearest").values
            bins = np.histogram2d(x[:, 1], x[:, 8], bins=80, range=[(-1.5, 1.5), (-8, 8)])[0]
            panel.imshow(np.log10(bins.T + 0.5), origin="lower", extent=(-1.5, 1.5, -8, 8), cmap="magma", aspect="auto")
            panel.set_title(f"t = {t}")
    for panel in panels[1]:
        panel.set_xlabel("mode 2")
    figure.savefig(report.RESULTS / f"problems_{name.replace(', ', '_').replace(' ', '_')}.png", dpi=100)


def picture_trap(name: str, held: xr.Dataset, predicted: xr.Dataset) -> None:
    """Means of all particles along the first axis over time."""
    from hoam_plugin.plots import new_figure

    figure = new_figure(9, 3.4)
    for panel, (label, ds) in zip(
        figure.subplots(1, 2, sharey=True), (("truth", held), ("surrogate", predicted)), strict=True
    ):
        panel.plot(ds["time"], ds["x"].isel(run=0)[..., 0].mean("sample"), color="0.3", linewidth=0.7)
        panel.set_title(label)
        panel.set_xlabel("t")
    figure.axes[0].set_ylabel("mean position, first axis")
    figure.savefig(report.RESULTS / f"problems_{name}.png", dpi=100)


PICTURES = {"lorenz9": picture_lorenz9, "lorenz9, samples alone": picture_lorenz9, "trap": picture_trap}
HEADER = ["problem", "D", "structure", "learned from", "seed", *SCORES, "paper", "training s", "rollout s"]


def write(rows: list[list[str]]) -> None:
    """Put rows into `results/problems.md`, in the place of earlier ones of the same problem and seed."""
    path = report.RESULTS / "problems.md"
    lines = path.read_text().splitlines() if path.exists() else []
    old = [[cell.strip() for cell in line[1:-1].split("|")] for line in lines if line.startswith("|")][2:]
    kept = [row for row in old if not any((row[0], row[4]) == (new[0], new[4]) for new in rows)]
    merged = sorted(kept + rows, key=lambda row: (list(CASES).index(row[0]), row[4]))
    report.write(
        "problems",
        "# Every problem, learned\n\n`python -m benchmarks.problems`: default settings of `fit` where nothing else is "
        "said in the command's source; scored at the held-out parameters from the truth's own initial samples; in "
        "brackets the noise floor, a second run of the simulator. The paper's figures are for its own starts, seeds "
        "and scores, whose scales differ.\n\n"
        f"{report.machine(['hoam-plugin', 'jax'])}\n\n{report.table(HEADER, merged)}",
    )


def main() -> None:
    """Write `results/problems.md` and its pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.only:
        row, held, predicted = measure(name, options.seed)
        write([row])
        if name in PICTURES:
            PICTURES[name](name, held, predicted)


if __name__ == "__main__":
    main()

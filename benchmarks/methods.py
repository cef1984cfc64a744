"""Every way to learn two Vlasov problems, side by side with noise floor and interpolation."""

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
from hoam_plugin.baselines import CFM, NCSM, fit_baseline

N_SAMPLES = 25_000
_DT = 0.1
_NODES = 256
_DENSE = 257


class Problem(NamedTuple):
    """Training runs and held-out runs, which lie between them."""

    simulator: Any
    training: tuple[float, ...]
    held_out: tuple[float, ...]


PROBLEMS = {
    "two_stream": Problem(
        simulators.two_stream(), (1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0), (1.25, 1.45, 1.55, 1.65, 1.85)
    ),
    "bump_on_tail": Problem(
        simulators.bump_on_tail(), (1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0, 2.1), (1.35, 1.55, 1.68, 1.85, 1.95)
    ),
}


class Method(NamedTuple):
    """How to train, on which saved times, and what the method needs of the simulator."""

    needs: str
    times: Any
    fit: Callable[[xr.Dataset, jax.Array], Any]
    rates: bool = False
    # Methods that draw every saved time anew cost as much for each as others for a whole run.
    n_times: int = 129
    n_samples: int = N_SAMPLES


def _gauss(nodes: int = _NODES) -> Any:
    return hoam.quadrature.gauss_legendre(nodes)


def _velocities(ds: xr.Dataset, key: jax.Array) -> Any:
    return hoam.fit(ds, key=key, structure="kinetic", progress=False)


def _kinetic(samples: Any, iterations: int) -> Callable[[xr.Dataset, jax.Array], Any]:
    def fit(ds: xr.Dataset, key: jax.Array) -> Any:
        loss = hoam.ActionMatching(samples=samples)
        training = hoam.Training(iterations=iterations)
        return hoam.fit(ds, key=key, structure="kinetic", loss=loss, training=training, progress=False)

    return fit


def _gradient(loss: Any, **training: Any) -> Callable[[xr.Dataset, jax.Array], Any]:
    return lambda ds, key: hoam.fit(ds, key=key, loss=loss, training=hoam.Training(**training), progress=False)


def _snapshots(method: Any) -> Callable[[xr.Dataset, jax.Array], Any]:
    training = hoam.Training(iterations=8000)
    return lambda ds, key: fit_baseline(ds, method, key=key, training=training, progress=False)


def _action_matching(rule: hoam.quadrature.Rule) -> hoam.ActionMatching:
    """As published, on random times."""
    return hoam.ActionMatching(quadrature=rule, time_derivative="network")


METHODS = {
    "kinetic, velocities": Method("rates", _gauss(64), _velocities, rates=True),
    "kinetic, coupled": Method("marginals, trajectories", _gauss(), _kinetic("coupled", 4000)),
    "kinetic, marginals": Method("marginals", _gauss(), _kinetic("merged", 2500)),
    "HOAM": Method("marginals", _gauss(), _gradient(hoam.ActionMatching())),
    "DICE": Method("marginals", np.linspace(0, 40, 65), _gradient(hoam.DICE(), n_samples=32)),
    "AM, uniform": Method(
        "marginals",
        np.linspace(0, 40, _DENSE),
        _gradient(_action_matching(hoam.quadrature.uniform_random(_NODES))),
    ),
    "AM, low discrepancy": Method(
        "marginals",
        np.linspace(0, 40, _DENSE),
        _gradient(_action_matching(hoam.quadrature.low_discrepancy(_NODES))),
    ),
    "CFM": Method("marginals", np.linspace(0, 40, 65), _snapshots(CFM()), n_times=17, n_samples=5000),
    "NCSM": Method("marginals", np.linspace(0, 40, 65), _snapshots(NCSM()), n_times=17, n_samples=5000),
}


def simulated(problem: Problem, mu: Any, times: Any, seed: int, **options: Any) -> xr.Dataset:
    """Runs of the true simulator."""
    settings: dict[str, Any] = {"n_samples": N_SAMPLES, "dt": _DT, "progress": False}
    return hoam.simulate(problem.simulator, {"mu": list(mu)}, times, key=jax.random.key(seed), **settings | options)


class Truth(NamedTuple):
    """What a method is compared with."""

    held: xr.Dataset
    floor: xr.Dataset
    curves: xr.Dataset


def truth_of(problem: Problem, n_times: int = 129, n_samples: int = N_SAMPLES) -> Truth:
    """Held-out runs, a second scramble of them, and the training runs at the same times."""
    times = np.linspace(0.0, 40.0, n_times)
    return Truth(
        simulated(problem, problem.held_out, times, 1, n_samples=n_samples),
        simulated(problem, problem.held_out, times, 2, n_samples=n_samples),
        simulated(problem, problem.training, times, 0),
    )


def joined(scores: xr.Dataset, name: str, reference: str) -> str:
    """The values of all runs in one cell."""
    values = scores[name].sel(reference=reference).values
    return "-" if np.isnan(values).all() else " / ".join(f"{value:.2g}" for value in values)


def scored(scores: xr.Dataset, reference: str) -> list[str]:
    """The three scores' columns."""
    return [joined(scores, name, reference) for name in ("electric_energy_error", "histogram_l1", "sliced_wasserstein")]


def row_of(name: str, method: Method, problem: Problem, truth: Truth, seed: int) -> list[str]:
    """Train and score once."""
    training = simulated(problem, problem.training, method.times, 0, rates=method.rates)
    start = time.perf_counter()
    try:
        model = method.fit(training, jax.random.key(seed))
    except hoam.TrainingDivergedError as error:
        return [
            name,
            method.needs,
            str(seed),
            str(error).split(":")[0],
            "",
            "",
            f"{time.perf_counter() - start:.0f}",
            "",
        ]
    trained = time.perf_counter() - start
    held = truth.held
    options: dict[str, Any] = {"key": jax.random.key(100 + seed), "n_samples": held.sizes["sample"], "initial": held}
    for _ in range(2 if method.n_samples == N_SAMPLES else 1):
        start = time.perf_counter()
        predicted = hoam.simulate(model, {"mu": problem.held_out}, held["time"].values, progress=False, **options)
        rolled = time.perf_counter() - start
    scores = hoam.compare(held, predicted, training=truth.curves, floor=truth.floor)
    return [name, method.needs, str(seed), *scored(scores, "surrogate"), f"{trained:.0f}", f"{rolled:.2f}"]


def references(truth: Truth) -> list[list[str]]:
    """Rows of the noise floor and of interpolation between training runs."""
    scores = hoam.compare(truth.held, truth.held, training=truth.curves, floor=truth.floor)
    return [
        [f"*{name.replace('_', ' ')}*", "", "", *scored(scores, name), "", ""]
        for name in ("noise_floor", "interpolation", "frozen")
    ]


def write(problem_name: str, rows: list[list[str]]) -> None:
    """Put rows into `results/methods_<problem>.md`, in the place of earlier ones of the same method and seed."""
    path = report.RESULTS / f"methods_{problem_name}.md"
    lines = path.read_text().splitlines() if path.exists() else []
    old = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")][2:]
    padded = [(row + [""] * 8)[:8] for row in old]
    kept = [row for row in padded if not any(row[0] == new[0] and row[2].strip() == new[2] for new in rows)]
    order = [*METHODS, *(row[0] for row in kept + rows)]
    merged = sorted(kept + rows, key=lambda row: (order.index(row[0]), row[2]))
    problem = PROBLEMS[problem_name]
    header = ["method", "needs", "seed", "e.e.", "L1", "SW", "training s", "rollout s"]
    report.write(
        f"methods_{problem_name}",
        f"# Methods on `{problem_name}`\n\n`python -m benchmarks.methods {problem_name}`: {N_SAMPLES} samples, trained "
        f"on mu = {list(problem.training)}, scored at mu = {' / '.join(map(str, problem.held_out))} (one value each) "
        "from the truth's own initial samples at 128 times; lower is better. CFM and NCSM draw each time anew: 5000 "
        "samples at 16 times, whose floors are higher. The noise floor is a second scramble of the truth. Training and "
        "rollout (all five runs, second call) include everything but the simulation. Rows are of several days, "
        "machines and releases of jax, and some were measured beside other jobs: compare their times within a factor "
        "of three.\n\n"
        f"{report.machine(['hoam-plugin', 'jax'])}\n\n"
        f"{report.table(header, merged)}",
    )


def main() -> None:
    """Write `results/methods_<problem>.md`, row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem", choices=sorted(PROBLEMS))
    parser.add_argument("--only", nargs="*", default=None, help="methods")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    problem, truth = PROBLEMS[options.problem], truth_of(PROBLEMS[options.problem])
    write(options.problem, references(truth))
    for name, method in METHODS.items():
        if options.only is not None and name not in options.only:
            continue
        own = truth if method.n_times == 129 else truth_of(problem, method.n_times, method.n_samples)
        for seed in options.seeds:
            write(options.problem, [row_of(name, method, problem, own, seed)])


if __name__ == "__main__":
    main()

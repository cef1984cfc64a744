"""Rules in time: scatter of the loss at fixed weights, errors after short trainings (arXiv:2410.12000, figure 2)."""

from __future__ import annotations

import argparse
import warnings
from typing import Any

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin import quadrature, simulators
from hoam_plugin.losses import ActionMatching, loss_value
from hoam_plugin.training.data import Runs
from hoam_plugin.training.drawing import draw_batch
from hoam_plugin.training.time_weights import weights_of_rule
from hoam_plugin.training.windows import TrainingSamples

N_SAMPLES = 5000
TRAINING_MU = [1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9]
HELD_OUT_MU = [1.25, 1.85]
SCATTER_MU = 1.55
SIZES = (16, 64, 256)
_PER_NODE = 256
_DRAWS = 100
_DENSE = 1025
_FINAL_NODES = 64
_EPSILON = 0.05

POTENTIALS = {"CoLoRA": hoam.CoLoRA(), "FiLM": hoam.FiLM(), "MLP": hoam.MLP()}
# Simpson's rule needs an odd number of nodes.
RULES: dict[str, Any] = {
    "Gauss": quadrature.gauss_legendre,
    "Simpson": lambda n: quadrature.simpson(n + 1),
    "trapezoid": quadrature.trapezoid,
    "low discrepancy": quadrature.low_discrepancy,
    "uniform": quadrature.uniform_random,
}


def runs(mu: list[float], times: Any, seed: int) -> xr.Dataset:
    """Runs of the true simulator."""
    key = jax.random.key(seed)
    stepper = simulators.two_stream()
    return hoam.simulate(stepper, {"mu": mu}, times, key=key, n_samples=N_SAMPLES, dt=0.1, progress=False)


def times_of(rule: quadrature.Rule) -> Any:
    """Saved times of an ensemble for a rule: its nodes, or so many that random times can be picked among them."""
    return np.linspace(0, 40, _DENSE) if rule.random else rule


def trained(ds: xr.Dataset, potential: Any, rule: quadrature.Rule, iterations: int, seed: int) -> hoam.Surrogate:
    """A short training, or the last good state of one that ran away."""
    loss = ActionMatching(quadrature=rule, epsilon=_EPSILON)
    training = hoam.Training(iterations=iterations, n_samples=max(8, 2048 // rule.n))
    return hoam.fit(ds, key=jax.random.key(seed), potential=potential, loss=loss, training=training, progress=False)


def loss_draws(model: hoam.Surrogate, ds: xr.Dataset, rule: quadrature.Rule) -> np.ndarray:
    """The loss of fixed weights for many independent minibatches of one run."""
    loss = ActionMatching(quadrature=rule, epsilon=_EPSILON, samples="independent")
    options = hoam.Training(n_samples=_PER_NODE)
    runs_of_one = Runs(ds, model.learned.dynamics, loss, weights_of_rule(rule, ds), None)
    data = TrainingSamples(runs_of_one, options, jax.random.key(7)).at(0)
    embedding, _ = model.learned.network()

    @jax.jit
    def value(key: Any, data: Any) -> Any:
        return loss_value(loss, model.learned.potential, embedding, model.learned.weights, draw_batch(loss, data, key))

    return np.asarray([value(key, data) for key in jax.random.split(jax.random.key(8), _DRAWS)], np.float64)


def scatter(iterations: int) -> tuple[list[list[str]], dict[str, list[float]]]:
    """Rows of mean and standard deviation of the loss; the deviations of the default potential for the picture."""
    ensembles: dict[Any, xr.Dataset] = {}
    rows, drawn = [], {}
    training = runs(TRAINING_MU, quadrature.gauss_legendre(_FINAL_NODES), 0)
    for name, potential in POTENTIALS.items():
        model = trained(training, potential, quadrature.gauss_legendre(_FINAL_NODES), iterations, 0)
        values = {}
        for label, make in RULES.items():
            for size in SIZES:
                rule = make(size)
                key = "dense" if rule.random else rule
                if key not in ensembles:
                    ensembles[key] = runs([SCATTER_MU], times_of(rule), 1)
                values[label, size] = loss_draws(model, ensembles[key], rule)
        reference = values["Gauss", SIZES[-1]].mean()
        for label in RULES:
            deviations = [float(values[label, size].std(ddof=1)) for size in SIZES]
            offsets = [float(values[label, size].mean() - reference) for size in SIZES]
            rows.append([name, label, *(f"{d:.2g} ({o:+.1g})" for d, o in zip(deviations, offsets, strict=True))])
            if name == "CoLoRA":
                drawn[label] = deviations
        rows[-1].append(f"{reference:.3g}")
        for row in rows[-len(RULES) : -1]:
            row.append(f"{reference:.3g}")
    return rows, drawn


def final_errors(iterations: int, seeds: int) -> tuple[list[list[str]], dict[str, list[list[float]]]]:
    """Rows of the scores after short trainings, and the sliced Wasserstein distances of all for the picture."""
    times = np.linspace(0, 40, 65)
    held, floor = runs(HELD_OUT_MU, times, 1), runs(HELD_OUT_MU, times, 2)
    rows, drawn = [], {}
    for label, make in RULES.items():
        rule = make(_FINAL_NODES)
        ds = runs(TRAINING_MU, times_of(rule), 0)
        drawn[label] = []
        for name, potential in POTENTIALS.items():
            predictions, failures = [], 0
            for seed in range(seeds):
                try:
                    model = trained(ds, potential, rule, iterations, seed)
                except hoam.TrainingDivergedError:
                    failures += 1
                    continue
                predictions.append(
                    hoam.simulate(
                        model,
                        {"mu": HELD_OUT_MU},
                        times,
                        key=jax.random.key(100 + seed),
                        n_samples=N_SAMPLES,
                        initial=held,
                        progress=False,
                    )
                )
            cells = ["-"] * 3
            if predictions:
                late = hoam.compare(held, predictions, floor=floor, from_time=10.0)
                names = ("histogram_l1", "sliced_wasserstein", "electric_energy_error")
                cells = [_cell(late, score) for score in names]
                each = [hoam.compare(held, ds, floor=floor, from_time=10.0) for ds in predictions]
                drawn[label].append([float(s["sliced_wasserstein"].sel(reference="surrogate").mean()) for s in each])
            rows.append([name, label, *cells, str(failures)])
            print(rows[-1], flush=True)
    base = hoam.compare(held, held, floor=floor, from_time=10.0)
    names = ("histogram_l1", "sliced_wasserstein", "electric_energy_error")
    values = [float(base[score].sel(reference="noise_floor").mean()) for score in names]
    rows.append(["*noise floor*", "", *(f"{v:.2g}" for v in values), ""])
    return rows, drawn


def _cell(scores: xr.Dataset, name: str) -> str:
    """Mean over the held-out runs, with the spread over seeds."""
    value, spread = (float(scores[n].sel(reference="surrogate").mean()) for n in (name, f"{name}_spread"))
    return f"{value:.2g} ± {spread:.1g}"


def _draw(spreads: dict[str, list[float]], finals: dict[str, list[list[float]]]) -> None:
    from hoam_plugin.plots import new_figure

    figure = new_figure(9, 3.6)
    left, right = figure.subplots(1, 2)
    for i, (label, values) in enumerate(spreads.items()):
        left.loglog(SIZES, values, "-o", color=f"C{i}", label=label)
    left.set_xticks(SIZES, [str(n) for n in SIZES], minor=False)
    left.minorticks_off()
    left.set_xlabel("nodes")
    left.set_ylabel("standard deviation of the loss")
    left.legend()
    for i, (label, groups) in enumerate(finals.items()):
        for j, group in enumerate(groups):
            right.semilogy(np.full(len(group), j + (i - 2) * 0.12), group, "o", ms=4, color=f"C{i}", label=label)
    right.set_xticks(range(len(POTENTIALS)), list(POTENTIALS))
    right.set_ylabel("sliced Wasserstein distance")
    figure.savefig(report.RESULTS / "quadrature_rules.png", dpi=110)


def main() -> None:
    """Write `results/quadrature_rules.md` and its picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    # Every ensemble has velocities, and the guard reports each step that it halves.
    warnings.simplefilter("ignore")
    spread_rows, spreads = scatter(options.iterations)
    header = ["potential", "rule", *(f"{n} nodes" for n in SIZES), "loss"]
    print(report.table(header, spread_rows), flush=True)
    rows, finals = final_errors(options.iterations, options.seeds)
    _draw(spreads, finals)
    report.write(
        "quadrature_rules",
        f"# Quadrature rules\n\n`python -m benchmarks.quadrature_rules --iterations {options.iterations}`: "
        f"`two_stream`, {N_SAMPLES} samples per run, gradient field, epsilon = {_EPSILON}.\n\n"
        "![rules](quadrature_rules.png)\n\n"
        "## Scatter of the loss at fixed weights\n\nStandard deviation over "
        f"{_DRAWS} independent minibatches of {_PER_NODE} samples per node of the run with mu = {SCATTER_MU}, and in "
        f"brackets the offset of their mean from that of {SIZES[-1]} Gauss nodes; weights after "
        f"{options.iterations} iterations on {_FINAL_NODES} Gauss nodes. Simpson has one node more. Random times are "
        f"picked among {_DENSE} saved ones.\n\n{report.table(header, spread_rows)}\n\n"
        f"## Errors after short trainings\n\n{options.iterations} iterations on {_FINAL_NODES} nodes with 32 samples "
        f"each, mean over mu = {HELD_OUT_MU} and standard deviation over {options.seeds} seeds (energy from t = 10 "
        "on); diverged: trainings that the guard ended.\n\n"
        f"{report.table(['potential', 'rule', 'L1', 'SW', 'e.e.', 'diverged'], rows)}\n\n"
        f"{report.machine(['hoam-plugin', 'jax'])}",
    )


if __name__ == "__main__":
    main()

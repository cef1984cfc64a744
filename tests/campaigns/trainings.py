"""Trainings driven into run-aways: what is kept may not be worse than what there was before.

    python tests/campaigns/trainings.py --problems two_stream trap --seeds 5 --rates 1 3 10 --rules 8 64 256

trains on every problem, rule, epsilon, seed and learning rate (as multiples of the default) with the form of action
matching that has no lower bound on finitely many nodes ("network"), or with the default one ("data"). Every model on
the way is scored by the latter on a grid of other times, with ten times as many samples, unseen in training: 0 is
a model that moves nothing, less is better. Prints one line of JSON for each training. With `--judge nodes` models are
judged at the saved times alone.

Learning rates are factors of the steps, so that seeds and rates share a compilation.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import itertools
import json
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.training import iterations
from hoam_plugin.training.choices import resolve
from hoam_plugin.training.iterations import BlockRecord
from hoam_plugin.training.judge import SUBSETS, Judge, samples_and_judge, standard_error
from hoam_plugin.training.run import TrainingRun
from hoam_plugin.training.windows import TrainingSamples

N_SAMPLES = 768
# Far more than a judge has, so that scores tell what it does not; most are at both ends, whose means matter most.
N_SCORED, SCORED_AT_A_TIME = 8192, 64
SCORED_TIMES = 97
FORMS = ("network", "data")


class Problem(NamedTuple):
    """A small simulator, and the parameters of its runs."""

    make: Callable[[], Any]
    parameters: dict[str, list[float]]


PROBLEMS = {
    "two_stream": Problem(lambda: simulators.two_stream(n_cells=64, dt=0.1), {"mu": [1.2, 1.8]}),
    "bump_on_tail": Problem(lambda: simulators.bump_on_tail(n_cells=64, dt=0.1), {"mu": [1.3, 1.9]}),
    "vlasov_poisson_pic": Problem(lambda: simulators.VlasovPoissonPIC(n_cells=32), {"mu": [0.9, 1.1]}),
    "vlasov_poisson_grid": Problem(lambda: simulators.VlasovPoissonGrid(n_x=32, n_v=64), {"mu": [0.9, 1.1]}),
    "vlasov_poisson_3d": Problem(lambda: simulators.VlasovPoissonPIC3D(n_cells=(8, 2, 2)), {"mu": [0.9, 1.1]}),
    "landau_damping": Problem(lambda: simulators.landau_damping(n_cells=32), {"mu": [0.9, 1.1]}),
    "strong_landau": Problem(lambda: simulators.strong_landau(n_cells=(8, 2, 2)), {"mu": [0.5, 1.5]}),
    "oscillator": Problem(simulators.oscillator, {}),
    "duffing": Problem(simulators.duffing, {"mu": [0.1, 0.3]}),
    "lorenz9": Problem(simulators.lorenz9, {"r": [13.5, 14.2]}),
    "trap": Problem(lambda: simulators.trap(n_particles=3), {"mu": [0.3, 0.9]}),
    "yukawa_quench": Problem(
        lambda: simulators.yukawa_quench(n_particles=32), {"kT": [0.1, 0.2], "screening_length": [0.5, 0.5]}
    ),
    "lennard_jones_quench": Problem(
        lambda: simulators.lennard_jones_quench(n_particles=16, cutoff=2.0), {"kT": [0.3, 0.6]}
    ),
}


def truth_of(problem: Problem, rules: list[int]) -> xr.Dataset:
    """All runs at the nodes of all rules and at the times of the score."""
    stepper = problem.make()
    first, last = stepper.horizon
    places = [_nodes(n)[0] for n in rules] + [np.linspace(0, 1, SCORED_TIMES)]
    times = first + (last - first) * np.unique(np.concatenate(places))
    return hoam.simulate(
        stepper, problem.parameters, times, key=jax.random.key(0), n_samples=N_SAMPLES + N_SCORED, progress=False
    )


def trained_on(truth: xr.Dataset, n: int) -> xr.Dataset:
    """The saved times and samples of a training on a rule."""
    nodes, weights = _nodes(n)
    ds = _at(truth, np.r_[0.0, nodes, 1.0]).isel(sample=_rows(truth)[:N_SAMPLES])
    ds["quadrature_weight"] = ("time", np.r_[0.0, weights, 0.0])
    return ds


def scored_on(truth: xr.Dataset) -> xr.Dataset:
    """Other times, other samples."""
    return _at(truth, np.linspace(0, 1, SCORED_TIMES)).isel(sample=_rows(truth)[N_SAMPLES:])


def _rows(truth: xr.Dataset) -> np.ndarray:
    return np.random.default_rng(0).permutation(truth.sizes["sample"])


def _at(truth: xr.Dataset, fractions: np.ndarray) -> xr.Dataset:
    times = truth["time"].values
    wanted = times[0] + (times[-1] - times[0]) * fractions
    found = truth.isel(time=np.abs(times[:, None] - wanted[None, :]).argmin(axis=0))
    return found.drop_vars(["quadrature_weight", "time_clock"], errors="ignore")


def _nodes(n: int) -> tuple[np.ndarray, np.ndarray]:
    return hoam.quadrature.gauss_legendre(n).nodes_and_weights()


class Case:
    """Trainings that share a compilation: one problem, rule, form and epsilon."""

    def __init__(self, truth: xr.Dataset, n_nodes: int, form: str, epsilon: float, given: argparse.Namespace) -> None:
        training = hoam.Training(
            iterations=given.iterations,
            n_samples=max(4, 512 // n_nodes),
            n_end_samples=128,
            warmup=given.iterations // 50,
            block=max(1, given.iterations // 20),
            average=0.98,
            feedback=False,
        )
        choose = functools.partial(
            resolve,
            trained_on(truth, n_nodes),
            structure=None,
            potential=hoam.CoLoRA(width=16, depth=3, rank=3, hyper_width=16),
            training=training,
            replaces=None,
            clock="physical",
            base=None,
        )
        self._at_nodes = given.judge == "nodes"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loss = hoam.ActionMatching(epsilon=epsilon, time_derivative=form)  # type: ignore[arg-type]
            self._choices = choose(loss=loss, validate=None)
            # The same for all that is trained on a problem.
            scoring = choose(loss=dataclasses.replace(loss, time_derivative="data"), validate=scored_on(truth))
        # Subsets of their own at every time, and many samples at both ends, scatter less than trajectories.
        independent = dataclasses.replace(scoring.judged.loss, samples="independent")  # type: ignore[call-arg]
        scoring = dataclasses.replace(scoring, judged=dataclasses.replace(scoring.judged, loss=independent))
        trained, _ = samples_and_judge(self._choices, jax.random.key(0))
        options = dataclasses.replace(training, n_samples=SCORED_AT_A_TIME, n_end_samples=N_SCORED // SUBSETS)
        scored = TrainingSamples(scoring.judged, options, jax.random.key(7), n_subsets=SUBSETS)
        self._judge = Judge(scoring.judging, scored.with_reference(trained.at(0).reference), 1, "other samples")

    def score(self, weights: Any) -> tuple[float, float]:
        """Of a model, on what no training has seen, and its standard error."""
        values = self._judge.values(weights)
        return float(np.mean(values)), standard_error(values)

    def train(self, seed: int, rate: float) -> dict[str, object]:
        """One training, and how what it returns compares with what it had on its way."""
        key, choices = jax.random.key(seed), self._choices
        samples, judge = samples_and_judge(choices, key)
        if self._at_nodes:
            judge = dataclasses.replace(judge, saved=None)
        scores = [0.0]

        def blocks(setup: Any, state: Any, *rest: Any) -> Iterator[BlockRecord]:
            faster = state._replace(step_scale=np.float32(rate) * state.step_scale)
            for record in iterations.blocks(setup, faster, *rest):
                scores.append(self.score(record.state.average)[0])
                yield record

        run = TrainingRun(
            choices.setup, samples, key, choices.surrogates(key), None, judge, lambda model: model, None, blocks
        )
        began = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model = run.train(progress=False)
        except hoam.TrainingDivergedError as error:
            found: dict[str, object] = {"raised": error.reason}
        else:
            attributes = model.history.attrs
            final, scatter = self.score(model.learned.weights)
            finite = all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model.learned.weights))
            found = {
                "ended": attributes["converged"],
                "halvings": int(attributes.get("learning_rate_halvings", 0)),
                "iteration": int(attributes["best_iteration"]),
                "finite": bool(finite and np.isfinite(final)),
                "final": final,
                "standard_error": scatter,
            }
        lowest, last = float(np.nanmin(scores)), scores[-1]
        return {**found, "lowest": lowest, "last": last, "seconds": round(time.perf_counter() - began, 2)}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=[*PROBLEMS, "all"], default=["all"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rates", type=float, nargs="+", default=[1.0, 3.0, 10.0])
    parser.add_argument("--rules", type=int, nargs="+", default=[8, 32, 256])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[0.0, 1.0])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=["network"])
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--judge", choices=["nodes", "both"], default="both")
    given = parser.parse_args()
    for name in PROBLEMS if given.problems == ["all"] else given.problems:
        truth = truth_of(PROBLEMS[name], given.rules)
        for rule, form, epsilon in itertools.product(given.rules, given.forms, given.epsilons):
            where = {"problem": name, "nodes": rule, "form": form, "epsilon": epsilon, "judge": given.judge}
            case = Case(truth, rule, form, epsilon, given)
            for rate, seed in itertools.product(given.rates, range(given.seeds)):
                print(json.dumps({**where, "rate": rate, "seed": seed, **case.train(seed, rate)}), flush=True)


if __name__ == "__main__":
    main()

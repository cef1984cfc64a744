"""What a surrogate saves against its own simulator at equal error. Run by `python -m benchmarks.equal_error`."""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import learning, report
from benchmarks.equal_error_cases import EQUAL, Case
from benchmarks.equal_error_runs import seconds_in_turn, simulator_run, surrogate_run
from benchmarks.resumable import Row, Rows

UNIT = ("problem", "samples")
COLUMNS = {
    "problem": "problem",
    "samples": "samples",
    "learned": "learned",
    "floor": "floor",
    "surrogate": "surrogate_error",
    "simulator": "simulator_error",
    "its step": "simulator_dt",
    "its grid": "resolution",
    "default": "default_dt",
    "surrogate's": "surrogate_dt",
    "simulator s": "simulator_s",
    "at its default": "default_s",
    "surrogate s": "surrogate_s",
    "ratio": "ratio",
    "to default": "ratio_to_default",
    "saved": "saved",
    "many: simulator s": "simulator_many_s",
    "many: surrogate s": "surrogate_many_s",
    "many: ratio": "ratio_many",
    "training s": "training_s",
    "its runs s": "runs_s",
    "earned back after": "runs_until_paid",
    "at default": "runs_until_paid_default",
}
# By how much the surrogate's larger steps may raise its error.
_AS_GOOD = 1.25
_SCORES = (
    "electric_energy_error",
    "sliced_wasserstein",
    "histogram_l1",
    "mean_error",
    "covariance_error",
    "pair_distribution_error",
)


# What was measured beside the rows, on the same machine.
_WHY = """## What is behind the figures

- `strong_landau`: what the learned force does to a sample is a function of x1 and v1 alone, so that a million samples
  are read from one table of the flow of a whole run. Of 25 000 samples 64 steps took 11 ms: 2.9 for the network that
  says what the force is, 0.8 for its tables, 5 for the samples, the rest for the call; 20 times as fast as the
  simulator (19 ms) would be less than a third of what the network alone takes. Before forces that see one of three
  positions were read from tables, 125 steps took 2.16 s, since then 0.018 s; a million samples take 0.84 s step by step
  and 0.031 s by the flow. Who knows that the motion is one-dimensional can simulate it so, too
  (`strong_landau(dimensions=1)`): a step of 25 000 particles took 0.37 of the one in three dimensions.
- `yukawa_quench`: longer steps throw particles that come close out of the liquid. Both held-out runs count: the
  distance is 0.097 at a step of 0.2 and 2.2 at 0.25; at kT = 0.15 alone, without such a pair, another run stayed at its
  floor up to 0.4, with which the ratio would be 0.42 of the table's. A step sums the forces of 511 neighbours on each
  particle, where the surrogate moves it by a mean force. 32 768 samples are 64 systems of 512. One system of 32 768 has
  64 times as many pairs, but another wave, which was not learned.
- `lennard_jones_quench`: both sum forces of pairs, and the simulator's, of polynomials, are as cheap as forces can be:
  a step of 100 replicas takes 1.1 ms, one of the surrogate, by splines of the distance, 8.7. Its steps are shorter as
  well: at 0.02 particles that meet in the melting lattice were thrown out of one, up to 0.031 out of none of the
  simulator's. What is dear to simulate are forces that are not of pairs (results/many_body.md).
- `lorenz9`: the simulator moves a sample through all of the time in 10 to 13 microseconds (steps of 0.21 to 0.16, two
  evaluations of nine polynomials each); one evaluation of the surrogate's drift takes 0.93 (0.68 without its
  correction). Three times as fast as the simulator would be four evaluations for a way of 15 standard deviations. Of
  5000 samples, r = 13.65, four times (floor 0.022): 250 steps of Heun's scheme 447 microseconds, distance 0.045; 125
  steps 231, 0.38; 64 steps 130, 1.2; 250 Euler steps 305, 0.083; without the correction 346, 0.044. So this surrogate
  is for what the simulator cannot do, such as learning from measured snapshots; it saves no time.
- `oscillator`: the simulator's steps are exact, of any length. `duffing`: its force is a cubic polynomial, and both
  draw noise in every step; the surrogate's is stratified, which takes two thirds of its time (0.35 s, 0.10 s with
  independent noise). `trap`: one evaluation of the drift that follows mean and covariance of 100 coordinates took 27 ms
  for 5000 samples, 25 of which put numbers into places; without that it takes 2.6 ms, there are two in a step, and a
  step of the simulator takes 10 ms: the ratio was 0.15 and is 1.3. One-dimensional plasmas: a step of the simulator
  takes 0.09 ms for 25 000 particles, as long as tables of the force and reading them."""


def heading() -> str:
    """The lines above the table."""
    return (
        "# Against its own simulator, at equal error\n\n"
        "`python -m benchmarks.equal_error`: what a user saves. At the held-out parameters, from the same starts, "
        "surrogate and simulator are scored against the simulator at a fine step: the electric energy's relative error "
        "for plasmas (of `strong_landau` without the last time, at which the energy is all but zero), else the sliced "
        "Wasserstein distance (mean over held-out runs). `simulator` is the error at the "
        "largest of its steps (and coarser grids, where named) whose error is no larger than the surrogate's; `floor` "
        "a second run of the truth, of stochastic problems from the same start. The surrogate takes those of its steps "
        f"with which it saves most, at an error of at most {_AS_GOOD - 1:.0%} above that at its default.\n\n"
        "Seconds: one warm, compiled run of the first held-out parameters from start to end on one core, both in one "
        "process and in turn, medians; of the processor, since the machine had other jobs. Between two saved times, "
        "and (`many`) at all `saved` times. Training (its seconds are those of the clock, with other "
        "jobs on the machine) and its simulated runs, at the default step, are earned back after so many runs between "
        "two saved times, against the simulator at equal error and at its default step.\n\n"
        "All errors of all steps are in the JSON lines beside this table. They are of the problem's own number of "
        "samples. `oscillator`, `lorenz9` and `trap` are surrogates of `samples_alone`, whose runs' seconds are the "
        "number of their steps times those of a step.\n\n"
        f"{report.machine(['hoam-plugin', 'jax'])}\n\n{_WHY}\n\n## All problems"
    )


class Errors(NamedTuple):
    """Who is how far off.

    Attributes:
        floor: a second run of the truth.
        surrogate: by steps per interval; 0 for its default ones.
        simulator: by steps per interval and resolution.
        others: all scores of the surrogate at its default steps.
    """

    floor: float
    surrogate: dict[int, float]
    simulator: dict[tuple[int, str], float]
    others: Row


class Study:
    """Computes rows.

    Args:
        models: folder in which surrogates are kept, and looked for.
    """

    def __init__(self, models: Path) -> None:
        self._models = models
        self.errors = functools.lru_cache(maxsize=1)(self._errors)
        self.trained = functools.lru_cache(maxsize=1)(self._trained)

    def row(self, problem: str, samples: int) -> Row:
        """What `UNIT` does not say."""
        case = EQUAL[problem]
        model, cost = self.trained(problem)
        errors = self.errors(problem)
        own = _most_saving(errors, case.gap / model.dt)
        error = errors.surrogate[own]
        n_steps, resolution = _cheapest(errors.simulator, error)
        default = case.problem.stepper().dt
        row: Row = {
            "learned": case.learned,
            "score": case.score,
            "floor": errors.floor,
            "surrogate_error": error,
            "simulator_error": errors.simulator[n_steps, resolution],
            "simulator_dt": case.gap * case.intervals if case.exact else case.gap / n_steps,
            "resolution": resolution,
            "default_dt": default,
            "surrogate_dt": case.gap / own if own else model.dt,
            # Those with which it blows up have none.
            "surrogate_errors": {str(k): v for k, v in errors.surrogate.items() if math.isfinite(v)},
            "simulator_errors": {
                f"{k} {name}".strip(): v for (k, name), v in errors.simulator.items() if math.isfinite(v)
            },
            "scores": errors.others,
            "saved": case.intervals,
            **cost,
        }
        chosen = model.with_options(dt=case.gap / own) if own else model
        row |= _timed(case, chosen, samples, math.inf if case.exact else case.gap / n_steps, resolution)
        paid = row["training_s"] + row["runs_s"]
        for entry, name in (("runs_until_paid", "simulator_s"), ("runs_until_paid_default", "default_s")):
            gain = row[name] - row["surrogate_s"]
            row[entry] = math.ceil(paid / gain) if gain > 0 else "never"
        return row

    def _trained(self, problem: str) -> tuple[hoam.Surrogate, Row]:
        """The surrogate, and the seconds of its training and of the runs that it was trained on."""
        path, cost_path = (self._models / f"{problem}{ending}" for ending in (".hoam", ".json"))
        if not cost_path.exists():
            self._models.mkdir(parents=True, exist_ok=True)
            case, begin = EQUAL[problem], time.perf_counter()
            ds = case.training_runs()
            simulated, begin = time.perf_counter() - begin, time.perf_counter()
            model = case.fit(ds, jax.random.key(0))
            fitted = time.perf_counter() - begin
            model.save(path, overwrite=True)
            cost_path.write_text(json.dumps({"training_s": fitted, "runs_s": simulated}))
        return hoam.load(path), json.loads(cost_path.read_text())

    def _errors(self, problem: str) -> Errors:
        case = EQUAL[problem]
        truth, floor = (_truth(case, seed) for seed in (1, 2))
        if case.score != "electric_energy_error":
            # Other noise from the same starts, as everyone else has it.
            floor = _simulated(case, case.problem.stepper(), truth, case.truth, seed=2)
        model, _ = self.trained(problem)
        surrogate: dict[int, float] = {}
        others: Row = {}
        for n_steps in (0, *case.surrogate):
            own = model.with_options(dt=case.gap / n_steps) if n_steps else model
            scores = _scores(case, truth, _simulated(case, own, truth, 0, seed=3))
            surrogate[n_steps] = learning.mean_of(scores, case.score)
            others = others or scores
            print(f"  surrogate, {n_steps} steps: {surrogate[n_steps]:.4g}", flush=True)
        simulator: dict[tuple[int, str], float] = {}
        for name, options in (("", {}), *case.coarser):
            for n_steps in case.simulator:
                found = _simulated(case, case.problem.stepper(**options), truth, n_steps, seed=4)
                simulator[n_steps, name] = learning.mean_of(_scores(case, truth, found), case.score)
                print(f"  simulator, {n_steps} steps {name}: {simulator[n_steps, name]:.4g}", flush=True)
        return Errors(learning.mean_of(_scores(case, truth, floor), case.score), surrogate, simulator, others)


def _truth(case: Case, seed: int) -> xr.Dataset:
    return _held_out(case, case.problem.stepper(), case.truth, seed)


def _held_out(case: Case, stepper: Any, n_steps: int, seed: int, **options: Any) -> xr.Dataset:
    times = np.linspace(*case.problem.stepper().horizon, case.intervals + 1)
    return hoam.simulate(
        stepper,
        case.problem.held_out,
        times,
        key=jax.random.key(seed),
        n_samples=case.problem.n_samples,
        dt=case.gap / n_steps if n_steps else None,
        progress=False,
        **options,
    )


def _simulated(case: Case, stepper: Any, truth: xr.Dataset, n_steps: int, seed: int) -> xr.Dataset | None:
    """From the truth's own starts; None where it blows up, or refuses such a step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return _held_out(case, stepper, n_steps, seed, initial=truth[[v.name for v in stepper.variables]])
        except (FloatingPointError, ValueError) as error:
            print(f"  {error}", flush=True)
            return None


def _scores(case: Case, truth: xr.Dataset, other: xr.Dataset | None) -> Row:
    if other is None:
        return {}
    shared = [name for name in truth.data_vars if name in other.data_vars]
    scored = slice(None if case.scored is None else case.scored + 1)
    one, two = (ds[shared].isel(time=scored) for ds in (truth, other))
    found = learning.scores_of(hoam.compare(one, two), "surrogate")
    return {name: found[name] for name in _SCORES if name in found}


def _most_saving(errors: Errors, default: float) -> int:
    """The surrogate's steps per interval, 0 for its default ones, of which the simulator needs the most times as many.

    Args:
        errors: of both.
        default: how many the default ones are.
    """

    def saved(n_steps: int) -> tuple[float, float]:
        needed, _ = _cheapest(errors.simulator, errors.surrogate[n_steps])
        return needed / (n_steps or default), -errors.surrogate[n_steps]

    return max((n for n, error in errors.surrogate.items() if error <= _AS_GOOD * errors.surrogate[0]), key=saved)


def _cheapest(errors: dict[tuple[int, str], float], error: float) -> tuple[int, str]:
    """The fewest steps, and a resolution, whose error is no larger than some error; else the most."""
    good = [(n, -own, name) for (n, name), own in errors.items() if own <= error]
    if not good:
        return min(errors, key=lambda key: errors[key])
    n_steps, _, name = min(good)
    return n_steps, name


def _timed(case: Case, model: hoam.Surrogate, samples: int, dt: float, resolution: str) -> Row:
    """Seconds of runs of so many samples."""
    fine = case.problem.stepper()
    coarse = case.problem.stepper(**dict(case.coarser).get(resolution, {}))
    row = {name: values[0] for name, values in case.problem.held_out.items()}
    ends = np.asarray(fine.horizon)
    many = np.linspace(*fine.horizon, case.intervals + 1)
    start, coarse_start = (of.init(jax.random.key(1), samples, row) for of in (fine, coarse))
    runs = [
        simulator_run(coarse, coarse_start, ends, row, dt),
        surrogate_run(model, start, ends, row),
        simulator_run(fine, start, ends, row, fine.dt),
    ]
    simulator, surrogate, default = seconds_in_turn(runs)
    found: Row = {
        "simulator_s": simulator,
        "surrogate_s": surrogate,
        "default_s": default,
        "ratio": simulator / surrogate,
        "ratio_to_default": default / surrogate,
    }
    if samples <= case.problem.n_samples:
        runs = [simulator_run(coarse, coarse_start, many, row, dt), surrogate_run(model, start, many, row)]
        simulator, surrogate = seconds_in_turn(runs)
        found |= {"simulator_many_s": simulator, "surrogate_many_s": surrogate, "ratio_many": simulator / surrogate}
    return found


def units(chosen: list[str]) -> Iterator[Row]:
    """Of all rows."""
    for problem in chosen:
        for samples in EQUAL[problem].counts:
            yield {"problem": problem, "samples": samples}


def main(words: list[str] | None = None) -> int:
    """Write `equal_error.md`, row by row; returns how many rows could not be computed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(EQUAL), choices=list(EQUAL), metavar="PROBLEM")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the table and its rows")
    parser.add_argument("--models", type=Path, default=Path("equal_error_models"), help="folder of surrogates")
    options = parser.parse_args(words)
    order = list(EQUAL)
    rows = Rows(
        options.out / "equal_error.jsonl",
        UNIT,
        COLUMNS,
        heading(),
        lambda row: (order.index(row["problem"]), row["samples"]),
    )
    return rows.complete(units(options.problems), Study(options.models).row)


if __name__ == "__main__":
    raise SystemExit(main())

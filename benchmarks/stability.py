"""Trainings on few and many nodes, at two learning rates. Run by `python -m benchmarks.stability`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

import hoam_plugin as hoam
from benchmarks import learning, report
from benchmarks.learning import TASKS, Clock, Data
from benchmarks.resumable import Row, Rows

PROBLEMS = ("two_stream", "bump_on_tail", "lorenz9")
NODES = ("16", "32", "64", "128", "256", "60 equal")
# Times the default learning rate.
FACTORS = (1.0, 3.0)
_FLOOR = "floor"

UNIT = ("problem", "nodes", "factor", "iterations_wanted", "clock", "seed")
COLUMNS = {
    "problem": "problem",
    "times": "nodes",
    "clock": "clock",
    "learning rate x": "factor",
    "seed": "seed",
    "model": "model",
    "verdict": "verdict",
    "of": "iterations_wanted",
    "iterations": "iterations",
    "last loss": "validation_last",
    "best loss": "validation_best",
    "L1": learning.SCORES["L1"],
    "SW": learning.SCORES["SW"],
    "e.e.": learning.SCORES["e.e."],
    "training s": "training_s",
    "what it says": "sentence",
    "warnings": "warnings",
}


class Study:
    """Computes rows.

    Args:
        data: the simulated runs.
    """

    def __init__(self, data: Data) -> None:
        self._data = data

    def row(
        self,
        problem: str,
        nodes: str,
        factor: float | None,
        iterations_wanted: int | None,
        clock: Clock | None,
        seed: int | None,
    ) -> Row:
        """What `UNIT` does not say."""
        held = self._data.held_out(problem)
        if nodes == _FLOOR:
            floor = self._data.held_out(problem, learning.FLOOR_SEED)
            return learning.scores_of(learning.reference_scores(held, floor, None), "noise_floor")
        assert factor is not None
        assert clock is not None
        assert seed is not None
        number, *equal = nodes.split()
        ds = self._data.equal(problem, int(number)) if equal else self._data.gauss(problem, int(number), clock)
        options: dict[str, Any] = {}
        if factor != 1 or iterations_wanted is not None:
            training = learning.default_training()
            training = dataclasses.replace(training, learning_rate=factor * training.learning_rate)
            if iterations_wanted is not None:
                training = dataclasses.replace(training, iterations=iterations_wanted)
            options["training"] = training

        def train() -> Any:
            return hoam.fit(ds, key=jax.random.key(seed), structure="gradient", progress=False, **options)

        return learning.outcome(train, held, TASKS[problem].case, seed=seed).row


def units(
    problems: list[str], nodes: list[str], factors: list[float], seeds: list[int], iterations: int | None, clock: Clock
) -> Iterator[Row]:
    """Of all rows."""
    for problem in problems:
        yield dict.fromkeys(UNIT) | {"problem": problem, "nodes": _FLOOR}
        for seed in seeds:
            for number in nodes:
                for factor in factors:
                    own = clock if number.isdigit() else "physical"
                    yield dict(zip(UNIT, (problem, number, factor, iterations, own, seed), strict=True))


def rows_in(folder: Path) -> Rows:
    """The rows in a folder."""

    def order(row: Row) -> tuple[Any, ...]:
        place = PROBLEMS.index(row["problem"]), [_FLOOR, *NODES].index(row["nodes"])
        return *place, row["clock"] or "", row["factor"] or 0, row["iterations_wanted"] or 0, row["seed"] or 0

    heading = (
        "# Stability\n\n`python -m benchmarks.stability`: `fit(ds, key=key)` from samples saved on Gauss-Legendre "
        "nodes, spread over the named clock, or at equal times, with the default learning rate and three times "
        "that. With the default one and no number of iterations nothing else is said, so that `two_stream` and "
        "`bump_on_tail` are solved for, in steps; else a network is trained. The loss is the judge's, on samples that "
        "take no part in training. Scores at the held-out parameters, one value each, beside the noise floor.\n\n"
        f"{report.machine(['hoam-plugin', 'jax'])}"
    )
    return Rows(folder / "stability.jsonl", UNIT, COLUMNS, heading, order)


def main(words: list[str] | None = None) -> int:
    """Write `stability.md`, row by row; returns how many rows could not be computed."""
    parser = learning.arguments(__doc__)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS, metavar="PROBLEM")
    parser.add_argument("--nodes", nargs="+", default=list(NODES), choices=NODES, metavar="NODES", help=str(NODES))
    parser.add_argument("--factors", type=float, nargs="+", default=list(FACTORS), help="times the learning rate")
    parser.add_argument("--iterations", type=int, help="of each training; else those of fit")
    parser.add_argument("--clock", default="physical", choices=["physical", "population"])
    options = parser.parse_args(words)
    wanted = units(options.problems, options.nodes, options.factors, options.seeds, options.iterations, options.clock)
    return rows_in(options.out).complete(wanted, Study(Data(options.cache)).row)


if __name__ == "__main__":
    raise SystemExit(main())

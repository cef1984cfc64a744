"""What might help, at equal training time, one change of the default at a time. Run by `python -m benchmarks.leads`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax

import hoam_plugin as hoam
from benchmarks import learning, report
from benchmarks.learning import REFERENCES, SCORES, TASKS, Clock, Data
from benchmarks.resumable import Row, Rows
from hoam_plugin.losses import marginal_potential


class Lead(NamedTuple):
    """One way to learn.

    Attributes:
        options: of `fit`.
        training: changes of the settings that `fit` takes by itself.
        nodes: of the training runs; None for the problem's own.
        clock: over which they are spread, and normalised time as well.
    """

    options: dict[str, Any]
    training: dict[str, Any]
    nodes: int | None = None
    clock: Clock = "population"


def _fit(**options: Any) -> Lead:
    return Lead(options, {})


def _loss(**choices: Any) -> Lead:
    return _fit(loss=hoam.ActionMatching(**choices))


def _training(**changes: Any) -> Lead:
    return Lead({}, changes)


def _nodes(nodes: int, samples: int) -> Lead:
    return Lead({}, {"n_samples": samples}, nodes)


def _colora(width: int, depth: int, rank: int, hyper_width: int) -> Lead:
    return _fit(potential=hoam.CoLoRA(width=width, depth=depth, rank=rank, hyper_width=hyper_width))


# What differs from the default; of every list that the default stands in, the others are here. The learning rates are
# those at which an optimiser did best elsewhere, or that its authors advise.
LEADS = {
    "default": _fit(),
    "feedback": _training(feedback=True),
    **{f"epsilon {epsilon:g}": _loss(epsilon=epsilon) for epsilon in (0.0, 0.1, 0.3, 0.6, 1.0)},
    "samples coupled": _loss(samples="coupled"),
    **{
        f"{nodes} nodes x {samples} samples": _nodes(nodes, samples)
        for nodes, samples in ((64, 32), (128, 16), (256, 4), (256, 16), (256, 32), (512, 4))
    },
    "muon 2e-2": _training(optimiser="muon", learning_rate=2e-2),
    "adam 2e-3": _training(optimiser="adam", learning_rate=2e-3),
    "adam 6e-3": _training(optimiser="adam", learning_rate=6e-3),
    "lion 6e-4": _training(optimiser="lion", learning_rate=6e-4),
    "lion 2e-3": _training(optimiser="lion", learning_rate=2e-3),
    **{
        f"CoLoRA {width} x {depth} rank {rank} hyper {hyper}": _colora(width, depth, rank, hyper)
        for width, depth, rank, hyper in (
            (24, 4, 3, 15),
            (32, 5, 6, 15),
            (32, 5, 3, 8),
            (32, 5, 3, 32),
            (32, 5, 3, 64),
            (48, 5, 6, 15),
            (48, 5, 6, 32),
            (64, 7, 3, 15),
            (96, 5, 8, 32),
        )
    },
    "FiLM 32 x 5 hyper 15": _fit(potential=hoam.FiLM(width=32, depth=5, hyper_width=15)),
    "FiLM 64 x 5 hyper 32": _fit(potential=hoam.FiLM(width=64, depth=5, hyper_width=32)),
    "MLP 32 x 5": _fit(potential=hoam.MLP(width=32, depth=5)),
    "MLP 128 x 6": _fit(potential=hoam.MLP(width=128, depth=6)),
    **{f"average {average:g}": _training(average=average) for average in (0.0, 0.99, 0.9995)},
    "d/dt of the network": _loss(time_derivative="network"),
    "clock physical": Lead({"clock": "physical"}, {}, clock="physical"),
    "base moments": _fit(base="moments"),
    "MomentMatching, field": _fit(structure="field", loss=hoam.MomentMatching()),
    "MomentMatching, gradient": _fit(loss=hoam.MomentMatching()),
}

UNIT = ("problem", "lead", "seconds", "seed")
COLUMNS = {
    "lead": "lead",
    "seed": "seed",
    "s": "seconds",
    "SW": SCORES["SW"],
    "L1": SCORES["L1"],
    "e.e.": SCORES["e.e."],
    "mean": SCORES["mean"],
    "covariance": SCORES["covariance"],
    "iterations": "iterations",
    "ms": "ms",
    "best loss": "validation_best",
    "training s": "training_s",
    "rollout s": "rollout_s",
    "verdict": "verdict",
}


class Study:
    """Computes rows.

    Args:
        data: the simulated runs.
    """

    def __init__(self, data: Data) -> None:
        self._data = data

    def row(self, problem: str, lead: str, seconds: float | None, seed: int | None) -> Row:
        """What `UNIT` does not say."""
        held, task = self._data.held_out(problem), TASKS[problem]
        if lead in REFERENCES:
            floor = self._data.held_out(problem, learning.FLOOR_SEED)
            training = self._data.gauss(problem, task.nodes, "population") if lead == "moments alone" else None
            return learning.scores_of(learning.reference_scores(held, floor, training), REFERENCES[lead])
        assert seconds is not None
        assert seed is not None
        own = LEADS[lead]
        ds = self._data.gauss(problem, own.nodes or task.nodes, own.clock)
        options: dict[str, Any] = {
            "structure": "gradient",
            "key": jax.random.key(seed),
            "progress": False,
        } | own.options

        def train(training: hoam.Training) -> Any:
            return hoam.fit(ds, training=training, **options)

        settings = learning.default_training(own.options.get("loss"), **({"feedback": False} | own.training))
        n = learning.iterations_in(seconds, train, settings)
        settings = dataclasses.replace(settings, iterations=n)
        return learning.outcome(lambda: train(settings), held, task.case, seed=seed).row


def units(problem: str, leads: list[str], seeds: list[int], seconds: float) -> Iterator[Row]:
    """Of all rows: all leads with one seed, then with the next."""
    for name in REFERENCES:
        yield {"problem": problem, "lead": name, "seconds": None, "seed": None}
    for seed in seeds:
        for name in leads:
            yield {"problem": problem, "lead": name, "seconds": seconds, "seed": seed}


def _described(settings: object) -> str:
    return f"`{settings!r}`"


def rows_in(folder: Path, problem: str) -> Rows:
    """The rows of a problem in a folder."""
    heading = (
        f"# Leads on `{problem}`\n\n`python -m benchmarks.leads --problem {problem}`: `fit` from samples alone with "
        "one change of its defaults each, as many iterations as fit into the named seconds on this machine, "
        "compilation included, by the pace of the first ones, and without the correction in the end, which would hide "
        "what they differ in; the row `feedback` is the default with it, for which it takes longer. Saved on "
        "Gauss-Legendre nodes, spread over the "
        f"population's clock where nothing else is said, {TASKS[problem].nodes} of them where no number is named. "
        "Sorted by SW at the held-out parameters (one value each), which the choice of the defaults has therefore "
        "seen; lower is better. "
        "One seed says little: leads whose scores differ by less than the seeds of the default do are equal. On a "
        "machine with other jobs the pace of the first iterations is not that of the others: compare `iterations` and "
        "`ms`.\n\n"
        f"The default: {_described(marginal_potential())}; {_described(hoam.ActionMatching())}; "
        f"{_described(learning.default_training())}. What is None there is said in the docstrings of these classes.\n\n"
        f"{report.machine(['hoam-plugin', 'jax', 'optax'])}"
    )
    return Rows(
        folder / f"leads_{problem}.jsonl",
        UNIT,
        COLUMNS,
        heading,
        lambda row: (learning.mean_of(row, SCORES["SW"]), row["lead"]),
    )


def main(words: list[str] | None = None) -> int:
    """Write `leads_<problem>.md`, row by row; returns how many rows could not be computed."""
    parser = learning.arguments(__doc__)
    parser.add_argument("--problem", default="lorenz9", choices=list(TASKS))
    parser.add_argument("--leads", nargs="+", default=list(LEADS), choices=LEADS, metavar="LEAD", help=str(list(LEADS)))
    parser.add_argument("--seconds", type=float, default=240.0, help="of each training")
    options = parser.parse_args(words)
    wanted = units(options.problem, options.leads, options.seeds, options.seconds)
    return rows_in(options.out, options.problem).complete(wanted, Study(Data(options.cache)).row)


if __name__ == "__main__":
    raise SystemExit(main())

"""What is kept of trainings that run away, and long runs; `tests/campaigns` has both. `python -m benchmarks.run_aways`.

Both are sections of `results/reliability.md`. With files of earlier lines (`--rows`), trainings are not run again, and
long runs are left as they are unless there are lines of them as well (`--long`).
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report

CAMPAIGNS = Path(__file__).parents[1] / "tests" / "campaigns"
# A model is worse than none by more than such a share of what the best one on the way had gained, and beyond so many
# standard errors of its score.
_WORSE = 0.01
_STANDARD_ERRORS = 2
N_PROBLEMS = 13
TRAININGS, LONG = "Trainings that run away", "Long runs"

_TRAININGS = """`python -m benchmarks.run_aways{words}`

{machine}

Problems at small size, up to {seeds} seeds, learning rates of {rates} times the default, {iterations} iterations of a
network of three layers of 16. The form "network" has no lower bound on finitely many nodes; "data" is the default.
Scores are on a finer rule, with 8192 samples that training has not seen, of its 768; 0 is a model that moves nothing.
*Went back*: at least once, with half of the steps. *Raised*: a run-away, and nothing was found to be better than no
motion, as `fit` says. *Kept none*: training came to its end, nothing was found to be better than no motion beyond the
noise, and the model that is returned with a warning moves nothing. *Worse than nothing*: a score above 0 by more than
1 % of what the best model on the way had gained, beyond two standard errors of the score. *Lost* is what the model
that is kept has lost of that gain; where none is kept, all of it; infinite where no model on the way had gained
anything. *At nodes*: judged at the saved times alone.

At first the campaign scored with 256 samples. On `two_stream`, where models gain 0.1, such a score scatters by half of
that, and four of fifteen trainings seemed to keep something worse than nothing.

{coverage}

{table}

{worst}
"""

_LONG = """`python tests/campaigns/long_runs.py particles 1000000`, `... training 100000`

{machine}

A thermal plasma in single precision (1024 particles of thermal speed 1, 32 cells, steps of 0.05), by the shape of the
particles:

{particles}

A tiny network, trained once through and once interrupted half-way and resumed. *Grown* is the resident memory after any
later block over that after a tenth of them.

{training}
"""


def rows_of(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Lines of the campaign."""
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def lost(row: dict[str, Any]) -> float:
    """Share of the gain of the best model on the way that the kept one has lost."""
    gain = -row["lowest"]
    kept = row.get("final", 0.0)
    return float((gain + kept) / gain) if gain > 0 else math.inf if kept > 0 else 0.0


def is_worse(row: dict[str, Any]) -> bool:
    """Whether what was kept is worse than nothing."""
    above = row.get("final", 0.0) - _STANDARD_ERRORS * row.get("standard_error", 0.0)
    return bool(above > -_WORSE * min(row["lowest"], 0.0))


def key_of(row: dict[str, Any]) -> tuple[str, int, float, str, str]:
    """What trainings of one line of the table have in common; first those judged as before."""
    judged = {"nodes": "at nodes", "both": "between them, too"}[row["judge"]]
    return row["form"], row["nodes"], row["epsilon"], row["problem"], judged


def table_of(rows: list[dict[str, Any]]) -> str:
    """One line for each form, rule, epsilon, problem and way to judge."""
    lines = []
    for key in sorted({key_of(row) for row in rows}):
        some = [row for row in rows if key_of(row) == key]
        losses = np.asarray([lost(row) for row in some])
        counts = (
            len(some),
            sum(row.get("halvings", 3) > 0 for row in some),
            sum("raised" in row for row in some),
            sum(row.get("iteration") == 0 for row in some),
            sum(not row.get("finite", True) for row in some),
            sum(map(is_worse, some)),
        )
        shares = (np.median(losses), np.quantile(losses, 0.9, method="higher"), losses.max())
        lines.append([*(f"{part}" for part in key), *map(str, counts), *(f"{share:.2g}" for share in shares)])
    header = ["form", "nodes", "epsilon", "problem", "judged", "trainings", "went back", "raised", "kept none", "NaN"]
    return report.table([*header, "worse than nothing", "lost, median", "nine tenths", "worst"], lines)


def long_tables(rows: list[dict[str, Any]]) -> dict[str, str]:
    """Of particles and of training."""
    particles = [
        [
            r["shape"],
            f"{r['steps']:,}",
            f"{r['energy_most_off']:.2%}",
            f"{r['momentum_most_off']:.1e}",
            str(r["seconds"]),
        ]
        for r in rows
        if "shape" in r
    ]
    training = [
        [
            f"{r['iterations']:,}",
            f"{r['resident_mb']:.0f}",
            f"{r['grown']:.2%}",
            "yes" if r["same_weights"] and r["same_history"] else "no",
            str(r["seconds"]),
        ]
        for r in rows
        if "iterations" in r
    ]
    return {
        "particles": report.table(["shape", "steps", "energy, most off", "momentum, most off", "s"], particles),
        "training": report.table(["iterations", "resident, MB", "grown", "resumed bit for bit", "s"], training),
    }


def coverage_of(rows: list[dict[str, Any]]) -> str:
    """Which problems have been run on which rule."""
    lines = []
    for form, nodes, epsilon in sorted({(r["form"], r["nodes"], r["epsilon"]) for r in rows}):
        run = {r["problem"] for r in rows if (r["form"], r["nodes"], r["epsilon"]) == (form, nodes, epsilon)}
        lines.append(f"{len(run)} with {nodes} nodes and epsilon {epsilon:g} by the form {form!r}")
    return f"Of the {N_PROBLEMS} problems of the campaign, {', '.join(lines)} have been run."


def worst_of(rows: list[dict[str, Any]]) -> str:
    """Which ones are worse than nothing, as they are judged now."""
    bad = [r for r in rows if r["judge"] == "both" and is_worse(r)]
    if not bad:
        return "As they are judged now, none is worse than nothing."
    named = [
        f"{r['problem']} ({r['form']}, {r['nodes']} nodes, epsilon {r['epsilon']:g}, rate {r['rate']:g}, "
        f"seed {r['seed']}: {lost(r):.3g}, score {r['final']:.2g} +- {r['standard_error']:.1g})"
        for r in sorted(bad, key=lost, reverse=True)
    ]
    n = sum(r["judge"] == "both" for r in rows)
    return f"As they are judged now, {len(bad)} of {n} kept something worse than nothing: {', '.join(named)}."


def campaign(script: str, *words: object) -> str:
    """What it prints."""
    command = [sys.executable, str(CAMPAIGNS / script), *map(str, words)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Run what is asked for, and write the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, nargs="*", default=[], help="lines of the campaign, one file or several")
    parser.add_argument("--heading", default=TRAININGS, help="of the section that rows of other problems go to")
    parser.add_argument("--iterations", type=int, default=600)
    parser.add_argument("--long", type=Path, help="lines of `long_runs.py`")
    given, words = parser.parse_known_args()
    machine = report.machine(["hoam-plugin", "jax", "optax"])
    if given.rows:
        rows = rows_of(given.rows)
    else:
        options = ["--iterations", given.iterations, *words]
        lines = [campaign("trainings.py", "--judge", judge, *options) for judge in ("nodes", "both")]
        rows = [json.loads(line) for line in "".join(lines).splitlines()]
    text = _TRAININGS.format(
        words="".join(f" {word}" for word in words),
        machine=machine,
        seeds=len({r["seed"] for r in rows}),
        rates=", ".join(f"{rate:g}" for rate in sorted({r["rate"] for r in rows})),
        iterations=given.iterations,
        coverage=coverage_of(rows),
        table=table_of(rows),
        worst=worst_of(rows),
    )
    report.write_section("reliability", given.heading, text)
    if given.rows and given.long is None:
        return
    if given.long is not None:
        found = given.long.read_text()
    else:
        found = campaign("long_runs.py", "particles", 1_000_000) + campaign("long_runs.py", "training", 100_000)
    text = _LONG.format(machine=machine, **long_tables([json.loads(line) for line in found.splitlines()]))
    report.write_section("reliability", LONG, text)


if __name__ == "__main__":
    main()

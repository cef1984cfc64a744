"""What is kept of trainings that run away, and long runs; `tests/campaigns` has both. `python -m benchmarks.run_aways`.

Both are sections of `results/reliability.md`. With files of earlier lines (`--rows`), trainings are not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report

CAMPAIGNS = Path(__file__).parents[1] / "tests" / "campaigns"
TRAININGS, LONG = "Trainings that run away", "Long runs"

_TRAININGS = """`python -m benchmarks.run_aways {words}`

{machine}

{n_problems} problems at small size, {seeds} seeds, learning rates of {rates} times the default, {iterations} iterations
of a network of three layers of 16. The form "network" has no lower bound on finitely many nodes; "data" is the default.
Scores are on a finer rule, with samples that training has not seen; 0 is a model that moves nothing. *Went back*: at
least once, with half of the steps. *Raised*: nothing was found to be better than no motion, and `fit` says so. *Worse
than nothing*: a score above 0 by more than 1 % of what the best model on the way had gained. *Lost* is what the model
that is kept has lost of that gain; where none is kept, all of it. *Judged at nodes* is how models were judged before:
at the saved times alone.

{table}

{worst}
"""

_LONG = """`python tests/campaigns/long_runs.py particles 1000000`, `... training 100000`

{machine}

| | |
| --- | --- |
{lines}
"""


def rows_of(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Lines of the campaign."""
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


def lost(row: dict[str, Any]) -> float:
    """Share of the gain of the best model on the way that the kept one has lost."""
    gain = -row["lowest"]
    kept = row.get("final", 0.0)
    return float((gain + kept) / gain) if gain > 0 else float(kept > 0)


def table_of(rows: list[dict[str, Any]]) -> str:
    """One line for each form, rule, epsilon and way to judge."""
    keys = sorted(
        {(r["form"], r["nodes"], r["epsilon"], r["judge"]) for r in rows}, key=lambda k: (*k[:3], k[3] != "nodes")
    )
    lines = []
    for key in keys:
        some = [r for r in rows if (r["form"], r["nodes"], r["epsilon"], r["judge"]) == key]
        losses = np.asarray([lost(r) for r in some])
        lines.append(
            [
                key[0],
                str(key[1]),
                f"{key[2]:g}",
                {"nodes": "at nodes", "both": "between them, too"}[key[3]],
                str(len(some)),
                str(sum(r.get("halvings", 3) > 0 for r in some)),
                str(sum("raised" in r for r in some)),
                str(sum(not r.get("finite", True) for r in some)),
                str(int((losses > 1.01).sum())),
                f"{np.median(losses):.2f}",
                f"{np.quantile(losses, 0.9):.3g}",
                f"{losses.max():.3g}",
            ]
        )
    header = ["form", "nodes", "epsilon", "judged", "trainings", "went back", "raised", "NaN", "worse than nothing"]
    return report.table([*header, "lost, median", "nine tenths", "worst"], lines)


def worst_of(rows: list[dict[str, Any]]) -> str:
    """Which ones are worse than nothing, as they are judged now."""
    bad = [r for r in rows if r["judge"] == "both" and lost(r) > 1.01]
    if not bad:
        return "As they are judged now, none is worse than nothing."
    named = [
        f"{r['problem']} ({r['form']}, {r['nodes']} nodes, epsilon {r['epsilon']:g}, rate {r['rate']:g}, "
        f"seed {r['seed']}: {lost(r):.3g})"
        for r in sorted(bad, key=lost, reverse=True)
    ]
    return f"As they are judged now, worse than nothing are {len(bad)}: {', '.join(named)}."


def campaign(script: str, *words: object) -> str:
    """What it prints."""
    command = [sys.executable, str(CAMPAIGNS / script), *map(str, words)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def main() -> None:
    """Run what is asked for, and write the sections."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, nargs="*", default=[], help="lines of the campaign, one file or several")
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
        words=" ".join(words),
        machine=machine,
        n_problems=len({r["problem"] for r in rows}),
        seeds=len({r["seed"] for r in rows}),
        rates=", ".join(f"{rate:g}" for rate in sorted({r["rate"] for r in rows})),
        iterations=given.iterations,
        table=table_of(rows),
        worst=worst_of(rows),
    )
    report.write_section("reliability", TRAININGS, text)
    if given.long is not None:
        found = given.long.read_text()
    else:
        found = campaign("long_runs.py", "particles", 1_000_000) + campaign("long_runs.py", "training", 100_000)
    lines = [
        f"| {name.replace('_', ' ')} | {value} |"
        for line in found.splitlines()
        for name, value in json.loads(line).items()
    ]
    report.write_section("reliability", LONG, _LONG.format(machine=machine, lines="\n".join(lines)))


if __name__ == "__main__":
    main()

"""The tables of what was measured of trust."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from benchmarks import report
from benchmarks.trust_parts import CACHE, CURVES, ITERATIONS, N_NODES, N_RUNS, N_SAMPLES, RANGE, SCORES

PARTS = ("validation", "committee", "propose", "ways", "times")


def table() -> None:
    """Write `results/trust.md`."""
    rows = [json.loads(line) for line in CACHE.read_text().splitlines()]
    parts = {part: [row for row in rows if row["part"] == part] for part in PARTS}
    text = [
        "# Trust: cross-validation, bands, committees, choice of runs",
        "`python -m benchmarks.trust PART --problems ... --seeds ...`, then `python -m benchmarks.trust table`.",
        report.machine(["hoam-plugin", "jax"]),
        _validation_text(parts["validation"]),
        _band_text(parts["validation"]),
        _committee_text(parts["committee"]),
        _propose_text(parts["propose"]),
        _ways_text(parts["ways"]),
        _times_text(parts["times"]),
    ]
    report.write("trust", "\n\n".join(text))


def _validation_text(rows: list[dict[str, Any]]) -> str:
    header = ["problem", "seed", "effort", "left out", "ratio", "expected", "ratio", "held-out", "both at five"]
    header += ["fit s", "8 folds s", "ratio"]
    lines = []
    for row in rows:
        left, held, five = np.median(row["left_out"]), np.median(row["held_out"]), np.median(row["held_out"][:5])
        expected = np.median(_expected(row)) if "learned_from" in row else np.nan
        cells = [f"{left:.4f}", f"{left / held:.2f}", f"{expected:.4f}", f"{expected / held:.2f}", f"{held:.4f}"]
        cells += [
            f"{left / five:.2f}, {expected / five:.2f}",
            f"{row['fit_seconds']:.1f}",
            f"{row['fold_seconds']:.1f}",
        ]
        cells += [f"{row['fold_seconds'] / row['fit_seconds']:.2f}"]
        lines.append(
            [row["problem"], str(row["seed"]), f"{row['effort']:g}", *(cell.replace("nan", "-") for cell in cells)]
        )
    return (
        f"## Cross-validation\n\nKinetic, {N_RUNS} runs of {N_SAMPLES} samples on {N_NODES} nodes, mu in {RANGE}, "
        f"{ITERATIONS} iterations, folds of `effort` as many. Electric energy error, medians: at runs that are left "
        "out, what is expected between all runs (`expected`), and at 20 new mu, by the surrogate of all runs; ratios "
        "to the latter, and those of both to the median of the first five of them. Times on one core, "
        "beside other work, with compilation, simulation and scores of the folds.\n\n"
        + report.table(header, lines)
        + "\n\n"
        "All scores, in ratios of medians to those at 20 new mu: `left out`, and `expected`.\n\n" + _score_ratios(rows)
    )


def _score_ratios(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        if "scores" in row:
            each = [
                (np.median(s["left_out"]), np.median(_expected(s)), np.median(s["held_out"]))
                for s in row["scores"].values()
            ]
            ratios = [f"{left / held:.2f}, {expected / held:.2f}" for left, expected, held in each]
            lines.append([row["problem"], str(row["seed"]), *ratios])
    return report.table(["problem", "seed", *SCORES], lines)


def _expected(row: dict[str, Any]) -> np.ndarray:
    return _mixed(np.asarray(row["left_out"]), np.asarray(row["learned_from"]), 1 / 4)


def _band_text(rows: list[dict[str, Any]]) -> str:
    header = [
        "problem",
        "seed",
        "curve",
        "whole curves inside",
        "times inside",
        "half width",
        "narrowest",
        "error",
        "largest error",
    ]
    lines = []
    for row in rows:
        for name in filter(row.__contains__, CURVES):
            own = row[name]
            shares = [f"{own['coverage']:.2f}", f"{own['of_times']:.3f}"]
            kinds = "relative_half_width", "narrowest_half_width", "relative_error", "relative_largest_error"
            sizes = [f"{own[kind]:.4f}" if kind in own else "-" for kind in kinds]
            lines.append([row["problem"], str(row["seed"]), name, *shares, *sizes])
    if not lines:
        return "## Bands\n\nNot measured yet with the present calibration: `python -m benchmarks.trust validation`."
    return (
        "## Bands\n\nNominal 80 %, from 8 left-out runs, over 20 new runs. Half widths and "
        "errors relative to the curve: medians over runs and times, and the median over runs of the largest over "
        "time. `narrowest` is the half width of a band that is made with the errors of these 20 runs themselves (their "
        "root mean square over the runs, times what leaves 16 of them inside): how narrow it could be if these were "
        "known.\n\n" + report.table(header, lines)
    )


def _committee_text(rows: list[dict[str, Any]]) -> str:
    header = ["problem", "seed", "score", "mean drift", "best member", "median member", "worst member"]
    lines, against = [], {"the median member": 0, "the best member": 0}
    for row in rows:
        for name in SCORES:
            own, each = row["mean"][name], row["members"][name]
            cells = [f"{value:.4f}" for value in (own, min(each), float(np.median(each)), max(each))]
            lines.append([row["problem"], str(row["seed"]), name, *cells])
            against["the median member"] += own <= np.median(each)
            against["the best member"] += own <= min(each)
    said = " and ".join(f"{who} in {count}" for who, count in against.items())
    return (
        f"## Committees\n\nFour members, 8 runs; scores at 5 new mu. The mean drift is not worse than {said} of "
        f"{len(lines)} scores.\n\n" + report.table(header, lines)
    )


def _propose_text(rows: list[dict[str, Any]]) -> str:
    header = [
        "problem",
        "seed",
        "worst, 6 chosen",
        "worst, 6 even",
        "worst, 8 even",
        "mean, 6 chosen",
        "mean, 8 even",
        "chosen",
    ]
    lines = []
    for row in rows:
        kinds = "chosen 6", "even 6", "even 8"
        cells = [f"{row[kind]['worst']:.4f}" for kind in kinds] + [f"{row[k]['mean']:.4f}" for k in kinds[::2]]
        points = "; ".join(", ".join(f"{value:.3g}" for value in point) for point in row["points"])
        lines.append([row["problem"], str(row["seed"]), *cells, points])
    return (
        "## Choice of runs\n\nSliced Wasserstein distance at 16 random held-out parameters, worst and mean, of "
        "surrogates of runs that were chosen one by one (from 3 even ones in one parameter, the 4 corners in two) and "
        "of evenly spread ones.\n\n" + report.table(header, lines)
    )


def _ways_text(rows: list[dict[str, Any]]) -> str:
    header = ["problem", "seed", "what is taken for the error between runs", "trainings", "median", "ratio", "of means"]
    lines = []
    for row in rows:
        held = np.asarray(row["held_out"])
        for name, (n_fits, values) in _ways_of(row).items():
            ratios = f"{np.median(values) / np.median(held):.2f}", f"{np.mean(values) / np.mean(held):.2f}"
            lines.append([row["problem"], str(row["seed"]), name, n_fits, f"{np.median(values):.4f}", *ratios])
    return (
        "## What was tried: the error between runs\n\nEnergy errors at the 8 inner runs, against those of the "
        "surrogate of all runs at 20 new mu; the ratio of medians, and that of "
        "means. The share of 1/4 was chosen when seed 0 was known.\n\n" + report.table(header, lines)
    )


def _ways_of(row: dict[str, Any]) -> dict[str, tuple[str, np.ndarray]]:
    """What each way says, and how many trainings it takes."""
    one, half, pair, started = (np.asarray(row[name])[:, 1:-1] for name in ("one", "half", "pair", "started"))
    run = np.arange(len(one))
    left_out, next_one = one[run, run], one[(run + 1) % len(one), run]
    pairs = pair[run // 2, run]
    excess = np.mean(pairs**2) - np.mean(next_one**2), np.mean(left_out**2) - np.mean(next_one**2)
    # Beside two missing runs the product of the distances to both neighbours is twice that beside one.
    order = np.log2(max(excess[0] / excess[1], 1.0)) if excess[1] > 0 else np.nan
    return {
        "left out, one at a time": ("8", left_out),
        "half of it: order 1, all of it from the distance": ("8", left_out / 2),
        "a quarter: order 2, all of it from the distance": ("8", left_out / 4),
        "learned from, by the next fold": ("8", next_one),
        "learned from, by the surrogate of all runs": ("1", np.asarray(row["all_runs"])[1:-1]),
        "`expected`: 1/4 of the square left out, 3/4 learned from (middle of two runs)": (
            "8",
            _mixed(left_out, next_one, 1 / 4),
        ),
        "the same with 1/12 (mean over places between runs, order 1)": ("8", _mixed(left_out, next_one, 1 / 12)),
        "the same with 1/30 (order 2)": ("8", _mixed(left_out, next_one, 1 / 30)),
        f"left out two neighbours at a time (order of the excess {order:.1f})": ("4", pairs),
        "left out every second one": ("2", half[run % 2, run]),
        "left out one at a time, begun as the half without it, a quarter of the iterations": (
            "2 + 8/4",
            started[run, run],
        ),
    }


def _mixed(left_out: np.ndarray, learned: np.ndarray, share: float) -> np.ndarray:
    return np.sqrt(share * left_out**2 + (1 - share) * learned**2)


def _times_text(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "## Time on the cores\n\nNot measured yet on idle cores: `python -m benchmarks.trust_times`."
    header = ["problem", "cores", "what", "cold s", "cores kept busy", "warm s", "cores kept busy"]
    lines = []
    for row in rows:
        busy = np.asarray(row["core_seconds"]) / np.asarray(row["seconds"])
        cells = [f"{row['seconds'][0]:.1f}", f"{busy[0]:.2f}"]
        warm = row["seconds"][1:]
        cells += [f"{min(warm):.1f} to {max(warm):.1f}", f"{np.median(busy[1:]):.2f}"] if warm else ["-", "-"]
        lines.append([row["problem"], str(row["cores"]), row["way"], *cells])
    return (
        f"## Time on the cores\n\n{N_RUNS} runs, {ITERATIONS} iterations, each in a process of its "
        "own: the first time, with compilation, and after that. `python -m benchmarks.trust_times`.\n\n"
        + report.table(header, lines)
    )

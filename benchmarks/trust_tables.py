"""The tables of what was measured of trust."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from scipy.stats import betabinom

from benchmarks import report
from benchmarks.trust_parts import CACHE, CURVES, ITERATIONS, N_NODES, N_RUNS, N_SAMPLES, RANGE, SCORES

PARTS = ("validation", "committee", "propose", "choice_ways", "ways", "band_ways", "committee_ways", "times")

# What is asked of the share of new curves inside a band at 80 %.
LOWEST, HIGHEST = 0.7, 0.95


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
        _choice_ways_text(parts["choice_ways"]),
        _ways_text(parts["ways"]),
        _band_ways_text(parts["band_ways"]),
        _committee_ways_text(parts["committee_ways"]),
        _times_text(parts["times"]),
    ]
    report.write("trust", "\n\n".join(text))


def _validation_text(rows: list[dict[str, Any]]) -> str:
    header = ["problem", "seed", "effort", "left out", "ratio", "expected", "ratio", "held-out", "both at five"]
    header += ["cores", "fit s", "8 folds s", "ratio"]
    lines = []
    for row in rows:
        left, held, five = np.median(row["left_out"]), np.median(row["held_out"]), np.median(row["held_out"][:5])
        expected = np.median(_expected(row)) if "learned_from" in row else np.nan
        cells = [f"{left:.4f}", f"{left / held:.2f}", f"{expected:.4f}", f"{expected / held:.2f}", f"{held:.4f}"]
        cells += [
            f"{left / five:.2f}, {expected / five:.2f}",
            str(row.get("cores", "-")),
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
        "to the latter, and those of both to the median of the first five of them. Times with simulation "
        "and scores of the folds, with compilation only where no earlier case of the same process had done it, so that "
        "they are no measure of speed: see the times on the cores below.\n\n" + report.table(header, lines) + "\n\n"
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
        return (
            "## Bands\n\nBy `python -m benchmarks.trust validation`, with the surrogates of folds, not measured yet "
            "with the present calibration; see what was tried below."
        )
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


def _choice_ways_text(rows: list[dict[str, Any]]) -> str:
    seeds, ways = sorted({row["seed"] for row in rows}), list(dict.fromkeys(row["way"] for row in rows))
    of = {(row["seed"], row["way"]): row for row in rows}
    lines = []
    for way in ways:
        own, even = ([np.asarray(of[seed, name]["worst"]) for seed in seeds] for name in (way, "8 evenly spread"))
        cells = [f"{a.mean():.4f} ({a.mean() / b.mean():.2f})" for a, b in zip(own, even, strict=True)]
        ratio = np.exp(np.mean([np.log(a.mean() / b.mean()) for a, b in zip(own, even, strict=True)]))
        lines.append([way, *cells, f"{ratio:.2f}", *(_after_the_first(of[seed, way]) for seed in seeds)])
    scatter = np.median([np.std(row["worst"], ddof=1) / np.mean(row["worst"]) for row in rows]) if rows else np.nan
    header = ["runs", *(f"seed {seed}" for seed in seeds), "all", *(f"chosen, seed {seed}" for seed in seeds)]
    return (
        "## What was tried: choice of runs\n\nSix runs of two_stream over mu, three of them chosen in different ways: "
        "the worst distance of populations at 16 held-out parameters, mean over four trainings of keys of their own, "
        "and its ratio to that of 8 evenly spread runs; over all seeds the geometric mean of these. One training "
        f"scatters by {scatter:.0%} (standard deviation over keys, median over rows), so that the mean of four is "
        "known to half of that. `python -m benchmarks.trust_choices`.\n\n" + report.table(header, lines)
    )


def _after_the_first(row: dict[str, Any], n_first: int = 3) -> str:
    return "-" if row["way"].endswith("spread") else "; ".join(f"{mu:.3g}" for mu in row["points"][n_first:])


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


def _band_ways_text(rows: list[dict[str, Any]]) -> str:
    lines = []
    for way in rows[0]["ways"] if rows else ():
        coverage, width = np.asarray([pair for row in rows for pair in row["ways"][way]]).T
        inside = (coverage >= LOWEST) & (coverage <= HIGHEST)
        cells = f"{coverage.mean():.3f}", f"{coverage.std():.3f}", f"{inside.sum()} of {inside.size}"
        lines.append([way, *cells, f"{np.median(width):.1f}"])
    cases = ", ".join(f"{row['problem']} {row['seed']}" for row in rows)
    header = ["how the band is calibrated", "curves inside, mean", "deviation", "within .7 to .95", "half width"]
    return (
        f"## What was tried: bands\n\nNominal 80 %, three curves of each of {cases} (problem and seed), 8 left-out "
        "and 20 new runs: the share of whole curves inside, its mean and standard deviation over curves and cases, how "
        "often it is between 0.70 and 0.95, and the median of half widths in units of the median error. Of bands that "
        "were exact, those of 8 exchangeable runs would be between these bounds with probability "
        f"{chance_of_exact_bands(8):.2f}. What has been learned from is here that of the surrogate of all runs. "
        "`python -m benchmarks.trust_bands`.\n\n" + report.table(header, lines)
    )


def chance_of_exact_bands(n: int, level: float = 0.8, n_new: int = 20) -> float:
    """How likely so many new curves are inside as the bounds say, of an exact band of n exchangeable runs."""
    rank = level * (n + 1)
    counts = np.arange(round(LOWEST * n_new), round(HIGHEST * n_new) + 1)
    return float(betabinom(n_new, rank, n + 1 - rank).pmf(counts).sum())


def _committee_ways_text(rows: list[dict[str, Any]]) -> str:
    lines = []
    for way in rows[0]["ways"] if rows else ():
        pairs = [
            (np.asarray(r["ways"][way][n]), np.asarray([m[n] for m in r["members"]])) for r in rows for n in SCORES
        ]
        own, each = np.asarray([of.mean() for of, _ in pairs]), np.asarray([of.mean(axis=1) for _, of in pairs])
        clearly = [_clearly_above(of, members) for of, members in pairs]
        median, best = np.median(each, axis=1), each.min(axis=1)
        counts = [f"{np.sum(own <= others)}" for others in (median, best)]
        lines.append([way, *counts, f"{np.exp(np.mean(np.log(own / best))):.3f}", f"{np.sum(clearly)}"])
    cases = ", ".join(f"{row['problem']} {row['seed']}" for row in rows)
    header = ["what moves the samples", "not worse than the median member", "than the best", "ratio to the best"]
    return (
        f"## What was tried: committees\n\nFour members, 8 runs, 20 new mu each of {cases} (problem and seed): in how "
        f"many of {len(rows) * len(SCORES)} scores the committee is not worse than the median and than the best "
        "member, the geometric mean of its ratio to the best, and in how many some member is better by more than two "
        "standard errors of the difference over the 20 mu. Who is the best differs from score to score, and is known "
        "after the comparison only. `python -m benchmarks.trust_committees`.\n\n"
        + report.table([*header, "clearly worse than some member"], lines)
    )


def _clearly_above(own: np.ndarray, members: np.ndarray) -> bool:
    """Whether some member has lower scores by more than two standard errors of the difference over the runs."""
    differences = own - members
    errors = differences.std(axis=1, ddof=1) / np.sqrt(len(own))
    return bool((differences.mean(axis=1) > 2 * errors).any())


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

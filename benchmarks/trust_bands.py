"""Ways to calibrate bands: `python -m benchmarks.trust_bands --problems ... --seeds ... --curves FOLDER`.

Curves of folds, of the surrogate of all runs and of new runs are kept in the folder, and are computed where they are
not there. `python -m benchmarks.trust table` writes what came of the ways.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from scipy.stats import t as student_t

import hoam_plugin as hoam
from benchmarks.trust_parts import CURVES, N_RUNS, RANGE, keep, measure_all, options, predicted_of, runs_of
from hoam_plugin.trust import between_runs, calibration

LEVEL = 0.8
# Errors of runs that were left out, and of a surrogate that has learned from them (run, time), to half widths.
Way = Callable[[np.ndarray, np.ndarray], np.ndarray]


def curves_of(problem: str, seed: int, folder: Path) -> Mapping[str, np.ndarray]:
    """All curves, true and predicted, as `<curve>/<of which runs>`."""
    path = folder / f"{problem}_{seed}.npz"
    if not path.exists():
        truth = runs_of(problem, np.linspace(*RANGE, N_RUNS), seed)
        new = runs_of(problem, np.random.default_rng(seed).uniform(*RANGE, 20), seed + 100, rates=False)
        key = jax.random.key(seed)
        model = hoam.fit(truth, key=key, **options())
        left_out = hoam.cross_validate(truth, key=key, curves=list(CURVES), **options())
        found, back = predicted_of(model, new), predicted_of(model, truth)
        arrays = {}
        for name in CURVES:
            arrays |= {f"{name}/left_{kind}": left_out[f"{name}_{kind}"].values for kind in ("truth", "left_out")}
            for whose, ds in {"new_truth": new, "new": found, "seen": back.isel(run=slice(1, -1))}.items():
                arrays[f"{name}/{whose}"] = hoam.scores.curve_of_ensemble(ds, name)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, **arrays)
    with np.load(path) as kept:
        return dict(kept)


def ratios(missed: np.ndarray, *, by_others: bool) -> np.ndarray:
    """The largest error over time of each run, in units of those of the others, or of all."""
    squares = calibration._smoothed(missed**2)
    of_all = calibration._spread(squares)
    units = [calibration._spread(np.delete(squares, i, axis=0)) if by_others else of_all for i in range(len(missed))]
    return np.max(np.abs(missed) / np.stack(units), axis=1)


def between_ranks(values: np.ndarray) -> float:
    """The value at the level, interpolated as it is."""
    n = len(values)
    return float(np.interp((n + 1) * LEVEL, np.arange(1, n + 1), np.sort(values)))


def as_powers(values: np.ndarray) -> float:
    """The value at the level, interpolated as bands are."""
    return calibration._at_level(np.sort(values), LEVEL)


def log_normal(values: np.ndarray) -> float:
    """The value that a further one exceeds as often, if logarithms are normal."""
    n, logs = len(values), np.log(values)
    return float(np.exp(logs.mean() + student_t.ppf(LEVEL, n - 1) * logs.std(ddof=1) * np.sqrt(1 + 1 / n)))


def studentised(at_level: Callable[[np.ndarray], float], *, by_others: bool, share: str) -> Way:
    """Half widths in proportion to how large errors are at a time."""

    def way(missed: np.ndarray, seen: np.ndarray) -> np.ndarray:
        expected = between_runs.squares_between(missed, seen)
        each = expected.mean(axis=1) / np.mean(missed**2, axis=1)
        squares = {
            "": missed**2,
            "of the median run": missed**2 * np.median(each),
            "of the mean": missed**2 * expected.mean() / np.mean(missed**2),
            "at every time": expected,
        }[share]
        return at_level(ratios(missed, by_others=by_others)) * calibration._spread(calibration._smoothed(squares))

    return way


def constant(missed: np.ndarray, _: np.ndarray) -> np.ndarray:
    """The same half width at all times."""
    return np.full(missed.shape[1], as_powers(np.max(np.abs(missed), axis=1)))


WAYS: dict[str, Way] = {
    "units of all left-out runs, ranks interpolated (before)": studentised(between_ranks, by_others=False, share=""),
    "units of the others": studentised(as_powers, by_others=True, share=""),
    "the same, of log-normal errors": studentised(log_normal, by_others=True, share=""),
    "the same width at all times": constant,
    "units of the others, as expected between runs at every time (now)": studentised(
        as_powers, by_others=True, share="at every time"
    ),
    "the same, ranks interpolated": studentised(between_ranks, by_others=True, share="at every time"),
    "the same, of log-normal errors, as expected": studentised(log_normal, by_others=True, share="at every time"),
    "units of the others, by the share expected of the median run": studentised(
        as_powers, by_others=True, share="of the median run"
    ),
    "units of the others, by the share expected of the mean square": studentised(
        as_powers, by_others=True, share="of the mean"
    ),
}


def measured(curves: Mapping[str, np.ndarray], name: str, way: Way) -> tuple[float, float]:
    """The share of new curves that lie inside, and the half width as a multiple of the error (both medians)."""
    truth, missed, new, found, seen = (
        curves[f"{name}/{whose}"].astype(np.float64)
        for whose in ("left_truth", "left_left_out", "new_truth", "new", "seen")
    )
    positive = bool((truth > 0).all() and (missed > 0).all())
    bands = []
    for logarithmic in (False, True) if positive else (False,):
        off, known = (np.log(of / truth) if logarithmic else of - truth for of in (missed, seen))
        half = way(off, known)
        reach = np.sinh(half) * missed if logarithmic else half
        bands.append((float(np.median(reach / np.abs(missed))), logarithmic, half))
    _, logarithmic, half = min(bands, key=lambda band: band[0])
    off = np.abs(np.log(found / new) if logarithmic else found - new)
    reach = (np.sinh(half) * found if logarithmic else half + 0 * found)[:, 1:]
    size = np.abs(new[:, 1:])
    error = np.median(np.abs(found - new)[:, 1:] / size)
    return float((off <= half)[:, 1:].all(axis=1).mean()), float(np.median(reach / size) / error)


def measure(problem: str, seed: int, curves: Path) -> None:
    """What came of all ways."""
    found = curves_of(problem, seed, curves)
    ways = {text: [measured(found, name, way) for name in CURVES] for text, way in WAYS.items()}
    keep({"part": "band_ways", "problem": problem, "seed": seed, "ways": ways})


if __name__ == "__main__":
    measure_all(measure, __doc__, curves={"type": Path, "required": True, "help": "folder for curves"})

"""The scores of `compare` as a table of plain text."""

from __future__ import annotations

import textwrap

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.scores import labels

# A score's spread over several ensembles is called as the score itself, with this ending.
SPREAD = "_spread"
CURVES_ONLY = "not defined: only scalar curves can be interpolated between runs"

# Columns of a footnote.
_WIDTH = 110


def verdict_table(scores: xr.Dataset) -> str:
    """The scores as plain text: one row per score and run, one column per reference; "-" where there is none.

    Scores of several ensembles are printed with their spread, as in "0.021 ± 0.003". References without any score are
    left out; lines below the table say why, and what a bootstrap is.

    Args:
        scores: what `compare` returned.

    Example:
        >>> from hoam_plugin.scores import verdict_table
        >>> table = verdict_table(hoam.compare(truth, truth, floor=truth))
        >>> table.splitlines()[0].split()
        ['score', 'run', 'surrogate', 'noise', 'floor', 'frozen']
    """
    own, names = _own_scores(scores), references_with_scores(scores)
    runs = labels.runs(ensembles.parameters(scores), scores.sizes["run"])
    lines = [["score", "run", *(name.replace("_", " ") for name in names)]]
    for score, array in own.items():
        spread = scores.get(f"{score}{SPREAD}", xr.full_like(array, np.nan))
        for run, label in enumerate(runs):
            pairs = [ds.sel(reference=names).isel(run=run).values.tolist() for ds in (array, spread)]
            title = score.replace("_", " ") if run == 0 else ""
            lines.append([title, label, *map(_cell, *pairs)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width for width in widths]
    rows = (
        [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))]
        for line in [lines[0], rule, *lines[1:]]
    )
    notes = [textwrap.fill(note, _WIDTH, subsequent_indent="  ") for note in footnotes(scores)]
    return "\n".join([*("  ".join(row).rstrip() for row in rows), *notes])


def references_with_scores(scores: xr.Dataset) -> list[str]:
    """The references of which there is any score."""
    own = _own_scores(scores).values()
    given = [str(reference) for reference in scores["reference"].values]
    return [name for name in given if any(array.sel(reference=name).notnull().any() for array in own)]


def footnotes(scores: xr.Dataset) -> list[str]:
    """What a bootstrap is, and why scores are missing."""
    own, names = _own_scores(scores), references_with_scores(scores)
    notes = []
    if "bootstrap" in names:
        said = scores.attrs.get("bootstrap", "no noise floor")
        notes.append(f"bootstrap: {said}; pass a second run of the truth as floor (--floor)")
    reasons: dict[tuple[str, str], list[str]] = {}
    for score, array in own.items():
        for reference in scores["reference"].values.tolist():
            if note := array.attrs.get(f"{reference}_note"):
                reasons.setdefault((reference, note), []).append(score.replace("_", " "))
    told: set[str] = set()
    for (reference, note), lacking in reasons.items():
        if reference in names:
            notes.append(f"{reference.replace('_', ' ')} of {', '.join(lacking)}: {note}")
        elif note != CURVES_ONLY and (reference == "interpolation" or (reference == "gaussian" and note not in told)):
            notes.append(f"no {reference}: {note}")
        told.add(note)
    return notes


def _own_scores(scores: xr.Dataset) -> dict[str, xr.DataArray]:
    return {
        str(name): array
        for name, array in scores.data_vars.items()
        if "reference" in array.dims and not str(name).endswith(SPREAD)
    }


def _cell(value: float, spread: float) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:.3g}" if np.isnan(spread) else f"{value:.3g} ± {spread:.1g}"

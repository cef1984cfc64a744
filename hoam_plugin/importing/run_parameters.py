"""Parameters of runs from where users keep them: a table beside the files, or the names of the files."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hoam_plugin._internal.files import as_path

# A column of these names says which run a row is of.
_RUN_COLUMNS = ("run", "path", "file", "folder", "directory")
_NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"


def parameters_of_table(table: str | Path, runs: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of numbers of a CSV table with a row per run.

    Args:
        table: path of the file, whose first row has the names.
        runs: paths. Where a column is called run, path, file, folder or directory, rows are found by it, else they are
            in the order of the runs.

    Raises:
        FileNotFoundError: there is no table.
        ValueError: no columns of numbers, another number of rows than runs, or a run without a row.
    """
    path = as_path(table, "table")
    if not path.is_file():
        raise FileNotFoundError(f"table={str(path)!r} does not exist; give a CSV file with a row per run")
    with path.open(newline="") as file:
        text = file.read()
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter, skipinitialspace=True))
    names = [name for name in (rows[0] if rows else {}) if name is not None]
    key = next((name for name in names if name.strip().lower() in _RUN_COLUMNS), None)
    chosen = rows if key is None else [_row_of(run, rows, key, path) for run in runs]
    if len(chosen) != len(runs):
        raise ValueError(
            f"table={str(path)!r} has {len(chosen)} rows, and there are {len(runs)} runs; give a row for each, or a "
            "column 'run' with their paths"
        )
    columns = {}
    for name in names:
        numbers = [_number(row[name]) for row in chosen]
        if name != key and all(number is not None for number in numbers):
            columns[name.strip()] = np.asarray(numbers, np.float64)
    if not columns:
        raise ValueError(f"table={str(path)!r} has no column of numbers, only {names!r}; give one per parameter")
    return columns


def parameters_of_paths(pattern: str, runs: Sequence[str]) -> dict[str, np.ndarray]:
    """Numbers in the paths of runs.

    Args:
        pattern: a part of the paths, with the names of the parameters in braces, as in "run_a{a}_b{b}".
        runs: paths.

    Raises:
        ValueError: no name in the pattern, or a path in which it does not occur.
    """
    pieces = re.split(r"\{(\w+)\}", pattern)
    names = pieces[1::2]
    if not names:
        raise ValueError(f"pattern={pattern!r} names no parameter; write it as in 'run_a{{a}}'")
    expression = re.compile("".join(_NUMBER if i % 2 else re.escape(piece) for i, piece in enumerate(pieces)))
    columns: dict[str, list[float]] = {name: [] for name in names}
    for run in runs:
        found = expression.search(run)
        if found is None:
            raise ValueError(f"pattern={pattern!r} does not occur in {run!r}; every run needs its numbers in its path")
        for name, text in zip(names, found.groups(), strict=True):
            columns[name].append(float(text))
    return {name: np.asarray(values) for name, values in columns.items()}


def _row_of(run: str, rows: Sequence[Mapping[str, str]], key: str, table: Path) -> Mapping[str, str]:
    """The row whose path is the run's, or the end or the beginning of it."""
    parts = Path(run).parts
    for row in rows:
        own = Path(row[key].strip()).parts
        if own and any(parts[i : i + len(own)] == own for i in range(len(parts) - len(own) + 1)):
            return row
    raise ValueError(f"table={str(table)!r} has no row for the run {run!r} in its column {key!r}; add one")


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None

"""Tables that grow row by row and outlive the command: a row that is there is not computed again."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import report

Row = dict[str, Any]


class Rows:
    """The rows of one table, as JSON lines, each appended as soon as it is known, and beside them the table itself.

    The file is read whenever it is needed, so that several commands may add to it at the same time.

    Args:
        path: of the JSON lines; the table is written to the same path with the ending `.md`.
        unit: names of the entries that say what a row is of.
        columns: header of a column -> entry of the row. Columns without any value are left out.
        heading: the lines above the table.
        order: by which key rows are sorted; without it as they came.
    """

    def __init__(
        self,
        path: Path,
        unit: Sequence[str],
        columns: Mapping[str, str],
        heading: str,
        order: Callable[[Row], Any] | None = None,
    ) -> None:
        self._path, self._unit, self._columns = path, tuple(unit), dict(columns)
        self._heading, self._order = heading, order

    def read(self) -> list[Row]:
        """All rows so far; the last one of every unit. A line that was cut off is none."""
        rows: dict[str, Row] = {}
        for line in self._path.read_text().splitlines() if self._path.exists() else []:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            rows[self._name(row)] = row
        return list(rows.values())

    def has(self, unit: Row) -> bool:
        """Whether the row of a unit is there."""
        return self._name(unit) in map(self._name, self.read())

    def add(self, unit: Row, values: Row) -> None:
        """Append a row, and write the table anew."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = self._path.read_text() if self._path.exists() else ""
        # After a line that was cut off, a new one begins.
        start = "\n" if text and not text.endswith("\n") else ""
        with self._path.open("a") as file:
            file.write(f"{start}{json.dumps(unit | values, allow_nan=False)}\n")
        self.write()

    def complete(self, units: Iterable[Row], compute: Callable[..., Row]) -> int:
        """Compute the rows that are not there yet, one after the other.

        An error leaves its row out, for the next call of the command, and does not keep the others from being computed.

        Args:
            units: what the rows are of.
            compute: takes the entries of a unit by name and gives the others.

        Returns:
            How many rows could not be computed.
        """
        failed = 0
        for unit in units:
            name = ", ".join(f"{key} {value}" for key, value in unit.items())
            if self.has(unit):
                print(f"there already: {name}", flush=True)
                continue
            try:
                values = compute(**unit)
            except Exception:
                traceback.print_exc()
                print(f"failed: {name}", flush=True)
                failed += 1
                continue
            self.add(unit, values)
            print(f"{name}: " + ", ".join(f"{key} {cell(value)}" for key, value in values.items()), flush=True)
        return failed

    def write(self) -> None:
        """The table of all rows, whole at any time."""
        rows = self.read() if self._order is None else sorted(self.read(), key=self._order)
        shown = {
            name: entry for name, entry in self._columns.items() if any(row.get(entry) is not None for row in rows)
        }
        cells = [[cell(row.get(entry)) for entry in shown.values()] for row in rows]
        aside = self._path.with_suffix(".md.part")
        aside.write_text(f"{self._heading}\n\n{report.table(list(shown), cells)}\n")
        aside.replace(self._path.with_suffix(".md"))

    def _name(self, row: Row) -> str:
        return json.dumps([row.get(name) for name in self._unit])


def cell(value: object) -> str:
    """Text of a cell: numbers to three digits, several in a row with slashes, "-" where there is none."""
    if isinstance(value, list):
        return " / ".join(map(cell, value)) or "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "-" if value is None else str(value).replace("|", "/").replace("\n", " ") or "-"

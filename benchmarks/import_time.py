"""Import time of `hoam_plugin` beside that of `jax` and `xarray`. Run by `python -m benchmarks.import_time`."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

from benchmarks import report

STATEMENTS = ("import jax, xarray", "import hoam_plugin", "import hoam_plugin, hoam_plugin.simulators")


def seconds(statement: str) -> float:
    """Time that the statement takes in a new process, without the start of the interpreter."""
    code = f"import time; start = time.perf_counter(); {statement}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Time the statements in turn, so that a busy moment of the machine does not fall on one alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    measured: dict[str, list[float]] = {statement: [] for statement in STATEMENTS}
    for repeat in range(repeats + 1):
        for statement in STATEMENTS:
            taken = seconds(statement)
            if repeat:
                measured[statement].append(taken)
    medians = {statement: statistics.median(values) for statement, values in measured.items()}
    base = medians[STATEMENTS[0]]
    rows = [[f"`{name}`", f"{value:.2f}", f"{value / base:.2f}"] for name, value in medians.items()]
    report.write(
        "import_time",
        f"# Import time\n\n`python -m benchmarks.import_time`: medians of {repeats} new processes each, in turn, "
        f"after a warm-up.\n\n{report.machine(['hoam-plugin', 'jax', 'xarray'])}\n\n"
        f"{report.table(['statement', 's', 'ratio'], rows)}",
    )


if __name__ == "__main__":
    main()

"""What the benchmarks share: timing, the description of the machine, and markdown tables."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of `call`, after one call that is not counted (compilation, caches)."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def machine(packages: Sequence[str]) -> str:
    """Processor, cores, date and versions, as one markdown line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = models[0] if models else model
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    today = datetime.datetime.now(datetime.UTC).date()
    return f"{model}, {os.cpu_count()} cores; Python {platform.python_version()}, {versions}; {today}."


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(name: str, text: str) -> None:
    """Print the result and keep it as `results/<name>.md`."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.md").write_text(text + "\n")
    print(text)


def section(name: str, heading: str) -> str:
    """The section of that heading of the result `results/<name>.md`, or ""."""
    path = RESULTS / f"{name}.md"
    return _parts(path.read_text() if path.exists() else "", heading)[1]


def write_section(name: str, heading: str, text: str) -> None:
    """Keep a text under its heading in `results/<name>.md`, in its place or at the end; the others stay."""
    before, _, after = _parts((RESULTS / f"{name}.md").read_text(), heading)
    write(name, f"{before.rstrip()}\n\n## {heading}\n\n{text.strip()}\n\n{after}".rstrip())


def _parts(page: str, heading: str) -> tuple[str, str, str]:
    """What stands before, in and after a section."""
    before, found, rest = page.partition(f"## {heading}\n")
    if not found:
        return page, "", ""
    own, mark, after = rest.partition("\n## ")
    return before, found + own, f"## {after}" if mark else ""

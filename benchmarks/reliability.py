"""What attacks on files and processes have come to. Run by `python -m benchmarks.reliability`.

`tests/campaigns` has the attacks. With `--only` the sections that are named are run, and the others stay as they are.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import report

CAMPAIGNS = Path(__file__).parents[1] / "tests" / "campaigns"
HOSTILE = {
    "models": "a surrogate (.hoam)",
    "checkpoints": "a checkpoint of a training",
    "stores": "an ensemble as a Zarr folder",
    "netcdf": "an ensemble as netCDF 4",
}
SAVED = {"model": "saving a surrogate", "store": "saving an ensemble, Zarr", "netcdf": "saving an ensemble, netCDF"}
LONG = {
    "fit": "`fit` with checkpoints",
    "long fit": "`fit` with checkpoints",
    "simulate": "`simulate(store=..., resume=True)`",
    "import": "`from_snapshots(store=...)`",
    "tree": "the same, runs of different times",
    "folds": "`cross_validate(store=...)`",
}
COMMANDS = {"fit": "hoam fit", "simulate": "hoam simulate --resume", "import": "hoam import", "demo": "hoam demo"}

_TITLE = "# Attacks on files and processes"

_HOSTILE = """
Three in ten are cut off at a random byte, of the others one to eight bits are turned over. *Refused* is an error of
one sentence; *unharmed* gives the same numbers to the bit; *changed* are other numbers without a word, of which there
may be none. A process that dies, hangs for 60 s or raises anything else ends the campaign. Memory is the growth of
the process's peak.
"""
_SAVED = """
Saved over older content, with SIGKILL before the first, second, ... opening to write, renaming, removal, making of a
folder or fsync, until a save comes through. Each time the path holds the old content or the new, whole, and after the
next save nothing else lies beside it.
"""
_SAVED_MOMENTS = """
Saved over older content, with SIGKILL at moments drawn between the begin and the end of an undisturbed save. Each time
the path holds the old content or the new, whole, and after the next save nothing else lies beside it.
"""
_OPERATIONS = """
Long work, with SIGKILL before the first, second, ... such operation in its folder, until it comes through. Each time
what lies under a final name is whole; the same call then goes on in another process to the numbers of undisturbed
work, to the bit, and nothing else lies beside them.
"""
_MOMENTS = """
The same, at moments drawn between the begin and the end of undisturbed work. *Not begun*: nothing was on disk yet;
*complete*: the result was.
"""
_SIGNALS = """
Ctrl-C or SIGTERM, one or the other at random, at moments drawn likewise. Each time the command ends with one
sentence, no traceback and the exit code 130 or 143 (or 0, *complete*); nothing hidden and nothing half-written lies
there, and the command goes on to the numbers of an undisturbed one, to the bit. *By force*: it was computing and was
not waited for. Processes are forks of one that has imported the package; the last line is of new ones, which get the
signal in their first 1.5 s, half of them in the first 0.2 s: *complete* is there the number that Python itself ended
(Ctrl-C with a traceback) before it had come to the first line of the command, which takes signals.
"""
_DISKS = """
Writing fails from a byte on (a limit on the size of files), at places from the first byte to nine tenths of the
largest file: an error of one line, the old content in place (or the work goes on to the same numbers), nothing beside
it.
"""
_READ_ONLY = """
Every operation on files is refused from the first, second, ... on, as on a disk that has become read-only: an error
of one line, what lies under the final name whole, and nothing beside it after the next save (or the work goes on to
the same numbers).
"""
_CONTESTS = """
Processes do the same to the same path at the same moment. New files: one writes, the others are refused with one
sentence. Overwriting: all write, the last one wins, and what is found is whole. Long work: one at a time, and who
comes later is refused, or finds it done.
"""
_THREADS = """
Threads fit, register, select (`use_surrogate`), swap jax-md's functions, write, read, stream and look at the same
things, each in an order of its own: results are those of one thread to the bit, no choice is another thread's, no
file is torn, and the filters of warnings are in the end what they were.
"""
_VERSIONS = """
The same computations from the same seeds with two sets of versions, {versions}: ensembles of simulators, roots of the
dispersion relation, and of two trainings (60 iterations) the samples, their scores and a derivative through `solve`.
The largest difference of any number, as a share of the largest number of its array (of a momentum: of the velocity
that the kinetic energy stands for).
"""


def campaign(script: str, *words: object) -> dict[str, object]:
    """Run one in a process of its own; what it found, and the seconds it took."""
    start = time.perf_counter()
    command = [sys.executable, str(CAMPAIGNS / script), *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    seconds = time.perf_counter() - start
    found: dict[str, object] = {"seconds": f"{seconds:.0f}"}
    if done.returncode:
        return {**found, "ended": f"with code {done.returncode}"}
    return {**found, **json.loads(done.stdout)}


def row(text: str, found: dict[str, object], *columns: str) -> list[str]:
    """One line of a table."""
    return [text, *(str(found.get(column, found.get("ended", 0))) for column in (*columns, "seconds"))]


def section(text: str, header: list[str], rows: list[list[str]]) -> str:
    """What was done, and the table."""
    return f"{text.strip()}\n\n{report.table(header, rows)}"


def hostile(n: int, seed: int) -> str:
    columns = ("refused", "unharmed", "changed", "memory_grown_mb")
    rows = []
    for kind, text in HOSTILE.items():
        first, *rest = row(text, campaign("hostile_files.py", kind, n, seed), *columns)
        rows.append([first, str(n), *rest])
    return section(_HOSTILE, ["file", "damaged", "refused", "unharmed", "changed", "memory, MB", "s"], rows)


def saved(n: int, seed: int) -> str:
    rows = [row(text, campaign("kills.py", "kill", kind), "operations", "old", "new") for kind, text in SAVED.items()]
    return section(_SAVED, ["work", "operations", "old content", "new content", "s"], rows)


def saved_moments(n: int, seed: int) -> str:
    often, columns = max(2, n // 10), ("kills", "old", "new")
    rows = [row(text, campaign("kills.py", "moments", kind, often, seed), *columns) for kind, text in SAVED.items()]
    return section(_SAVED_MOMENTS, ["work", "kills", "old content", "new content", "s"], rows)


_REACHED = ("kills", "not begun", "under way", "complete")


def operations(n: int, seed: int) -> str:
    kinds, stride = ("fit", "simulate", "import", "tree", "folds"), max(1, 1000 // n)
    rows = [row(LONG[kind], campaign("restarts.py", "operations", kind, stride), *_REACHED) for kind in kinds]
    return section(_OPERATIONS, [f"work, before one in {stride} operations", *_REACHED, "s"], rows)


def moments(n: int, seed: int) -> str:
    kinds, often = ("long fit", "simulate", "import", "folds"), max(2, n // 10)
    rows = [row(LONG[kind], campaign("restarts.py", "moments", kind, often, seed), *_REACHED) for kind in kinds]
    return section(_MOMENTS, ["work", *_REACHED, "s"], rows)


def signals(n: int, seed: int) -> str:
    columns = ("signals", "interrupted", "forced", "complete", "median_seconds", "longest_seconds")
    rows = []
    for kind, text in COMMANDS.items():
        found = campaign("signals.py", kind, max(2, n // 100) if kind == "demo" else n // 20, seed)
        rows.append(row(f"`{text}`", found, *columns))
    found = campaign("signals.py", "simulate", n // 50, seed, "begin")
    found |= {"complete": found.get("before Python ran our code", 0), "median_seconds": "-"}
    rows.append(row("`hoam simulate`, new processes", found, *columns))
    header = ["command", "signals", "interrupted", "by force", "complete", "median, s", "longest, s", "s in all"]
    seconds = found.get("seconds_before_our_code", "-")
    return f"{section(_SIGNALS, header, rows)}\n\nA new process takes {seconds} s to come to that line."


def disks(n: int, seed: int) -> str:
    found = {text: campaign("kills.py", "full", kind) for kind, text in SAVED.items() if kind != "netcdf"}
    rows = [row(text, one, "places", "old") for text, one in found.items()]
    for kind in ("fit", "simulate", "import"):
        one = campaign("restarts.py", "full", kind, max(3, n // 50))
        rows.append(row(LONG[kind], one | {"same": one.get("kills", 0)}, "kills", "same"))
    return section(_DISKS, ["work", "places", "old content, or went on", "s"], rows)


def read_only(n: int, seed: int) -> str:
    rows = [row(text, campaign("kills.py", "read_only", kind), "operations") for kind, text in SAVED.items()]
    stride = max(3, 3000 // n)
    found = {LONG[kind]: campaign("restarts.py", "read_only", kind, stride) for kind in ("fit", "simulate", "import")}
    rows += [row(f"{text}, from one in {stride} on", one, "kills") for text, one in found.items()]
    return section(_READ_ONLY, ["work", "operations", "s"], rows)


def contests(n: int, seed: int) -> str:
    rounds = max(1, n // 100)
    found = campaign("concurrency.py", "processes", 8, rounds, seed)
    kinds = found.get("found")
    ends = kinds if isinstance(kinds, dict) else {"all": {"written": found["ended"]}}
    rows = [[kind, *(str(one.get(end, 0)) for end in ("written", "refused"))] for kind, one in ends.items()]
    told = section(_CONTESTS, ["8 processes, the same path", "written", "refused"], rows)
    return f"{told}\n\n{rounds} times each, {found['seconds']} s in all."


def threads(n: int, seed: int) -> str:
    columns = ("fits", "selects", "registers", "swaps", "writes", "reads", "streams", "looks")
    found = campaign("concurrency.py", "threads", 16, max(1, n // 250), seed)
    header = ["", *columns, "failures", "s"]
    return section(_THREADS, header, [row("16 threads", found, *columns, "failures")])


def versions(other: str, n: int, seed: int) -> str:
    script = str(CAMPAIGNS / "versions.py")
    with tempfile.TemporaryDirectory() as folder:
        files = [str(Path(folder) / name) for name in ("other.npz", "own.npz")]
        for python, file in zip((other, sys.executable), files, strict=True):
            subprocess.run([python, script, "compute", file], check=True, cwd=CAMPAIGNS.parents[1])
        found = campaign("versions.py", "compare", *files)
    told, differences = found["versions"], found["differences"]
    assert isinstance(told, list)
    assert isinstance(differences, dict)
    named = " and ".join(", ".join(f"{name} {version}" for name, version in own.items()) for own in told)
    rows = [
        [name, *(f"{own[precision]:.1e}" for precision in ("double", "default"))] for name, own in differences.items()
    ]
    return section(_VERSIONS.format(versions=named), ["computation", "double precision", "single precision"], rows)


SECTIONS: dict[str, tuple[str, Callable[[int, int], str]]] = {
    "hostile": ("Damaged files", hostile),
    "saved": ("Killed between any two operations on files", saved),
    "saved_moments": ("Saving, killed at random moments", saved_moments),
    "operations": ("Long work, killed between any two operations on files", operations),
    "moments": ("Long work, killed at random moments", moments),
    "signals": ("Commands that are told to end", signals),
    "disks": ("Out of disk", disks),
    "read_only": ("Disks that become read-only", read_only),
    "contests": ("Several processes and one path", contests),
    "threads": ("Threads", threads),
}


def main() -> None:
    """Run campaigns, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="damaged files of each kind; of other attacks a part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--other", help="the Python of an environment with other versions, to compare numbers with")
    given = parser.parse_args()
    if given.other:
        SECTIONS["versions"] = "Two sets of versions", functools.partial(versions, given.other)
    done: dict[str, str] = {}
    machine = report.machine(["hoam-plugin", "jax", "xarray", "zarr", "netCDF4"])
    for name in [*given.only, *(["versions"] if given.other else [])]:
        heading, run = SECTIONS[name]
        told = f"--n {given.n} --seed {given.seed} --only {name}" if name != "versions" else "--only --other PYTHON"
        words = f"`python -m benchmarks.reliability {told}`; {machine}"
        done[heading] = f"{run(given.n, given.seed)}\n\n{words}"
        print(f"## {heading}\n\n{done[heading]}\n", flush=True)
    # As it is now, in case that others have been written meanwhile.
    page = report.RESULTS / "reliability.md"
    _, *parts = page.read_text().split("\n## ") if page.exists() else ["", ""]
    kept = {heading: body.strip() for heading, _, body in (part.partition("\n") for part in parts)} | done
    # In the order of this file; what others have written comes after.
    order = [heading for heading, _ in SECTIONS.values() if heading in kept]
    order += [heading for heading in kept if heading not in order]
    report.write("reliability", "\n\n".join([_TITLE, *(f"## {heading}\n\n{kept[heading]}" for heading in order)]))


if __name__ == "__main__":
    main()

"""What attacks on files have come to. Run by `python -m benchmarks.reliability`; `tests/campaigns` has the attacks."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import report

CAMPAIGNS = Path(__file__).parents[1] / "tests" / "campaigns"
HOSTILE = {
    "models": "a surrogate (.hoam)",
    "checkpoints": "a checkpoint of a training",
    "stores": "an ensemble as a Zarr folder",
    "netcdf": "an ensemble as netCDF 4",
}
KILLED = {"model": "saving a surrogate", "store": "saving an ensemble, Zarr", "netcdf": "saving an ensemble, netCDF"}

_OTHERS = ("Fuzz", "Trainings that run away", "Long runs")

_PAGE = """# Attacks on files

`python -m benchmarks.reliability --n {n} --seed {seed}`

{machine}

## Damaged files

Three in ten are cut off at a random byte, of the others one to eight bits are turned over. *Refused* is an error of
one sentence; *unharmed* gives the same numbers to the bit; *changed* are other numbers without a word, of which there
may be none. A process that dies, hangs for 60 s or raises anything else ends the campaign. Memory is the growth of the
process's peak.

{hostile}

## Killed between any two operations on files

Saved over older content, with SIGKILL before the first, second, ... opening to write, renaming, removal, making of a
folder or fsync, until a save comes through. Each time the path holds the old content or the new, whole, and after the
next save nothing else lies beside it.

{kills}

## Out of disk

Writing fails from a byte on (a limit on the size of files), at places from the first byte to the last: an OSError of
one line, the old content in place, nothing beside it.

{disks}

## What these attacks found when they were first run, and what was done

- Damaged ensembles gave other numbers without a word: 14 of 150 Zarr folders, 15 of 30 netCDF files. Both are written
  with checksums now, and netCDF files that are shorter than they say are refused (HDF5 reads what is cut off as fill
  values).
- An archive was read without a look at the sizes that it declares; what declares more than is there is refused before
  anything is read. A Zarr folder that names the codec `pickle` was left to zarr, of which 3.1 refuses it; it is refused
  before it is opened.
- What a process that was killed with SIGKILL had left stayed for ever; it goes at the next start. Folders are exchanged
  in one step where the system can, so that at no moment there is neither the old one nor the new.
"""


def campaign(script: str, *words: object) -> dict[str, object]:
    """Run one in a process of its own; what it found, and the seconds it took."""
    start = time.perf_counter()
    command = [sys.executable, str(CAMPAIGNS / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    found: dict[str, object] = {"seconds": f"{seconds:.0f}"}
    if done.returncode:
        return {**found, "ended": f"with code {done.returncode}"}
    return {**found, **json.loads(done.stdout)}


def main() -> None:
    """Run all campaigns, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000, help="damaged files of each kind")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    hostile = []
    for kind, text in HOSTILE.items():
        found = campaign("hostile_files.py", kind, given.n, given.seed)
        columns = ("refused", "unharmed", "changed", "memory_grown_mb", "seconds")
        hostile.append([text, str(given.n), *(str(found.get(c, found.get("ended", 0))) for c in columns)])
    kills, disks = [], []
    for kind, text in KILLED.items():
        found = campaign("kills.py", "kill", kind)
        kills.append(
            [text, *(str(found.get(c, found.get("ended", 0))) for c in ("operations", "old", "new", "seconds"))]
        )
        if kind != "netcdf":
            found = campaign("kills.py", "full", kind)
            disks.append([text, *(str(found.get(c, found.get("ended", 0))) for c in ("places", "old", "seconds"))])
    text = _PAGE.format(
        n=given.n,
        seed=given.seed,
        machine=report.machine(["hoam-plugin", "jax", "xarray", "zarr", "netCDF4"]),
        hostile=report.table(["file", "damaged", "refused", "unharmed", "changed", "memory, MB", "s"], hostile),
        kills=report.table(["work", "operations", "old content", "new content", "s"], kills),
        disks=report.table(["work", "places", "old content", "s"], disks),
    )
    # What other commands write stays.
    others = [report.section("reliability", heading) for heading in _OTHERS]
    report.write("reliability", "\n".join([text, *others]).rstrip())


if __name__ == "__main__":
    main()

"""What ensembles at random have come to: the section *Fuzz* of `results/reliability.md`.

`python -m benchmarks.fuzz` runs the campaigns of `tests/campaigns/ensembles_at_random.py`, and leaves other sections.
They are done in parts, each with the next seed; of parts whose outcome lies in the folder `--parts`, it is taken from
there.
"""

from __future__ import annotations

import argparse
import collections
import json
from pathlib import Path

from benchmarks import report
from benchmarks.reliability import campaign

# Ensembles of a part.
_PARTS = {"files": 1000, "fits": 100}
_COLUMNS = ("distinct", "accepted", "refused", "fallen")

_SECTION = """`python -m benchmarks.fuzz --files {files} --fits {fits} --seed {seed}`

{machine}

Plain ensembles of one to three runs, one to five times and up to twelve samples, to which hypothesis lets none to
four odd things happen: dims in any order, other dtypes (half precision, whole numbers, big endian, truth values,
complex, objects, texts, dates), names that are reserved, unusual or no texts, coordinates that are missing,
decreasing, repeated or of several levels, attributes of all types, encodings, pieces of dask, scales from 1e-30 to
1e30, offsets, NaN, infinities, fill values, empty dims, one of a dim, 2000 runs, diagnostics, rates and weights of
all sorts, and what is no Dataset.

*Files* go through `validate`, `check`, `save`, `load` (Zarr or netCDF) and, but for those of 2000 runs, `compare`;
three in ten are written by xarray, with their encoding, in place of `save` and `compare`.
*Fits*, of milder oddities and few shapes, trees of runs among them, go through `fit` (a tiny network, two
iterations), `save` and `load` of the model, `simulate` and `compare`. *Accepted* are those that came through and
were right: what was loaded is what was given, scores of the same samples in another order are 0, shapes are those
asked for, numbers are finite. *Refused* is a ValueError or TypeError that this package raised, of one line.
Anything else is a fall: an error of a dependency, a warning of one, a process that hangs for 60 s, something left
on disk, another answer.

{table}

{first}
"""

_FIRST = """What fell when such ensembles were first tried, and what was done:

- `save` and `load`: a column of objects along `run` came back as numbers, and so as a parameter; a variable that
  had the name of a dim was lost among the samples; zarr and netCDF4 raised errors of their own for complex numbers,
  half precision, attributes of other types, long names and such with control characters. All are refused by name
  now, before a file is opened; dates, and attributes by which readers change numbers, with them.
- `validate`: names that are no texts were a KeyError, quadrature weights that are texts or dates an error of NumPy,
  and some sentences had several lines or thousands of characters.
- `compare`: the same ensemble had NaN for its distance from itself where it has no spread, as with a single sample;
  0 now.
- `check`: overflows near the largest numbers of a precision.
- `sel_run`: of the parameters 1, 2 and 1e308, two runs were found for 1.
- `fit`: a parameter of 1e300 is infinite in single precision, and the loss was not a number; it is named before
  training.
- The first time that 10,000 *files* were run, seven fell, by warnings of dependencies: coordinates with a space in
  their name, which xarray writes as something else (two; refused now), objects that Dask holds (one; they are written
  as they are), times of half precision in another order of bytes (three; they become single precision), and a
  parameter that is infinite at all times (one).
"""


def row(kind: str, n: int, seed: int, parts: Path | None) -> list[str]:
    """One campaign, in parts."""
    counts, seconds, size = collections.Counter[str](), 0.0, _PARTS[kind]
    for i, start in enumerate(range(0, n, size)):
        found = part(kind, min(size, n - start), seed + i, parts)
        if "ended" in found:
            return [kind, str(n), *("-" for _ in _COLUMNS), f"seed {seed + i} ended {found['ended']}"]
        seconds += float(str(found["seconds"]))
        for name, value in found.items():
            if isinstance(value, int):
                counts["refused" if name.startswith("refused") else name] += value
    return [kind, str(n), *(str(counts[name]) for name in _COLUMNS), f"{seconds:.0f}"]


def part(kind: str, n: int, seed: int, parts: Path | None) -> dict[str, object]:
    """What came of so many with this seed, now or before."""
    kept = None if parts is None else parts / f"{kind}_{n}_{seed}.json"
    if kept is not None and kept.exists():
        before: dict[str, object] = json.loads(kept.read_text())
        return before
    found = campaign("ensembles_at_random.py", kind, n, seed)
    if kept is not None and "ended" not in found:
        kept.write_text(json.dumps(found))
    return found


def main() -> None:
    """Run both campaigns, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="ensembles that are checked, saved and loaded")
    parser.add_argument("--fits", type=int, default=300, help="ensembles that are learned from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parts", type=Path, help="folder for the outcomes of parts")
    given = parser.parse_args()
    sizes = {"files": given.files, "fits": given.fits}
    if given.parts is not None:
        given.parts.mkdir(parents=True, exist_ok=True)
    rows = [row(kind, n, given.seed, given.parts) for kind, n in sizes.items() if n]
    packages = ["hoam-plugin", "jax", "numpy", "xarray", "zarr", "netCDF4", "hypothesis"]
    text = _SECTION.format(
        files=given.files,
        fits=given.fits,
        seed=given.seed,
        machine=report.machine(packages),
        table=report.table(["through", "ensembles", *_COLUMNS, "s"], rows),
        first=_FIRST,
    )
    report.write_section("reliability", "Fuzz", text)


if __name__ == "__main__":
    main()

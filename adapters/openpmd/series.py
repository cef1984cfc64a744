"""Files of a run: which belong to its series, and what one is called in errors."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SUFFIXES = (".h5", ".bp", ".bp4", ".bp5", ".json", ".toml")


def series_of(run: str | os.PathLike[str]) -> str:
    """The name of a series, with %T for the number of an iteration, of a file, a pattern or a folder.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: a folder with files of several series, or a file of another kind.
    """
    text = os.path.expanduser(os.fspath(run))
    if "%T" in text or re.search(r"%\d*T", text):
        return text
    path = Path(text)
    if not path.exists():
        raise FileNotFoundError(f"run={text!r} does not exist; give a folder of openPMD files, a file, or a %T pattern")
    if path.suffix in _SUFFIXES:
        return text
    if path.is_file():
        raise ValueError(f"run={text!r} is no openPMD file by its name; give one that ends in {', '.join(_SUFFIXES)}")
    names = sorted(entry.name for entry in path.iterdir() if entry.suffix in _SUFFIXES)
    if not names:
        inner = [entry for entry in path.iterdir() if entry.is_dir()]
        if len(inner) == 1:
            return series_of(inner[0])
        raise FileNotFoundError(f"run={text!r} holds no openPMD files ({', '.join(_SUFFIXES)}); give their folder")
    patterns = {re.sub(r"\d+(?=\.\w+$)", "%T", name) for name in names}
    if len(patterns) > 1:
        shown = ", ".join(sorted(patterns)[:4])
        raise ValueError(f"run={text!r} holds files of several series, {shown}; name one, as in {path / min(patterns)}")
    return str(path / patterns.pop())


def file_of(series: str, iteration: int) -> str:
    """The file of an iteration, as far as it is known from the pattern."""
    if not re.search(r"%\d*T", series):
        return series
    folder = Path(series).parent
    before, after = re.split(r"%\d*T", Path(series).name, maxsplit=1)
    expression = re.compile(f"{re.escape(before)}0*{iteration}{re.escape(after)}$")
    found = [entry.name for entry in folder.iterdir() if expression.match(entry.name)] if folder.is_dir() else []
    return str(folder / (found[0] if found else f"{before}{iteration}{after}"))

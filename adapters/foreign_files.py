"""What readers of files have in common: extras that may be missing, and errors that name the file."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator, Sequence
from types import ModuleType

# A path, or several, of which each is a run.
Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def required(module: str, extra: str) -> ModuleType:
    """The module of an extra.

    Raises:
        ImportError: it is not installed; the error names the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{module} is not installed; it comes with the extra {extra!r}: python -m pip install "
            f"'hoam-plugin[{extra}]'"
        ) from error


def list_of(runs: object) -> list[object]:
    """The runs, of which one may be given as it is.

    Raises:
        ValueError: there is none.
    """
    found = list(runs) if isinstance(runs, Sequence) and not isinstance(runs, str) else [runs]
    if not found:
        raise ValueError("runs is empty; give the files of at least one run")
    return found


@contextlib.contextmanager
def naming(where: str, remedy: str) -> Iterator[None]:
    """Whatever a library raises while it reads, in one sentence that names the file.

    Raises:
        ValueError: in the place of the error, with what would be right.
    """
    try:
        yield
    except (ImportError, MemoryError):
        raise
    except ValueError as error:
        if str(error).startswith(where):
            raise
        raise ValueError(f"{where} cannot be read: {_one_line(error)}; {remedy}") from error
    except Exception as error:
        raise ValueError(f"{where} cannot be read: {_one_line(error)}; {remedy}") from error


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) < 300 else f"{text[:300]} ..."

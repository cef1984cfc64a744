"""From the text of command-line arguments to numbers, parameters, times and paths; imports no JAX."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter, Token

from hoam_plugin._internal.checks import positive_int
from hoam_plugin._internal.files import as_path, require_writable

# By these a folder that `hoam demo` wrote is recognised.
DEMO_FILES = ("model.hoam", "summary.txt")

# Before the name of a surrogate that comes with the package, where a stepper or a file is asked for.
PRETRAINED = "pretrained:"

_LARGEST = 2**63


def _whole(kind: object, tokens: Sequence[Token]) -> int:
    """Whole numbers as 25000, 25_000 or 25e3; cyclopts itself would round 1.5 silently."""
    number = float(tokens[0].value)
    if number != int(number):
        raise ValueError(f"{tokens[0].value!r} is not a whole number")
    if abs(number) >= _LARGEST:
        raise ValueError(f"{tokens[0].value!r} is too large; whole numbers lie below 2^63")
    return int(number)


Whole = Annotated[int, Parameter(converter=_whole)]
# A path, in which a leading ~ is the home folder: shells leave it alone in --output=~/truth.zarr.
Location = Annotated[Path, Parameter(converter=lambda _, tokens: as_path(tokens[0].value))]
Output = Annotated[Location, Parameter(name=("--output", "-o"))]
Overwrite = Annotated[bool, Parameter(negative=())]


def parse_parameters(texts: Sequence[str]) -> dict[str, float | np.ndarray]:
    """Physics parameters from `mu=1.4` (one value for all runs), `mu=1.25,1.85` or `mu=1.2:1.9:8`.

    Raises:
        ValueError: another form, or a name given twice.
    """
    parameters: dict[str, float | np.ndarray] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        numbers = _numbers(values)
        if not equals or not name.strip().isidentifier() or numbers is None:
            raise ValueError(
                f"--param={text!r} must look like mu=1.4, mu=1.25,1.85 or mu=1.2:1.9:8 (name=first:last:count)"
            )
        if name.strip() in parameters:
            raise ValueError(f"--param={text!r} gives {name.strip()!r} again; list all values in one, as mu=1.25,1.85")
        parameters[name.strip()] = numbers if "," in values or ":" in values else float(numbers[0])
    return parameters


def parse_times(text: str) -> np.ndarray:
    """Saved times from `0:40:129` (first:last:count) or `0,10,40`.

    Raises:
        ValueError: another form.
    """
    times = _numbers(text)
    if times is None:
        raise ValueError(f"--times={text!r} must look like 0:40:129 (first:last:count) or 0,10,40")
    return times


def _numbers(text: str) -> np.ndarray | None:
    """Numbers from `1.4`, `1.25,1.85` or `1.2:1.9:8`; None for anything else."""
    try:
        if ":" not in text:
            return np.asarray([float(part) for part in text.split(",")])
        first, last, count = text.split(":")
        return np.linspace(float(first), float(last), positive_int("count", int(count), 2))
    except ValueError:
        return None


def require_output(
    path: Path, *, overwrite: bool, inputs: Sequence[Path | None] = (), argument: str = "--output"
) -> Path:
    """Check, before any long work, that a command can write its result to `path`.

    Raises:
        FileExistsError: it exists and `overwrite` is false, or it is a folder that no command of ours wrote.
        OSError: its folder does not exist or cannot be written.
        ValueError: it is one of the inputs.
        ImportError: netCDF without the extra `netcdf`.
    """
    for source in inputs:
        if source is not None and source.exists() and path.exists() and source.samefile(path):
            raise ValueError(f"{argument}={str(path)!r} is also an input of this command; choose another path")
    require_writable(path, overwrite=overwrite, name=argument)
    if path.is_dir() and any(path.iterdir()) and not _is_ours(path):
        raise FileExistsError(
            f"{argument}={str(path)!r} is a folder that hoam did not write, so that --overwrite leaves it alone; "
            "choose another path"
        )
    if path.suffix:
        from hoam_plugin.ensembles import is_netcdf, require_netcdf

        if is_netcdf(path):
            require_netcdf()
    return path


def _is_ours(folder: Path) -> bool:
    """Whether a folder is a Zarr store or the demo's: only such a one may be replaced as a whole."""
    is_store = any((folder / name).is_file() for name in ("zarr.json", ".zgroup"))
    return is_store or all((folder / name).is_file() for name in DEMO_FILES)


def require_input(argument: str, path: Path | None) -> None:
    """Raise FileNotFoundError, naming the argument, where an input does not exist."""
    if path is not None and not path.exists():
        raise FileNotFoundError(f"{argument}={str(path)!r} does not exist; give the path of a saved ensemble")

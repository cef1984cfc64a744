"""Surrogates of the package's problems, trained by `python -m benchmarks.pretrained`."""

from __future__ import annotations

import contextlib
import importlib.resources
import json
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypedDict

from hoam_plugin._internal.checks import suggestion
from hoam_plugin.surrogates import Surrogate, load


class Measured(TypedDict):
    """What was measured when a surrogate was trained.

    Attributes:
        parameters: of the runs that were not trained on; name to values.
        scores: name to reference ("surrogate", "noise_floor") to one number per run, see `compare`.
        training: runs, samples, nodes and seed of the training, and the seconds that it took.
    """

    parameters: dict[str, list[float]]
    scores: dict[str, dict[str, list[float | None]]]
    training: dict[str, float | int | str]


def pretrained(name: str) -> Surrogate:
    """A small surrogate of one of the package's problems, trained beforehand: to try a swap without any training.

    `hoam info pretrained:two_stream` says how good it is at parameters that it was not trained on. For work of one's
    own, train one on one's own runs: these are of the problems with their default settings, and small.

    Args:
        name: of a problem, such as "two_stream".

    Raises:
        ValueError: there is none of this name.

    Example:
        >>> force = hoam.pretrained("two_stream")
        >>> force.ranges
        {'mu': (1.2, 1.9)}
        >>> with hoam.use_surrogate("two_stream", force):
        ...     chosen = hoam.stepper("two_stream")
        ...
        >>> chosen is force
        True
    """
    with file_of(name) as path:
        return load(path)


@contextlib.contextmanager
def file_of(name: str) -> Iterator[Path]:
    """The file of the surrogate of a problem; errors as `pretrained`."""
    if name not in names():
        raise ValueError(f"name={name!r} is not a surrogate that comes with hoam; {suggestion(str(name), names())}")
    with importlib.resources.as_file(_folder() / f"{name}.hoam") as path:
        yield path


def names() -> list[str]:
    """The problems of which there is a trained surrogate."""
    return sorted(file.name.removesuffix(".hoam") for file in _folder().iterdir() if file.name.endswith(".hoam"))


def measured(name: str) -> Measured:
    """How good the surrogate of a problem is, as measured when it was trained."""
    found: dict[str, Measured] = json.loads((_folder() / "scores.json").read_text())
    return found[name]


def _folder() -> Traversable:
    return importlib.resources.files("hoam_plugin.shipped") / "models"

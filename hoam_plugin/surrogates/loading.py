"""A surrogate from its file: `load`; and what it puts into one."""

from __future__ import annotations

import os

from hoam_plugin._internal.files import as_path
from hoam_plugin.steppers import Stepper, require_stepper
from hoam_plugin.surrogates import file_format
from hoam_plugin.surrogates.file_contents import contents_of, parts_of
from hoam_plugin.surrogates.surrogate import Surrogate
from hoam_plugin.surrogates.variants import provenance_of, runs_of


def load(path: str | os.PathLike[str], *, replaces: Stepper | None = None) -> Surrogate:
    """Read a surrogate written by `Surrogate.save`, with nothing else needed.

    Args:
        path: the file.
        replaces: the stepper whose place it takes; by default rebuilt from what the file says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is truncated, damaged or no surrogate, or `replaces` lacks one of its variables, or the known
            drift or noise that it was trained around.
        TypeError: it holds float64 weights and JAX is in 32-bit mode, or `replaces` is no stepper.

    Example:
        >>> import tempfile
        >>> path = model.save(tempfile.mkdtemp() + "/model.hoam")
        >>> hoam.load(path).ranges
        {'mu': (1.2, 1.6)}
    """
    if replaces is not None:
        require_stepper("replaces", replaces)
    path = as_path(path)
    found = file_format.read(path)
    with file_format.damage_named(path, own_words=True):
        return Surrogate(*parts_of(found, replaces))


def contents(model: Surrogate) -> file_format.Contents:
    """What `Surrogate.save` writes."""
    return contents_of(model.learned, model.trained, model.options, provenance_of(model), runs_of(model))

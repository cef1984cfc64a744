"""What has to happen once xarray is imported, which `import hoam_plugin` leaves to the first room that needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable

_waiting: list[Callable[[], object]] = []


def when_imported(action: Callable[[], object]) -> None:
    """Do something now, if xarray is imported, else when a module of this package says that it is."""
    # Not while it is being imported.
    if getattr(sys.modules.get("xarray"), "register_dataset_accessor", None) is not None:
        action()
    else:
        _waiting.append(action)


def imported() -> None:
    """Do what has waited. Said by the lowest of the modules that import xarray, which all others import."""
    while _waiting:
        _waiting.pop()()

"""Functions of later rooms that earlier ones offer as methods.

A room imports rooms before it only. The package itself, which knows all of them, says here where such functions are;
they load on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

_HOMES: dict[str, str] = {}


def provide(name: str, home: str) -> None:
    """Say that the function `name` is in the module `home`."""
    _HOMES[name] = home


def function(name: str) -> Callable[..., object]:
    """The function of that name."""
    found: Callable[..., object] = getattr(importlib.import_module(_HOMES[name]), name)
    return found

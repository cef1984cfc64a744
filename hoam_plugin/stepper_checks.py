"""Whether an argument is a stepper; the slips that users make instead, each with what would be right."""

from __future__ import annotations

import inspect
from typing import Any

_NEEDED = ("variables", "parameters", "dt", "horizon", "init", "step", "refresh")


def require_stepper(argument: str, value: Any) -> Any:
    """`value`, if it is a stepper.

    Raises:
        TypeError: it is a factory that has not been called, a text, or an object that lacks what steppers have.
    """
    if inspect.isroutine(value) or inspect.isclass(value):
        name = getattr(value, "__name__", repr(value))
        raise TypeError(f"{argument}={name} is a {_kind(value)} that makes steppers; call it, as in {name}()")
    missing = [name for name in _NEEDED if not hasattr(value, name)]
    if missing:
        hint = f"; hoam_plugin.stepper({value!r}) gives the one of this name" if isinstance(value, str) else ""
        lacks = ", ".join(map(repr, missing))
        raise TypeError(f"{argument}={value!r:.80} is no stepper: {type(value).__name__} has no {lacks}{hint}")
    return value


def _kind(value: Any) -> str:
    return "class" if inspect.isclass(value) else "function"

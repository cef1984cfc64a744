"""Whether what somebody passes as a stepper is one, in a sentence that says what to pass instead."""

from __future__ import annotations

import inspect
import os
from typing import cast

from hoam_plugin.steppers.contract import Stepper

_MEMBERS = ("variables", "parameters", "dt", "horizon", "init", "step", "refresh")


def require_stepper(argument: str, value: object) -> Stepper:
    """`value`, if it has all members of a `Stepper`.

    Args:
        argument: its name, for the message.
        value: what was passed.

    Raises:
        TypeError: a function or class that makes one, a name, a path or something else.
    """
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        raise TypeError(
            f"{argument}={text!r} is a text; pass the stepper itself: hoam_plugin.stepper({text!r}) by its name, or "
            "hoam_plugin.load(path) from a surrogate's file"
        )
    if inspect.isclass(value) or inspect.isroutine(value):
        kind = "class" if inspect.isclass(value) else "function"
        name = getattr(value, "__name__", type(value).__name__)
        raise TypeError(f"{argument}={name} is a {kind}, not a stepper; call it, as in {argument}={name}()")
    missing = [member for member in _MEMBERS if not hasattr(value, member)]
    if missing:
        raise TypeError(
            f"{argument} is of the type {type(value).__name__}, which is no stepper: it lacks {', '.join(missing)}; "
            "pass a simulator or a surrogate, such as hoam_plugin.stepper('two_stream')"
        )
    return cast(Stepper, value)

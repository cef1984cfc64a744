"""The command line `hoam`: its commands, and how errors, warnings and Ctrl-C end."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from cyclopts import App, CycloptsError

from hoam_plugin.cli import commands

EXIT_FAULT = 1
EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
# Set to anything, it shows where in the code a fault of ours happened.
TRACEBACK = "HOAM_TRACEBACK"

app = App(
    name="hoam",
    help="Learned population dynamics in a simulator's place: simulate, fit, compare. "
    "JAX's environment variables apply, such as JAX_ENABLE_X64=1 for double precision.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(commands.list_steppers, name="list")
app.command(commands.simulate)
app.command(commands.fit)
app.command(commands.compare)
app.command(commands.demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 after an error, 1 after a fault of ours, 130 after Ctrl-C.

    Args:
        arguments: the words after `hoam`; those of the process by default.
    """
    try:
        with _one_line_warnings():
            app(arguments, exit_on_error=False, print_error=False)
    except (CycloptsError, ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        _say("error", str(error))
        return EXIT_ERROR
    except MemoryError as error:
        _say("error", f"out of memory: {error}; take fewer samples, times or runs")
        return EXIT_ERROR
    except Exception as error:
        if TRACEBACK in os.environ:
            traceback.print_exc()
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(at.filename)}, line {at.lineno}"
        _say(
            "fault",
            f"{type(error).__name__}: {error} ({where}); this is a fault of hoam or of a stepper, which "
            f"{TRACEBACK}=1 hoam ... shows in full",
        )
        return EXIT_FAULT
    except KeyboardInterrupt as interrupt:
        _say("interrupted", str(interrupt) or "nothing was written")
        return EXIT_INTERRUPTED
    return 0


def _say(kind: str, message: str) -> None:
    line = " ".join(message.split())
    if "jax.config.update('jax_enable_x64'" in line:
        line += " (on the command line: JAX_ENABLE_X64=1 hoam ...)"
    print(f"hoam: {kind}: {line}", file=sys.stderr)


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    def show(message: Any, *_: Any, **__: Any) -> None:
        _say("warning", str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield

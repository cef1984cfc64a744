"""The command line `hoam`: its commands, and how errors, warnings and Ctrl-C end."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence

from cyclopts import App, CycloptsError

from hoam_plugin._internal.checks import detail_of
from hoam_plugin.cli.compare import compare
from hoam_plugin.cli.demo import demo
from hoam_plugin.cli.fit import fit
from hoam_plugin.cli.listing import list_steppers
from hoam_plugin.cli.simulate import simulate
from hoam_plugin.compiled_code import keep_in_new_process

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
app.command(list_steppers, name="list")
for command in (simulate, fit, compare, demo):
    app.command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 after an error, 1 after a fault of ours, 130 after Ctrl-C.

    Args:
        arguments: the words after `hoam`; those of the process by default.
    """
    try:
        with _one_line_warnings():
            keep_in_new_process()
            app(arguments, exit_on_error=False, print_error=False)
    except (CycloptsError, ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        _say("error", _with_remedy(error))
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
    print(f"hoam: {kind}: {' '.join(message.split())}", file=sys.stderr)


def _with_remedy(problem: Exception) -> str:
    """What an error or a warning says, and how to do on the command line what it advises."""
    environment = detail_of(problem, "environment")
    if environment is None:
        return str(problem)
    settings = " ".join(f"{name}={value}" for name, value in environment.items())
    return f"{problem} (on the command line: {settings} hoam ...)"


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    def show(message: Warning | str, *_: object, **__: object) -> None:
        _say("warning", message if isinstance(message, str) else _with_remedy(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield

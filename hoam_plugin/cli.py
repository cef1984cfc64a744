"""The command line `hoam`: its commands, and how errors, warnings and Ctrl-C end."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from cyclopts import App, CycloptsError

from hoam_plugin import cli_commands

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

app = App(
    name="hoam",
    help="Learned population dynamics in a simulator's place: simulate, fit, compare. "
    "JAX's environment variables apply, such as JAX_ENABLE_X64=1 for double precision.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(cli_commands.list_steppers, name="list")
app.command(cli_commands.simulate)
app.command(cli_commands.fit)
app.command(cli_commands.compare)
app.command(cli_commands.demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 after an error, 130 after Ctrl-C.

    Args:
        arguments: the words after `hoam`; those of the process by default.
    """
    try:
        with _one_line_warnings():
            app(arguments, exit_on_error=False, print_error=False)
    except (CycloptsError, ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        _say("error", str(error))
        return EXIT_ERROR
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

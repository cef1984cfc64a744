"""The command line `hoam`: its commands, and how errors, warnings and Ctrl-C end."""

from __future__ import annotations

import contextlib
import importlib.metadata
import inspect
import logging
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter

from hoam_plugin._internal import ending, freed_memory
from hoam_plugin._internal.checks import detail_of
from hoam_plugin._internal.logs import LOGGER, without_progress
from hoam_plugin.cli import configuration
from hoam_plugin.cli.check import check
from hoam_plugin.cli.compare import compare
from hoam_plugin.cli.demo import demo
from hoam_plugin.cli.fit import fit
from hoam_plugin.cli.import_runs import import_runs
from hoam_plugin.cli.information import info
from hoam_plugin.cli.listing import list_steppers
from hoam_plugin.cli.messages import messages_on_stderr, say_failure, set_loudness
from hoam_plugin.cli.parsing import Location
from hoam_plugin.cli.report import report
from hoam_plugin.cli.simulate import simulate
from hoam_plugin.cli.trust import propose, validate
from hoam_plugin.compiled_code import keep_in_new_process

EXIT_FAULT = 1
EXIT_ERROR = 2
# Set to anything, it shows where in the code a fault of ours happened.
TRACEBACK = "HOAM_TRACEBACK"

app = App(
    name="hoam",
    help="Learned population dynamics in a simulator's place: simulate, fit, compare. "
    "JAX's environment variables apply, such as JAX_ENABLE_X64=1 for double precision.",
    version=lambda: importlib.metadata.version("hoam-plugin"),
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(list_steppers, name="list")
app.command(info)
app.command(check)
app.command(import_runs, name="import")
# They write results, beside which their options are kept.
_WRITING = (simulate, fit, compare, validate, propose, report, demo)
for writing in _WRITING:
    app.command(writing)
app.register_install_completion_command(help="Install completion of hoam's words for this shell (bash, zsh, fish).")
app.meta.suppress_keyboard_interrupt = False
_OF_ALL = Group("Options of all commands", sort_key=10)


@app.meta.default
def run(
    *words: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Location | None, Parameter(group=_OF_ALL)] = None,
    quiet: Annotated[bool, Parameter(name=("--quiet", "-q"), negative=(), group=_OF_ALL)] = False,
    verbose: Annotated[bool, Parameter(name=("--verbose", "-v"), negative=(), group=_OF_ALL)] = False,
) -> None:
    """Run a command.

    Args:
        words: the command and its own options.
        config: take options from this file (.toml, .yaml or .json) with a table for each command, such as a
            RESULT.config.toml beside a result; options that are given here as well go before it.
        quiet: say nothing but warnings, errors and results.
        verbose: also say what was chosen, and show where in the code a fault of ours happened.
    """
    if quiet and verbose:
        raise ValueError("--quiet and --verbose were both given; choose one")
    set_loudness("quiet" if quiet else "verbose" if verbose else "normal")
    app.config = () if config is None else (configuration.ConfigurationFile(config),)
    try:
        command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    finally:
        app.config = ()
    with without_progress() if quiet else contextlib.nullcontext():
        _with_options_kept(command, bound)


def _with_options_kept(command: Callable[..., object], bound: inspect.BoundArguments) -> None:
    """Run a command; where it writes a result, also one that is not complete, its options are written beside it."""
    bound.apply_defaults()
    output = bound.arguments.get("output")
    if command not in _WRITING or not isinstance(output, Path):
        command(*bound.args, **bound.kwargs)
        return
    place, before, options = configuration.required_place(output), _state_of(output), configuration.used_options(bound)
    LOGGER.debug("%s: %s", command.__name__, ", ".join(f"{name} = {value}" for name, value in options.items()))
    complete = False
    try:
        command(*bound.args, **bound.kwargs)
        complete = True
    except KeyboardInterrupt as interrupt:
        if str(interrupt) or _state_of(output) == before:
            raise
        raise KeyboardInterrupt(f"{str(output)!r} was complete, and is kept") from interrupt
    finally:
        if complete or _state_of(output) != before:
            configuration.write_used(place, command.__name__, options)


def _state_of(path: Path) -> tuple[int, int] | None:
    """Changes when something else takes the path, or another file or folder is put into it."""
    if not path.exists():
        return None
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    It is 0, 2 after an error, 1 after a fault of ours, 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP.

    Args:
        arguments: the words after `hoam`; those of the process by default.
    """
    with messages_on_stderr(_with_remedy), ending.by_signals() as ended:
        try:
            freed_memory.keep_little()
            keep_in_new_process()
            app.meta(arguments, exit_on_error=False, print_error=False)
        except (Exception, KeyboardInterrupt) as error:
            # What Ctrl-C raises may come out as something else, such as a failed import.
            if ended.number is not None or isinstance(error, KeyboardInterrupt):
                told = str(error) if isinstance(error, KeyboardInterrupt) else ""
                say_failure("interrupted", told or "nothing was written")
                return ended.exit_code
            return _said_of(error)
        return 0


def _said_of(error: Exception) -> int:
    """Say why the command failed; the exit code."""
    if isinstance(error, CycloptsError | ValueError | TypeError | OSError | ImportError | FloatingPointError):
        say_failure("error", _with_remedy(error))
        return EXIT_ERROR
    if isinstance(error, MemoryError):
        say_failure("error", f"out of memory: {error}; take fewer samples, times or runs")
        return EXIT_ERROR
    if TRACEBACK in os.environ or LOGGER.isEnabledFor(logging.DEBUG):
        traceback.print_exception(error)
    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(at.filename)}, line {at.lineno}"
    say_failure(
        "fault",
        f"{type(error).__name__}: {error} ({where}); this is a fault of hoam or of a stepper, which "
        f"hoam --verbose shows in full, as {TRACEBACK}=1 hoam ... does",
    )
    return EXIT_FAULT


def _with_remedy(problem: Exception) -> str:
    """What an error or a warning says, and how to do on the command line what it advises."""
    environment = detail_of(problem, "environment")
    if environment is None:
        return str(problem)
    settings = " ".join(f"{name}={value}" for name, value in environment.items())
    return f"{problem} (on the command line: {settings} hoam ...)"

"""Options from a file, and the options of a command written beside its result; imports no JAX."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Token
from cyclopts.config import Dict, Json, Toml, Yaml

from hoam_plugin._internal.checks import suggestion
from hoam_plugin._internal.files import written_aside

if TYPE_CHECKING:
    from cyclopts import App, ArgumentCollection
    from cyclopts.config._common import ConfigFromFile

_READERS: dict[str, Callable[..., ConfigFromFile]] = {".toml": Toml, ".yaml": Yaml, ".yml": Yaml, ".json": Json}
# What is done about files that exist is said anew for every run.
_NOT_KEPT = ("overwrite", "resume")
_FIRST_LINE = "# Written by hoam"
ENDING = ".config.toml"
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


class ConfigurationFile:
    """Options of commands from a file with a table for each command; those of the command line go before them.

    Args:
        path: a TOML, YAML or JSON file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: another kind of file.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in _READERS:
            raise ValueError(f"--config={str(path)!r} must end in one of {', '.join(_READERS)}")
        if not path.is_file():
            raise FileNotFoundError(f"--config={str(path)!r} does not exist; give the path of a configuration file")
        self._reader = _READERS[path.suffix](path, must_exist=True)
        self._path = path

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Give the arguments that have no value on the command line that of the file; called by cyclopts.

        Raises:
            ValueError: the file has no table for the command.
        """
        tables = self._reader.config or {}
        if not commands:
            return
        if not isinstance(tables, Mapping) or not isinstance(tables.get(commands[0]), Mapping):
            known = tables if isinstance(tables, Mapping) else ()
            raise ValueError(
                f"--config={str(self._path)!r} has no table {commands[0]!r}; {suggestion(commands[0], map(str, known))}"
            )
        options, source = dict(tables[commands[0]]), str(self._path)
        positional = [a for a in arguments if a.field_info.kind in _POSITIONAL]
        given = any(argument.tokens for argument in positional)
        for argument in positional:
            value = options.pop(argument.field_info.name, [])
            # Those of the command line replace them as a whole.
            for index, word in enumerate([] if given else value if isinstance(value, list) else [value]):
                argument.append(Token(value=str(word), source=source, index=index))
        Dict({commands[0]: options}, source=source)(app, commands, arguments)


def required_place(output: Path) -> Path:
    """Where the options of the command that makes an output will be written; checked before any work.

    Raises:
        FileExistsError: somebody else's file is there.
    """
    path = output.parent / f"{output.name}{ENDING}"
    if path.exists() and not (path.is_file() and path.read_text(errors="replace").startswith(_FIRST_LINE)):
        raise FileExistsError(f"{str(path)!r} is where the options would go, and hoam did not write it; move it away")
    return path


def used_options(bound: inspect.BoundArguments) -> dict[str, object]:
    """The options of a command by name, defaults among them; those that are None are left out."""
    bound.apply_defaults()
    pairs: list[tuple[str, object]] = []
    for name, value in bound.arguments.items():
        is_group = dataclasses.is_dataclass(value) and not isinstance(value, type)
        pairs += vars(value).items() if is_group else [(name, value)]
    return {
        name.replace("_", "-"): value
        for name, value in pairs
        if value is not None and value != () and name not in _NOT_KEPT
    }


def write_used(path: Path, command: str, options: Mapping[str, object]) -> None:
    """Write the options as a configuration file, aside first and then renamed."""
    lines = [
        f"{_FIRST_LINE} {importlib.metadata.version('hoam-plugin')}; `hoam {command} --config FILE` runs it again.",
        f"[{command}]",
        *(f"{name} = {_as_toml(value)}" for name, value in options.items()),
    ]
    with written_aside(path) as aside:
        aside.write_text("\n".join(lines) + "\n")


def _as_toml(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    # A string of JSON is one of TOML, and so are its numbers and truth values.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)

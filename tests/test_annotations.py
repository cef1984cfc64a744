"""Annotations can be evaluated: `typing.get_type_hints` and the import hook of older jaxtyping do so."""

import importlib
import inspect
import pkgutil
import sys
import types
import typing
from collections.abc import Iterator

import hoam_plugin


def functions() -> Iterator[types.FunctionType]:
    """Of all modules, and the methods of their classes."""
    for found in pkgutil.walk_packages(hoam_plugin.__path__, "hoam_plugin."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in sorted(name for name in sys.modules if name.startswith("hoam_plugin.")):
        module = sys.modules[name]
        for one in vars(module).values():
            inner = vars(one).values() if inspect.isclass(one) and one.__module__ == name else [one]
            for each in inner:
                function = inspect.unwrap(each) if callable(each) else None
                if isinstance(function, types.FunctionType) and function.__module__ == name:
                    yield function


def test_annotations_can_be_evaluated() -> None:
    wrong, n_functions = [], 0
    for function in functions():
        n_functions += 1
        try:
            typing.get_type_hints(function, include_extras=True)
        except NameError:
            # Of what is imported for type checkers alone.
            continue
        except Exception as error:
            wrong.append(f"{function.__module__}.{function.__qualname__}: {error!r}")
    assert n_functions > 1000
    assert not wrong, "\n".join(wrong)

"""Frozen dataclasses as pytrees, most of whose fields are static."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def pytree(*, data: tuple[str, ...] = (), eq: bool = True, repr: bool = True) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass and a pytree whose children are the fields in `data`; all others are static.

    Static fields are part of the structure: they have to be hashable, and other values compile anew.

    Args:
        data: names of the fields that hold arrays or other pytrees.
        eq: compare, and hash, by the fields; else by identity.
        repr: make a `__repr__` of all fields.
    """

    def made(cls: type[T]) -> type[T]:
        decorated = dataclasses.dataclass(frozen=True, eq=eq, repr=repr)(cls)
        # mypy takes `decorated` for any class, which `dataclasses.fields` does not.
        names = [name for name, field in decorated.__dataclass_fields__.items() if field.init]  # type: ignore[attr-defined]
        missing = set(data) - set(names)
        if missing:
            raise TypeError(f"data={data!r} names {sorted(missing)!r}, which {cls.__name__} has no field of")
        jax.tree_util.register_dataclass(
            decorated, [n for n in names if n in data], [n for n in names if n not in data]
        )
        return decorated

    return made

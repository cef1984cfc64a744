"""Frozen dataclasses as pytrees, most of whose fields are static."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar, dataclass_transform

import jax

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def pytree(
    *, data: tuple[str, ...] = (), dropped: tuple[str, ...] = (), eq: bool = True, repr: bool = True
) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass and a pytree whose children are the fields in `data`; all others are static.

    Static fields are part of the structure: they have to be hashable, and other values compile anew.

    Args:
        data: names of the fields that hold arrays or other pytrees.
        dropped: names of fields that are no part of the pytree: what comes out of compiled code has their defaults.
        eq: compare, and hash, by the fields; else by identity.
        repr: make a `__repr__` of all fields.
    """

    def made(cls: type[T]) -> type[T]:
        decorated = dataclasses.dataclass(frozen=True, eq=eq, repr=repr)(cls)
        # mypy takes `decorated` for any class.
        names = [field.name for field in dataclasses.fields(decorated) if field.init]  # type: ignore[arg-type]
        missing = {*data, *dropped} - set(names)
        if missing:
            raise TypeError(
                f"data={data!r} and dropped={dropped!r} name {sorted(missing)!r}, which {cls.__name__} has no field of"
            )
        jax.tree_util.register_dataclass(
            decorated,
            [name for name in names if name in data],
            [name for name in names if name not in (*data, *dropped)],
            # jax 0.7 to 0.9 take every item for a collection of names, later versions for a name.
            drop_fields=(*dropped, dropped),  # type: ignore[arg-type]
        )
        return decorated

    return made

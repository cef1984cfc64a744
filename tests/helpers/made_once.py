"""What many tests share, made by the first one that asks for it."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

T = TypeVar("T")


def made_once(make: Callable[..., T]) -> Callable[..., T]:
    """`make`, called once for equal arguments, in single precision also where a test in double precision asks first.

    Keys draw other numbers in double precision, so that all would depend on which test of a worker comes first.
    """

    @functools.cache
    @functools.wraps(make)
    def made(*args: Any, **kwargs: Any) -> T:
        before = jax.config.jax_enable_x64
        jax.config.update("jax_enable_x64", False)
        try:
            return make(*args, **kwargs)
        finally:
            jax.config.update("jax_enable_x64", before)

    return made

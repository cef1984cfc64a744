"""How jax-md is imported, and the settings that its functions need."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from types import ModuleType

import jax


def jax_md_simulate() -> ModuleType:
    """The module `jax_md.simulate`.

    Raises:
        ImportError: without the extra `jax-md`.
    """
    return _module("simulate")


def jax_md_quantity() -> ModuleType:
    """The module `jax_md.quantity`.

    Raises:
        ImportError: without the extra `jax-md`.
    """
    return _module("quantity")


def _module(name: str) -> ModuleType:
    try:
        # Importing jax-md computes on arrays: outside of whatever is being traced.
        with jax.ensure_compile_time_eval(), usual_promotions():
            return importlib.import_module(f"jax_md.{name}")
    except ImportError as error:
        raise ImportError(
            "the jax-md adapter needs the extra 'jax-md': python -m pip install 'hoam-plugin[jax-md]'"
        ) from error


@contextlib.contextmanager
def usual_promotions() -> Iterator[None]:
    """JAX's default promotion of dtypes and ranks, which jax-md and functions written for it rely on."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield

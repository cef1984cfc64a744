"""Checks of user input: one sentence that names the argument, shows the value and says what would be right."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def suggestion(name: str, known: Iterable[str]) -> str:
    """A clause that names near matches, or all known names when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known names: " + (", ".join(repr(n) for n in known) or "none")


def positive_int(name: str, value: Any, least: int = 1) -> int:
    """`value` as an int of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name}={value!r} must be a whole number of at least {least}")
    return int(value)


def positive_float(name: str, value: Any) -> float:
    """`value` as a finite float above zero."""
    number = _float_or_nan(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name}={value!r} must be a finite number above 0")
    return number


def finite_float(name: str, value: Any) -> float:
    """`value` as a finite float."""
    number = _float_or_nan(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}={value!r} must be a finite number")
    return number


def _float_or_nan(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def random_key(value: Any, name: str = "key") -> Any:
    """`value`, if it is a JAX random key (of the new or the old style).

    Raises:
        TypeError: it is something else, such as a whole number.
    """
    import jax  # the command line's help needs no JAX

    dtype = getattr(value, "dtype", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) and value.ndim == 0
    if typed or (dtype == np.uint32 and value.ndim == 1):
        return value
    raise TypeError(
        f"{name}={value!r} must be a JAX random key, such as jax.random.key({value if _is_whole(value) else 0})"
    )


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def parameter_row(parameters: Any, expected: Sequence[str]) -> dict[str, Any]:
    """The physics parameters of one run as scalars, in the order of `expected`; values of shape (1,) count as such.

    Raises:
        ValueError: unknown or missing names, or a value that is no scalar.
        TypeError: not a mapping, or a value that is no number.
    """
    import jax

    _require_names(parameters, expected)
    row = {}
    for name in expected:
        value = parameters[name]
        if not isinstance(value, jax.Array):
            value = numeric_array(f"parameters[{name!r}]", value)
        if math.prod(value.shape) != 1:
            raise ValueError(
                f"parameters[{name!r}] has the shape {value.shape}; it must be one number here, and jax.vmap or "
                "simulate runs several"
            )
        row[name] = value.reshape(())
    return row


def numeric_array(name: str, value: Any) -> np.ndarray:
    """`value` as a float64 array."""
    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r} must be a number or a list of numbers") from error


def parameter_table(parameters: Any, expected: Sequence[str]) -> dict[str, np.ndarray]:
    """Physics parameters as equally long float64 columns, one row per run; scalars broadcast; {} gives one row.

    Raises:
        ValueError: unknown or missing names, unequal lengths, empty or non-finite columns.
        TypeError: not a mapping.
    """
    _require_names(parameters, expected)
    columns = {name: np.atleast_1d(numeric_array(f"parameters[{name!r}]", parameters[name])) for name in expected}
    for name, column in columns.items():
        if column.ndim != 1 or column.size == 0 or not np.isfinite(column).all():
            raise ValueError(f"parameters[{name!r}]={parameters[name]!r} must be a non-empty list of finite numbers")
    lengths = {name: column.size for name, column in columns.items() if np.ndim(parameters[name]) > 0}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"parameters have unequal lengths {lengths!r}; rows are runs, so give equally long lists")
    n_runs = max((column.size for column in columns.values()), default=1)
    return {name: np.broadcast_to(column, (n_runs,)) for name, column in columns.items()}


def _require_names(parameters: Any, expected: Sequence[str]) -> None:
    if not isinstance(parameters, Mapping):
        raise TypeError(f"parameters={parameters!r} must be a dict of name to values, such as {{'mu': [1.2, 1.3]}}")
    for name in parameters:
        if name not in expected:
            raise ValueError(f"parameters has the unknown name {name!r}; {suggestion(str(name), expected)}")
    missing = [name for name in expected if name not in parameters]
    if missing:
        raise ValueError(f"parameters={dict(parameters)!r} lacks {missing!r}; this stepper needs {list(expected)!r}")


def increasing_times(name: str, times: Any) -> np.ndarray:
    """`times` as a one-dimensional, finite, strictly increasing float64 array."""
    array = numeric_array(name, times)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; it must be a one-dimensional, non-empty list of times")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds {array[~np.isfinite(array)][0]!r}; every time must be finite")
    back = np.flatnonzero(np.diff(array) <= 0)
    if back.size:
        i = int(back[0])
        raise ValueError(
            f"{name} must be strictly increasing, but {name}[{i + 1}]={float(array[i + 1])!r} "
            f"follows {name}[{i}]={float(array[i])!r}"
        )
    return array

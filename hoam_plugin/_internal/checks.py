"""Checks of user input: one sentence that names the argument, shows the value and says what would be right.

The errors are plain `ValueError` and `TypeError`. What their sentence is made of is on them too, for programs that have
other names for the arguments; see `refusal`.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    import jax  # the command line's help needs no JAX

ErrorT = TypeVar("ErrorT", bound=Exception)
ValueT = TypeVar("ValueT")

_LONGEST_SHOWN = 300


def suggestion(name: str, known: Iterable[str]) -> str:
    """A clause that names near matches, or all known names when none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "known names: " + (", ".join(repr(n) for n in known) or "none")


def refusal(
    kind: type[ErrorT], name: str, value: object, wanted: str, *, of: str = "", shown: str | None = None
) -> ErrorT:
    """The error `name=value must be wanted`, to be raised.

    Args:
        kind: its class.
        name: of the argument; the error's `argument`.
        value: what was given; the error's `value`.
        wanted: what would be right, after "must be".
        of: whose argument it is, such as "of variable 'x'".
        shown: the value in the sentence; its repr by default.
    """
    whose = f" {of}" if of else ""
    said = in_short(value) if shown is None else shown
    return with_details(kind(f"{name}={said}{whose} must be {wanted}"), argument=name, value=value)


def in_short(value: object) -> str:
    """The repr of a value on one line, cut where it is long, as a sentence takes it."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]} ..."


def with_details(error: ErrorT, **details: object) -> ErrorT:
    """The error with attributes that say in parts what its message says in words.

    Known ones: `argument` and `value`, what was refused; `environment`, variables of the environment under which it
    would have been right.
    """
    vars(error).update(details)
    return error


def detail_of(error: BaseException | None, name: str) -> Any:
    """An attribute of an error, or of the one that it was raised from; None where there is none."""
    while error is not None:
        if name in vars(error):
            return vars(error)[name]
        error = error.__cause__
    return None


# Numbers


def positive_int(name: str, value: object, least: int = 1) -> int:
    """`value` as an int of at least `least`."""
    if isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= least:
        return int(value)
    raise refusal(ValueError, name, value, f"a whole number of at least {least}")


def positive_float(name: str, value: object, *, of: str = "", wanted: str = "a finite number above 0") -> float:
    """`value` as a finite float above zero; `of` and `wanted` word the error, see `refusal`."""
    number = _float_or_nan(value)
    if not (math.isfinite(number) and number > 0):
        raise refusal(ValueError, name, value, wanted, of=of)
    return number


def non_negative_float(
    name: str, value: object, *, of: str = "", wanted: str = "a finite number of at least 0"
) -> float:
    """`value` as a finite float of at least zero; `of` and `wanted` word the error, see `refusal`."""
    number = _float_or_nan(value)
    if not (math.isfinite(number) and number >= 0):
        raise refusal(ValueError, name, value, wanted, of=of)
    return number


def finite_float(name: str, value: object, *, of: str = "", wanted: str = "a finite number") -> float:
    """`value` as a finite float; `of` and `wanted` word the error, see `refusal`."""
    number = _float_or_nan(value)
    if not math.isfinite(number):
        raise refusal(ValueError, name, value, wanted, of=of)
    return number


def increasing_pair(
    name: str, value: object, *, of: str = "", wanted: str = "increasing and finite"
) -> tuple[float, float]:
    """`value` as two finite floats, the first below the second; `of` and `wanted` word the error, see `refusal`."""
    pair = tuple(map(_float_or_nan, value)) if isinstance(value, Iterable) else ()
    if len(pair) != 2 or not (all(map(math.isfinite, pair)) and pair[0] < pair[1]):
        raise refusal(ValueError, name, value, wanted, of=of, shown=repr(pair) if len(pair) == 2 else None)
    return pair


def _float_or_nan(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


# Choices and kinds


def one_of(name: str, value: ValueT, choices: Iterable[object]) -> ValueT:
    """`value`, if it is among the choices, which the error lists."""
    known = tuple(choices)
    if value not in known:
        raise refusal(ValueError, name, value, f"one of {', '.join(map(repr, known))}")
    return value


def either(name: str, value: ValueT, *choices: object) -> ValueT:
    """As `one_of`, of two or three choices: "must be 'quiet' or 'random'"."""
    if value not in choices:
        *first, last = map(repr, choices)
        raise refusal(ValueError, name, value, f"{', '.join(first)} or {last}")
    return value


def of_type(name: str, value: ValueT, kinds: type | tuple[type, ...], wanted: str | None = None) -> ValueT:
    """`value`, if it is of one of the kinds.

    Raises:
        TypeError: it is not; the error says `wanted`, by default "Kind(...) or Other(...)".
    """
    if not isinstance(value, kinds):
        calls = [f"{kind.__name__}(...)" for kind in (kinds if isinstance(kinds, tuple) else (kinds,))]
        raise refusal(TypeError, name, value, wanted or " or ".join(calls))
    return value


def a_function(name: str, value: ValueT, wanted: str = "a function") -> ValueT:
    """`value`, if it can be called.

    Raises:
        TypeError: it cannot.
    """
    if not callable(value):
        raise refusal(TypeError, name, value, wanted)
    return value


def random_key(value: Any, name: str = "key") -> jax.Array:
    """`value`, if it is a JAX random key (of the new or the old style).

    Raises:
        TypeError: it is something else, such as a whole number.
    """
    import jax

    dtype = getattr(value, "dtype", None)
    typed = dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key) and value.ndim == 0
    if typed or (dtype == np.uint32 and value.ndim == 1):
        return value
    seed = value if isinstance(value, int | np.integer) and not isinstance(value, bool) else 0
    raise refusal(TypeError, name, value, f"a JAX random key, such as jax.random.key({seed})")


# Physics parameters and times


def parameter_row(parameters: object, expected: Sequence[str]) -> dict[str, jax.Array | np.ndarray]:
    """The physics parameters of one run as scalars, in the order of `expected`; values of shape (1,) count as such.

    Raises:
        ValueError: unknown or missing names, or a value that is no scalar.
        TypeError: not a mapping, or a value that is no number.
    """
    import jax

    given = _named(parameters, expected)
    row = {}
    for name in expected:
        value = given[name]
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
        raise refusal(ValueError, name, value, "a number or a list of numbers") from error


def parameter_table(parameters: object, expected: Sequence[str]) -> dict[str, np.ndarray]:
    """Physics parameters as equally long float64 columns, one row per run; scalars broadcast; {} gives one row.

    Raises:
        ValueError: unknown or missing names, unequal lengths, empty or non-finite columns.
        TypeError: not a mapping.
    """
    given = _named(parameters, expected)
    columns = {name: np.atleast_1d(numeric_array(f"parameters[{name!r}]", given[name])) for name in expected}
    for name, column in columns.items():
        if column.ndim != 1 or column.size == 0 or not np.isfinite(column).all():
            raise refusal(ValueError, f"parameters[{name!r}]", given[name], "a non-empty list of finite numbers")
    lengths = {name: column.size for name, column in columns.items() if np.ndim(given[name]) > 0}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"parameters have unequal lengths {lengths!r}; rows are runs, so give equally long lists")
    n_runs = max((column.size for column in columns.values()), default=1)
    return {name: np.broadcast_to(column, (n_runs,)) for name, column in columns.items()}


def _named(parameters: object, expected: Sequence[str]) -> Mapping[str, Any]:
    """The parameters, where their names are the expected ones."""
    if not isinstance(parameters, Mapping):
        example = "a dict of name to values, such as {'mu': [1.2, 1.3]}"
        raise refusal(TypeError, "parameters", parameters, example)
    for name in parameters:
        if name not in expected:
            raise ValueError(f"parameters has the unknown name {name!r}; {suggestion(str(name), expected)}")
    missing = [name for name in expected if name not in parameters]
    if missing:
        raise ValueError(f"parameters={dict(parameters)!r} lacks {missing!r}; this stepper needs {list(expected)!r}")
    return parameters


def increasing_times(name: str, times: object) -> np.ndarray:
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

"""Checks of user input: what passes, and what the errors say and carry."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from hoam_plugin._internal import checks


@pytest.mark.parametrize(
    ("check", "value", "passes"),
    [
        (checks.positive_int, 3, 3),
        (checks.positive_int, np.int32(3), 3),
        (checks.positive_float, 2, 2.0),
        (checks.positive_float, np.float32(0.5), 0.5),
        (checks.non_negative_float, 0, 0.0),
        (checks.finite_float, -1.5, -1.5),
        (checks.increasing_pair, [0, 1], (0.0, 1.0)),
        (checks.increasing_pair, np.asarray([-1.0, 1.0]), (-1.0, 1.0)),
    ],
)
def test_right_values_come_back_in_their_plain_form(check: Callable[..., Any], value: Any, passes: Any) -> None:
    checked = check("n", value)
    assert checked == passes
    assert type(checked) is type(passes)


@pytest.mark.parametrize(
    ("check", "value", "sentence"),
    [
        (checks.positive_int, True, "n=True must be a whole number of at least 1"),
        (checks.positive_int, 2.0, "n=2.0 must be a whole number of at least 1"),
        (checks.positive_float, 0.0, "n=0.0 must be a finite number above 0"),
        (checks.positive_float, "a", "n='a' must be a finite number above 0"),
        (checks.non_negative_float, -1, "n=-1 must be a finite number of at least 0"),
        (checks.finite_float, float("nan"), "n=nan must be a finite number"),
        (checks.increasing_pair, [1, 0], "n=(1.0, 0.0) must be increasing and finite"),
        (checks.increasing_pair, (0, float("inf")), "n=(0.0, inf) must be increasing and finite"),
        (checks.increasing_pair, 3, "n=3 must be increasing and finite"),
    ],
)
def test_wrong_numbers_are_refused_in_one_sentence(check: Callable[..., Any], value: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match="must be") as caught:
        check("n", value)
    assert type(caught.value) is ValueError
    assert str(caught.value) == sentence
    assert checks.detail_of(caught.value, "argument") == "n"
    assert checks.detail_of(caught.value, "value") is value


def test_sentences_say_whose_argument_it_is_and_what_is_wanted() -> None:
    with pytest.raises(ValueError, match=r"^period=-1 of variable 'x' must be a positive number or None$"):
        checks.positive_float("period", -1, of="of variable 'x'", wanted="a positive number or None")


def test_choices_kinds_and_functions() -> None:
    assert checks.one_of("noise", "a", ("a", "b")) == "a"
    assert checks.either("start", None, "quiet", None) is None
    assert checks.of_type("n", 3, (int, float)) == 3
    assert checks.a_function("drift", abs) is abs
    for make, kind, sentence in (
        (lambda: checks.one_of("noise", "c", ("a", "b")), ValueError, "noise='c' must be one of 'a', 'b'"),
        (lambda: checks.either("start", "c", "a", "b"), ValueError, "start='c' must be 'a' or 'b'"),
        (lambda: checks.either("start", "c", "a", "b", None), ValueError, "start='c' must be 'a', 'b' or None"),
        (lambda: checks.of_type("n", "3", (int, float)), TypeError, r"n='3' must be int\(...\) or float\(...\)"),
        (lambda: checks.of_type("n", "3", int, "a number"), TypeError, "n='3' must be a number"),
        (lambda: checks.a_function("drift", 1), TypeError, "drift=1 must be a function"),
        (lambda: checks.random_key(3), TypeError, r"key=3 must be a JAX random key, such as jax.random.key\(3\)"),
    ):
        with pytest.raises(kind, match=f"^{sentence}$"):
            make()


def test_random_keys_of_both_styles() -> None:
    for key in (jax.random.key(0), jax.random.PRNGKey(0)):
        assert checks.random_key(key) is key


def test_a_detail_is_found_on_the_error_that_another_was_raised_from() -> None:
    first = checks.with_details(TypeError("float64"), environment={"JAX_ENABLE_X64": "1"})
    second = ValueError("run 0: float64")
    second.__cause__ = first
    assert checks.detail_of(second, "environment") == {"JAX_ENABLE_X64": "1"}
    assert checks.detail_of(second, "argument") is None

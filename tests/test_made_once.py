"""What tests share does not depend on which of them comes first."""

from typing import Any

import jax
import numpy as np
import pytest
from made_once import made_once


def test_single_precision_whoever_asks_first(x64: None) -> None:
    def draw() -> Any:
        return jax.random.normal(jax.random.key(0))

    drawn = made_once(draw)
    with jax.enable_x64(False):
        expected = draw()
    assert drawn().dtype == np.float32
    assert drawn() == expected
    assert drawn() is drawn()
    assert draw().dtype == np.float64


def test_the_precision_of_the_test_is_back_after_an_error(x64: None) -> None:
    def fail() -> None:
        assert not jax.config.jax_enable_x64
        raise KeyError("made nothing")

    failed = made_once(fail)
    for _ in range(2):
        with pytest.raises(KeyError, match="made nothing"):
            failed()
        assert jax.config.jax_enable_x64

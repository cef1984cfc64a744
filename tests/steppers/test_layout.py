"""`SampleLayout` against a loop over samples, variables and components."""

import dataclasses
import itertools
import math

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.steppers import SampleLayout, Variable, state_type

SHAPES = st.lists(st.lists(st.integers(1, 3), max_size=2).map(tuple), min_size=1, max_size=4)


def population(shapes: list[tuple[int, ...]], n_samples: int) -> tuple[SampleLayout, dict[str, np.ndarray]]:
    """Variables of these shapes, all of whose values differ."""
    counter = itertools.count()
    arrays = {}
    for i, shape in enumerate(shapes):
        values = [float(next(counter)) for _ in range(n_samples * math.prod(shape))]
        arrays[f"q{i}"] = np.asarray(values, np.float32).reshape(n_samples, *shape)
    return SampleLayout.of([Variable(name) for name in arrays], arrays), arrays


def side_by_side(arrays: dict[str, np.ndarray], n_samples: int) -> list[list[float]]:
    """Naively: the components of every variable of every sample, one after the other."""
    rows = []
    for sample in range(n_samples):
        row = []
        for array in arrays.values():
            row += [float(array[(sample, *index)]) for index in np.ndindex(array.shape[1:])]
        rows.append(row)
    return rows


@pytest.mark.long
@hypothesis.given(shapes=SHAPES, n_samples=st.integers(1, 3))
@hypothesis.settings(max_examples=25)
def test_columns_are_the_components_in_order(shapes: list[tuple[int, ...]], n_samples: int) -> None:
    layout, arrays = population(shapes, n_samples)
    wanted = side_by_side(arrays, n_samples)
    assert layout.names == tuple(arrays)
    assert layout.shapes == tuple(shapes)
    assert layout.n_columns == len(wanted[0])
    x = layout.flattened(arrays)
    assert np.asarray(x).tolist() == wanted
    for name, part in layout.parts(x).items():
        np.testing.assert_array_equal(part, arrays[name])
        assert x[:, layout.columns(name)].reshape(arrays[name].shape).tolist() == arrays[name].tolist()
    empty = layout.empty(n_samples, jnp.float32)
    assert {name: array.shape for name, array in empty.items()} == {name: array.shape for name, array in arrays.items()}


@pytest.mark.long
@hypothesis.given(shapes=SHAPES, n_samples=st.integers(1, 3))
@hypothesis.settings(max_examples=25)
def test_a_state_gets_other_samples_in_its_own_dtypes(shapes: list[tuple[int, ...]], n_samples: int) -> None:
    layout, arrays = population(shapes, n_samples)
    fields = {name: jnp.zeros(array.shape, jnp.float16) for name, array in arrays.items()}
    state = state_type(layout.names)(time=jnp.float32(3.0), **fields, aux="kept")
    assert SampleLayout.of(layout.variables, state) == layout
    placed = layout.placed(state, layout.flattened(arrays))
    assert type(placed) is type(state)
    assert (float(placed.time), placed.aux) == (3.0, "kept")
    for name, array in arrays.items():
        assert getattr(placed, name).dtype == jnp.float16
        np.testing.assert_array_equal(getattr(placed, name), array.astype(np.float16))
    assert np.asarray(layout.flattened(placed)).tolist() == side_by_side(arrays, n_samples)


def test_equal_layouts_are_one() -> None:
    layout = SampleLayout((Variable("x"), Variable("v", dims=("axis",))), ((), (3,)))
    assert {layout: 1}[dataclasses.replace(layout)] == 1
    assert layout.columns("v") == slice(1, 4)

"""Frozen dataclasses as pytrees: which fields are children, structure, or neither."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin._internal.static import pytree


@pytree(data=("weights",), dropped=("history",), eq=False)
class Model:
    weights: object
    width: int = 3
    history: str = ""

    kind: ClassVar[str] = "of the class, no field"


def test_only_data_are_children() -> None:
    model = Model(jnp.ones(2), width=4, history="long")
    leaves, structure = jax.tree.flatten(model)
    assert len(leaves) == 1
    again = jax.tree.unflatten(structure, leaves)
    assert (again.width, again.history) == (4, "")
    assert structure == jax.tree.structure(Model(jnp.zeros(2), width=4, history="short"))
    assert structure != jax.tree.structure(Model(jnp.zeros(2), width=5))


def test_what_differs_in_dropped_fields_alone_compiles_once() -> None:
    traces = []

    @jax.jit
    def doubled(model: Model) -> Model:
        traces.append(model.width)
        return dataclasses.replace(model, weights=jax.tree.map(lambda w: 2 * w, model.weights))

    for history in ("long", "short"):
        np.testing.assert_array_equal(doubled(Model(jnp.ones(2), history=history)).weights, [2, 2])
    assert traces == [3]


def test_names_without_a_field_are_refused() -> None:
    with pytest.raises(TypeError, match=r"name \['wieghts'\], which Other has no field of"):

        @pytree(data=("wieghts",))
        class Other:
            weights: object

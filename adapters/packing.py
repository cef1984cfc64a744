"""Surrogates as plain leaves, for libraries that rebuild pytrees with placeholders of any type in them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from hoam_plugin.steppers import default_float
from hoam_plugin.surrogates import Surrogate

_STATIC = {"static": True}


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Packed:
    """A surrogate as a list of its leaves, in which diffrax and equinox may put placeholders of any type.

    Attributes:
        leaves: of the surrogate.
        treedef: its structure.
    """

    leaves: Any
    treedef: Any = dataclasses.field(metadata=_STATIC)

    @property
    def surrogate(self) -> Surrogate:
        """The surrogate."""
        return self.treedef.unflatten(self.leaves)


def packed(surrogate: Surrogate) -> tuple[list[Any], Any]:
    """The arguments of `Packed`.

    Weights of a lower precision than JAX's default are widened: `BacksolveAdjoint` integrates their cotangents in time,
    whose precision it then gives them. The drift has that of y all the same.
    """
    leaves, treedef = jax.tree.flatten(surrogate)

    def widened(leaf: Any) -> Any:
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            return leaf
        return leaf.astype(jnp.result_type(dtype, default_float()))

    with jax.numpy_dtype_promotion("standard"):
        return [widened(leaf) for leaf in leaves], treedef

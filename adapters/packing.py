"""Surrogates as plain leaves, for libraries that rebuild pytrees with placeholders of any type in them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.tree_util import PyTreeDef

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import PyTree
from hoam_plugin.steppers import default_float
from hoam_plugin.surrogates import Surrogate


@pytree(data=("leaves",), eq=False)
class Packed:
    """A surrogate as a list of its leaves, in which diffrax and equinox may put placeholders of any type.

    Attributes:
        leaves: of the surrogate, or what stands for them.
        treedef: its structure.
    """

    leaves: PyTree
    treedef: PyTreeDef

    @property
    def surrogate(self) -> Surrogate:
        """The surrogate."""
        return self.treedef.unflatten(self.leaves)


def packed(surrogate: Surrogate) -> tuple[list[PyTree], PyTreeDef]:
    """The arguments of `Packed`.

    Weights of a lower precision than JAX's default are widened: `BacksolveAdjoint` integrates their cotangents in time,
    whose precision it then gives them. The drift has that of y all the same.
    """
    leaves, treedef = jax.tree.flatten(surrogate)

    def widened(leaf: PyTree) -> PyTree:
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
            return leaf
        return leaf.astype(jnp.result_type(dtype, default_float()))

    with jax.numpy_dtype_promotion("standard"):
        return [widened(leaf) for leaf in leaves], treedef

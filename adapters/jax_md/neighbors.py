"""jax-md's neighbour lists of several replicas: kept up to date in compiled code, given more room outside of it."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import ArrayLike

from .protocols import NeighborFn, NeighborList

# Bits of jax-md's error code, `partition.PartitionErrorCode`.
_LIST, _CELLS = 1, 2
# Room grows by this factor, and by so many neighbours per particle; every change compiles anew.
_GROWTH, _LEAST = 1.5, 2


class NeighborListOverflowError(RuntimeError):
    """A neighbour list had too little room for the neighbours that there were, so that the forces are wrong.

    Example:
        >>> issubclass(jax_md.NeighborListOverflowError, RuntimeError)
        True
    """


class CellSize:
    """What a list holds as `cell_size`, with a comparison that works while tracing.

    jax-md keeps an array there, among the static attributes. JAX compares those of all lists of one structure that have
    been arguments of compiled functions in the process, a user's own among them, and a comparison of an array with
    anything but itself is traced where JAX is tracing, so that it has no truth. Arrays leave the comparison to this.
    """

    # NumPy's numbers do so only then.
    __array_ufunc__ = None

    def __init__(self, value: ArrayLike) -> None:
        self.value = np.asarray(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CellSize) and np.array_equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash(self.value.tobytes())

    def __rtruediv__(self, length: ArrayLike) -> np.ndarray:
        return np.asarray(length / self.value)


def allocated(neighbor_fn: NeighborFn, position: Float[Array, "N dim"], keywords: Mapping[str, object]) -> NeighborList:
    """A list with room for the neighbours of a configuration; outside of compiled code."""
    neighbors = neighbor_fn.allocate(position, **keywords)
    return neighbors if neighbors.cell_size is None else neighbors.set(cell_size=CellSize(neighbors.cell_size))


def rebuilt(neighbors: NeighborList, position: Float[Array, "N dim"], keywords: Mapping[str, object]) -> NeighborList:
    """The list of a configuration with the capacity of `neighbors`, without the errors that it had."""
    # A list is only built where particles are far from where they were; these are where their neighbours in the array
    # were.
    elsewhere = jnp.roll(position, 1, axis=0)
    fresh = neighbors.set(
        error=neighbors.error.set(code=jnp.zeros((), neighbors.error.code.dtype)), reference_position=elsewhere
    )
    return fresh.update(position, **keywords)


def overflowed(neighbors: NeighborList) -> jax.Array:
    """Whether the lists of any of the replicas are incomplete, as a traceable boolean."""
    return jnp.any(neighbors.error.code != 0)


def larger(old: NeighborList, code: int) -> NeighborList:
    """A list with more room than one that overflowed; what it holds is to be built anew.

    Args:
        old: the list.
        code: jax-md's error code, the sum of 1 for too many neighbours and 2 for too many particles in a cell.

    Raises:
        NeighborListOverflowError: any other error, or the list has room for all pairs.
    """
    n = len(old.reference_position)
    limit, rows = {
        "Dense": (n - 1, n),
        "Sparse": (n * (n - 1), 2),
        "OrderedSparse": (n * (n - 1) // 2, 2),
    }[old.format.name]
    lists, cells = old.max_occupancy, old.cell_list_capacity
    per_particle = 1 if old.format.name == "Dense" else n
    if code & _LIST:
        lists = min(int(_GROWTH * lists) + _LEAST * per_particle, limit)
    if code & _CELLS and cells is not None:
        cells = min(int(_GROWTH * cells) + _LEAST, n)
    if (lists, cells) == (old.max_occupancy, old.cell_list_capacity):
        raise NeighborListOverflowError(
            f"neighbour-list error {code} of jax-md, which more room than for {lists} neighbours does not mend: "
            "the box or the cells changed"
        )
    return old.set(max_occupancy=lists, cell_list_capacity=cells, idx=jnp.zeros((rows, lists), old.idx.dtype))

"""What this adapter needs of jax-md's objects: states, neighbour lists, and the functions that make and move them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax
from jaxtyping import Array, Float

# Users' functions take what keywords they like; what they return is said.
EnergyOrForce: TypeAlias = Callable[..., jax.Array]
Shift: TypeAlias = Callable[..., jax.Array]
SystemT = TypeVar("SystemT", bound="SystemState")
ErrorT = TypeVar("ErrorT", bound="ListError")
ListT = TypeVar("ListT", bound="NeighborList")


@runtime_checkable
class SystemState(Protocol):
    """A state of `jax_md.simulate`: a frozen dataclass whose fields (position, momentum, force, ...) its ensemble has.

    Of several replicas side by side, all leaves have a leading axis of replicas.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]

    def set(self: SystemT, **fields: object) -> SystemT:
        """The state with other fields."""
        ...

    def __getattribute__(self, name: str, /) -> Any:
        """A field."""
        ...


InitFn: TypeAlias = Callable[..., SystemState]
ApplyFn: TypeAlias = Callable[..., SystemState]
Pair: TypeAlias = tuple[InitFn, ApplyFn]
Simulation: TypeAlias = Callable[..., Pair]


@runtime_checkable
class ListError(Protocol):
    """The error of a neighbour list: a `code` whose bits are those of jax-md's `PartitionErrorCode`."""

    @property
    def code(self) -> jax.Array:
        """Zero where all is well."""
        ...

    def set(self: ErrorT, **fields: object) -> ErrorT:
        """The error with another code."""
        ...


@runtime_checkable
class NeighborList(Protocol):
    """jax-md's `partition.NeighborList`."""

    @property
    def idx(self) -> jax.Array:
        """Numbers of the neighbours."""
        ...

    @property
    def reference_position(self) -> jax.Array:
        """Positions when the list was built."""
        ...

    @property
    def error(self) -> ListError:
        """What went wrong."""
        ...

    @property
    def max_occupancy(self) -> int:
        """Room for neighbours."""
        ...

    @property
    def cell_list_capacity(self) -> int | None:
        """Room for particles in a cell."""
        ...

    @property
    def cell_size(self) -> Any:
        """Least size of the cells; None without cells."""
        ...

    @property
    def format(self) -> Any:
        """An enumeration: Dense, Sparse or OrderedSparse."""
        ...

    def update(self: ListT, position: Float[Array, "N dim"], **keywords: object) -> ListT:
        """The list of other positions, with the same room."""
        ...

    def set(self: ListT, **fields: object) -> ListT:
        """The list with other fields."""
        ...


@runtime_checkable
class NeighborFn(Protocol):
    """What makes neighbour lists: jax-md's `partition.NeighborListFns`."""

    def allocate(self, position: Float[Array, "N dim"], **keywords: object) -> NeighborList:
        """A list with room for the neighbours of these positions."""
        ...

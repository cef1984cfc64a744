"""What a step of particles keeps for the next."""

from __future__ import annotations

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import PyTree


@pytree(data=("acceleration", "electric_field", "label"))
class FieldCache:
    """The field at the positions of the samples.

    Not annotated with shapes, since JAX's transformations put batched and placeholder leaves into a pytree.

    Attributes:
        acceleration: of the samples by the electric field.
        electric_field: between the grid nodes (in 3-D on the nodes).
        label: phase-space density that the samples started with, for `deposit="delta_f"`; else None.
    """

    acceleration: PyTree
    electric_field: PyTree
    label: PyTree = None

"""Periods of positions, as the boundaries of the fields in the same file say them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openpmd_api

_BOUNDARY = "fieldBoundary"
# Of a cell, in its length.
_CENTRE = 0.5


def periods_of(iteration: openpmd_api.Iteration, axes: list[str]) -> dict[str, float]:
    """Axis to the length of the domain in m, of the axes along which the fields are periodic.

    The attribute `fieldBoundary` (extension ED-PIC) says it, of all ends in the order of the axes.
    """
    for name in iteration.meshes:
        mesh = iteration.meshes[name]
        said = _boundary(iteration, mesh)
        if said is None:
            continue
        component = mesh[next(iter(mesh))]
        labels, places = [str(label) for label in mesh.axis_labels], [float(p) for p in component.position]
        lengths = [
            n * step * float(mesh.grid_unit_SI) for n, step in zip(component.shape, mesh.grid_spacing, strict=True)
        ]
        if len(said) != 2 * len(labels) or len(places) != len(labels):
            continue
        # Of fields on nodes it is not known whether both ends are among them.
        return {
            label: length
            for label, length, place, ends in zip(
                labels, lengths, places, zip(said[::2], said[1::2], strict=True), strict=True
            )
            if label in axes and place == _CENTRE and set(ends) == {"periodic"}
        }
    return {}


def _boundary(iteration: openpmd_api.Iteration, mesh: openpmd_api.Mesh) -> list[str] | None:
    for holder in (iteration.meshes, mesh):
        if _BOUNDARY in holder.attributes:
            return [str(end) for end in holder.get_attribute(_BOUNDARY)]
    return None

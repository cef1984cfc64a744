"""Which part of the dynamics is learned: dX = (b0 + u) dt + sigma dW with known b0 and sigma, and u learned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

import numpy as np

from hoam_plugin.steppers import Variable

Kind = Literal["gradient", "kinetic", "field"]
KINDS = get_args(Kind)


@dataclasses.dataclass(frozen=True)
class Structure:
    """The split of the drift into what is known and what is learned.

    Attributes:
        kind: "gradient" (all coordinates move along the gradient of a learned potential; nothing is known), "kinetic"
            (positions move with their velocities, exactly; the learned part drives the velocities alone) or "field"
            (a free vector field in all coordinates).
        driven: columns of a sample (its variables flattened in order) that the learned part drives.
        kinematics: (position, velocity) columns with dx/dt = v.
        metric: per velocity the factor by which -dPhi/dx in normalised units drives it, for conservative forces.
        in_noise: for "gradient", whether the gradient is the drift beside the noise that the stepper declares, and not
            the velocity of the population.
    """

    kind: Kind
    driven: tuple[int, ...]
    kinematics: tuple[tuple[int, int], ...] = ()
    metric: tuple[float, ...] = ()
    in_noise: bool = False

    @property
    def knows_dynamics(self) -> bool:
        """Whether a stepper's `known_drift` and `noise` take part."""
        return self.kind != "gradient" or self.in_noise


def structure_of(kind: str, variables: Sequence[Variable], sizes: Sequence[int]) -> Structure:
    """The structure of samples with these variables, of which each has so many columns.

    Raises:
        ValueError: an unknown kind, or "kinetic" with a variable that is neither a velocity nor the position of one.
    """
    if kind not in KINDS:
        raise ValueError(f"structure={kind!r} is not available; choose one of {', '.join(map(repr, KINDS))}")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    columns = {v.name: range(start, start + size) for v, start, size in zip(variables, starts, sizes, strict=True)}
    if kind != "kinetic":
        return Structure(cast(Kind, kind), tuple(range(sum(sizes))))
    velocities = {v.name: v.velocity_of for v in variables if v.velocity_of is not None}
    for name, position in velocities.items():
        if position not in columns or len(columns[position]) != len(columns[name]):
            raise ValueError(
                f"structure='kinetic': variable {name!r} declares velocity_of={position!r}, which must be a variable "
                f"of the same shape; the ensemble has {list(columns)!r}"
            )
    known = {*velocities, *velocities.values()}
    strangers = [name for name in columns if name not in known]
    if not velocities or strangers:
        what = f"{strangers[0]!r} is neither one nor a position" if strangers else "no variable is one"
        raise ValueError(
            f"structure='kinetic' needs velocities, and {what}; set the attribute velocity_of of a velocity to the "
            "name of its position, or use structure='gradient'"
        )
    pairs = [
        pair for name, position in velocities.items() for pair in zip(columns[position], columns[name], strict=True)
    ]
    return Structure("kinetic", tuple(v for _, v in pairs), tuple(pairs))


def with_metric(structure: Structure, scale: np.ndarray) -> Structure:
    """The structure of samples with these scales of their columns."""
    factors = np.asarray([1 / (scale[x] * scale[v]) for x, v in structure.kinematics])
    return dataclasses.replace(structure, metric=tuple((factors / factors.max(initial=0)).tolist()))


def structure_from(fields: Mapping[str, Any]) -> Structure:
    """A structure from its fields, as JSON has them."""
    pairs = tuple((int(x), int(v)) for x, v in fields["kinematics"])
    driven, metric = tuple(int(d) for d in fields["driven"]), tuple(fields["metric"])
    return Structure(fields["kind"], driven, pairs, metric, fields.get("in_noise", False))

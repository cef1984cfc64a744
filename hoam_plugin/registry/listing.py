"""What is known of one stepper of a name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from hoam_plugin.steppers import Stepper

HERE = "registered here"


@dataclasses.dataclass(frozen=True)
class Listing:
    """What the registry knows of one stepper.

    Attributes:
        name: under which it is found.
        kind: "simulator" or "surrogate".
        stepper: the stepper, or None where it cannot be built.
        origin: `HERE`, or the distribution that publishes it and its version.
        scores: of a surrogate: name to value.
        default: whether `stepper(name)` returns it, or chooses among it and others.
        error: why it cannot be built, or "".
    """

    name: str
    kind: str
    stepper: Stepper | None
    origin: str = HERE
    scores: Mapping[str, float] = dataclasses.field(default_factory=dict)
    default: bool = False
    error: str = ""

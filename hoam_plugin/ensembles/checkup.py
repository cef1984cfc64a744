"""What is found out about an ensemble by looking at it, as `ds.hoam.check()` returns it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Checkup:
    """What an ensemble is taken for, what is suspicious in it, and what `fit` will do with it; printing it shows all.

    Attributes:
        recognised: lines by subject: sizes, variables, parameters, times, samples.
        suspicions: sentences that say what is odd, and what would be right.
        plan: what `fit` will do and why, in sentences.
        error: why it is no ensemble, or "".
    """

    recognised: Mapping[str, tuple[str, ...]]
    suspicions: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()
    error: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong or suspicious."""
        return not (self.error or self.suspicions)

    def as_document(self) -> dict[str, object]:
        """The same as plain lists and texts, as JSON has them."""
        return {
            "recognised": {name: list(lines) for name, lines in self.recognised.items()},
            "suspicions": list(self.suspicions),
            "plan": list(self.plan),
            "error": self.error or None,
        }

    def __str__(self) -> str:
        lines = []
        if self.error:
            lines.append(f"not an ensemble: {self.error}")
        for name, found in self.recognised.items():
            lines += [f"{name}:", *(f"  {line}" for line in found)]
        if not self.error:
            lines.append("suspicious:" if self.suspicions else "suspicious: nothing")
            lines += [f"  ! {sentence}" for sentence in self.suspicions]
        if self.plan:
            lines += ["fit:", *(f"  {sentence}" for sentence in self.plan)]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)

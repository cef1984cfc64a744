"""Boxes of frames: the periods of positions, and positions freed of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from hoam_plugin.numerics import periodic

# Boxes of text files are rounded; a barostat changes them by more.
_CONSTANT = 1e-4
_RIGHT_ANGLE = 1e-3


def lengths_of(dimensions: Float[np.ndarray, " 6"] | None, where: str) -> Float[np.ndarray, " 3"] | None:
    """The edges of an orthorhombic box; None where there is none.

    Raises:
        ValueError: a box with other angles.
    """
    if dimensions is None or not np.any(dimensions[:3]):
        return None
    angles = np.asarray(dimensions[3:], np.float64)
    if np.abs(angles - 90).max() > _RIGHT_ANGLE:
        raise ValueError(
            f"{where} has a box with the angles {angles.tolist()}; only orthorhombic boxes have a period along each "
            "axis, so unwrap the positions before, or pass period={} (--period none) to take them as they are"
        )
    return np.asarray(dimensions[:3], np.float64)


def require_constant(box: Float[np.ndarray, " 3"] | None, first: Float[np.ndarray, " 3"], where: str) -> None:
    """Raise ValueError where the box is another one than at first, so that there is no one period."""
    if box is None or np.abs(box - first).max() > _CONSTANT * first.max():
        now = "none" if box is None else box.tolist()
        raise ValueError(
            f"{where} has the box {now}, and the first frame has {first.tolist()}; a period is one number, so pass "
            "unwrap=True (--unwrap), or period={} (--period none) to take positions as they are"
        )


class Unwrapped:
    """Positions that go on where they leave a box, frame by frame, by the shortest way from each to the next."""

    def __init__(self) -> None:
        self._wrapped: np.ndarray | None = None
        self._free = np.empty(0)

    def __call__(
        self, positions: Float[np.ndarray, "n A"], box: Float[np.ndarray, " A"] | None, where: str
    ) -> Float[np.ndarray, "n A"]:
        """The positions of the next frame.

        Raises:
            ValueError: a frame without a box, or atoms that come close to the half of it in one step.
        """
        if box is None:
            raise ValueError(f"{where} has no box to unwrap positions by; leave unwrap out, or write the box as well")
        wide = positions.astype(np.float64)
        if self._wrapped is None:
            self._free = wide
        else:
            step = periodic.nearest_image_on_host(wide - self._wrapped, box)
            share = np.abs(step) / box
            # Ways around look like these when there are many between a quarter and a half.
            if (share > 0.45).mean() > 1e-3:
                raise ValueError(
                    f"{where}: {100 * (share > 0.45).mean():.2g} % of the positions have moved by half of the box "
                    "since the frame before, so that it is not known which way; save frames more often, or leave "
                    "unwrap out"
                )
            self._free = self._free + step
        self._wrapped = wide
        return self._free

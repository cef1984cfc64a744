"""The figure that our pictures are drawn on: matplotlib's own, which also shows itself in notebooks."""

from __future__ import annotations

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_DOTS_PER_INCH = 100


class Picture(Figure):
    """A figure with a canvas of its own. Notebooks show it at once, without pyplot and its global state.

    Args:
        width: in inches.
        height: in inches.
    """

    def __init__(self, width: float | int, height: float | int) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        """What IPython shows."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
        return buffer.getvalue()

"""Where wall time goes: named phases, with what JAX spends on compilation taken out of them and shown by itself."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator

COMPILE = "compile"

# Tracing, lowering and XLA's own work, as jax.monitoring names them.
_EVENTS = ("jaxpr_trace_duration", "jaxpr_to_mlir_module_duration", "backend_compile_duration")


class Stopwatch:
    """Adds up wall seconds by phase; `seconds` holds the phases in the order of their first use, then `compile`."""

    def __init__(self) -> None:
        self._phases: dict[str, float] = {}
        self._compile = 0.0
        self._spans: list[tuple[float, float]] = []

    @property
    def seconds(self) -> dict[str, float]:
        """Wall seconds by phase."""
        return {COMPILE: self._compile} | self._phases

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block's wall time for `name`, except what is compilation."""
        import jax

        self._spans = []
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        begin = time.perf_counter()
        try:
            yield
        finally:
            elapsed = time.perf_counter() - begin
            jax.monitoring.unregister_event_duration_listener(self._listen)
            compiling = min(_covered(self._spans), elapsed)
            self._compile += compiling
            self._phases[name] = self._phases.get(name, 0.0) + elapsed - compiling

    def _listen(self, event: str, duration_secs: float, **_: str | int) -> None:
        if event.endswith(_EVENTS):
            end = time.perf_counter()
            self._spans.append((end - duration_secs, end))


def _covered(spans: list[tuple[float, float]]) -> float:
    """Length of the union of intervals: they nest, and several threads compile at once."""
    total, reached = 0.0, -float("inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def peak_memory() -> float | None:
    """Largest resident memory of this process so far in gigabytes; None on systems that do not tell."""
    try:
        import resource
    except ImportError:
        return None
    # Linux counts kilobytes, macOS bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9

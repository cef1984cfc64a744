"""The guard that ends a training whose loss became non-finite, exploded or exploits the quadrature error."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from hoam_plugin.surrogates import Surrogate
from hoam_plugin.training.settings import Training


class TrainingDivergedError(FloatingPointError):
    """The loss became non-finite or ran away. `surrogate` has the last good weights, or is None if there were none.

    `reason` is the message of `fit` without what became of the model.

    Example:
        >>> issubclass(hoam.TrainingDivergedError, FloatingPointError)
        True
    """

    reason: str = ""
    surrogate: Surrogate | None = None


class RunAwayGuard:
    """Watches the loss L against its own quadratic part q = int E |grad s|^2 / 2, block by block.

    For a potential that explains the samples, -q <= L: it is -q at the best scaling of any s, and above it while
    the optimiser is still on its way. A loss well below -q therefore falls faster than the samples allow, by the
    quadrature error of a potential that wiggles between the nodes, and has no lower bound. A loss well above 0, the
    loss of no motion at all, or samples moved by a thousand times their spread, show steps that are too long.
    "Well" is by more than `margin` q in the mean of the last hundred iterations beyond four standard errors, or in
    nearly all of the last fifty: a loss that explodes has no meaningful standard error.

    A potential that is still small is also far below: L is then nearly linear in it. What it would reach at its best
    scaling, Q = (L - q)^2 / 4q, is then steady, where in a run-away it grows without bound. So a loss below -1.5 q
    counts only if Q is ten times what it was in the first iterations.

    Args:
        training: the settings.
        bounded: the loss is a squared error, for which only numbers that are not finite, or too large, count.
        has_floor: nothing in the loss can be exploited, so that there is no run-away below what samples allow.
    """

    margin = 0.1
    _largest_quadratic = 1e6
    _window = 100
    _latest = 50
    _nearly_all = 0.9
    _still_small = 1.5
    _growth = 10.0

    def __init__(self, training: Training, *, bounded: bool = False, has_floor: bool = False) -> None:
        # From a zero start the best scaling is reached within some hundred iterations; before, L is about -2 q.
        self._grace = max(5 * training.warmup, training.iterations // 10)
        self._bounded, self._has_floor = bounded, has_floor
        self._done = 0
        self._reach_at_first = 0.0
        self.recent = np.zeros((2, 0))

    @property
    def in_grace(self) -> bool:
        """Whether it is too early to tell a run-away from a beginning."""
        return self._done <= self._grace

    def restore(
        self, done: int, recent: np.ndarray | None = None, blocks: Sequence[tuple[np.ndarray, np.ndarray]] = ()
    ) -> None:
        """Go on from an earlier iteration.

        Args:
            done: number of iterations.
            recent: losses and quadratic parts of the latest ones, if they count.
            blocks: losses and quadratic parts of all blocks so far.
        """
        self._done, self._reach_at_first = 0, 0.0
        for loss, quadratic in blocks:
            self._note_reach(loss, quadratic)
        self._done = done
        self.recent = np.zeros((2, 0)) if recent is None else recent

    def check(self, loss: np.ndarray, quadratic: np.ndarray) -> None:
        """Raise TrainingDivergedError where this block shows a non-finite or run-away loss."""
        self._note_reach(loss, quadratic)
        bad = np.flatnonzero(~np.isfinite(loss))
        if bad.size:
            raise TrainingDivergedError(
                f"the loss became {loss[bad[0]]} at iteration {self._done - len(loss) + int(bad[0])}; "
                "try a smaller learning_rate, or epsilon=0 if a variable has no spread at some time"
            )
        if (q := float(np.mean(quadratic))) > self._largest_quadratic:
            raise TrainingDivergedError(
                f"the loss diverged: at iteration {self._done} its quadratic part is {q:.3g}, samples moved by over a "
                "thousand times their spread; use more quadrature nodes or a lower learning_rate"
            )
        if self._done <= self._grace or self._bounded:
            return
        kept = max(self._window, len(loss))
        self.recent = np.concatenate([self.recent, np.stack([loss, quadratic])], axis=1)[:, -kept:]
        if self._is_positive(self.recent[0]):
            raise TrainingDivergedError(
                f"the loss diverged: at iteration {self._done} it is {np.mean(loss):.3g}, above the 0 "
                "of no motion at all; use a lower learning_rate"
            )
        if self._has_floor:
            return
        if self._is_positive(-self.recent.sum(axis=0)) and not self._is_small_and_steady():
            raise TrainingDivergedError(
                f"the loss ran away: at iteration {self._done} it is {np.mean(loss):.3g}, below the "
                f"{-np.mean(quadratic):.3g} that its quadratic part allows, so the quadrature error in time is being "
                "exploited; use more quadrature nodes, a smaller hyper-network or a lower learning_rate"
            )

    def _note_reach(self, loss: np.ndarray, quadratic: np.ndarray) -> None:
        self._done += len(loss)
        if self._done <= self._grace:
            self._reach_at_first = max(self._reach_at_first, _reach(loss, quadratic))

    def _is_small_and_steady(self) -> bool:
        loss, quadratic = self.recent[:, -self._latest :]
        small = float(np.mean(loss)) < -self._still_small * float(np.mean(quadratic))
        # The reach is the quadratic part at the best scaling, with the same limit.
        most = min(self._growth * self._reach_at_first, self._largest_quadratic)
        return small and _reach(loss, quadratic) < most

    def _is_positive(self, excess: np.ndarray) -> bool:
        above = excess - self.margin * self.recent[1]
        # Not over one short block, which hardly averages over the runs, whose losses differ.
        if len(above) >= self._window and float(np.mean(above)) > 4 * float(np.std(above)) / math.sqrt(len(above)):
            return True
        # Half of the iterations are above their mean by chance: of 50, 45 are with a probability below 1e-8.
        latest = above[-self._latest :]
        return len(latest) == self._latest and float(np.mean(latest > 0)) >= self._nearly_all


def _reach(loss: np.ndarray, quadratic: np.ndarray) -> float:
    """Minus the loss at the best scaling of the potential, from means over some iterations."""
    q = float(np.mean(quadratic))
    return (float(np.mean(loss)) - q) ** 2 / (4 * q) if q > 0 else 0.0

"""What a training has left behind, and going back along it."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import xarray as xr

from hoam_plugin.potentials import Weights
from hoam_plugin.training.iterations import BlockRecord, OptimiserState

# By how much at least training goes back when the loss runs away: the guard looks at a hundred iterations, and only
# sees what is well under way.
_REWOUND_BLOCKS = 5
_REWOUND_ITERATIONS = 100


class BlockLosses(NamedTuple):
    """What is remembered of every block."""

    loss: np.ndarray
    quadratic: np.ndarray
    seconds: float
    validation: float


class Best(NamedTuple):
    """The averaged weights with the lowest validation loss."""

    validation: float
    iteration: int
    weights: Weights


class Trail:
    """What training has left behind: the losses of all blocks and the optimiser's state after the latest ones."""

    def __init__(self, start: OptimiserState, block: int) -> None:
        self._start = start
        self._rewound_blocks = max(_REWOUND_BLOCKS, math.ceil(_REWOUND_ITERATIONS / block))
        self.losses: list[BlockLosses] = []
        self.recent: list[OptimiserState] = []
        self.best: Best | None = None
        self.halvings = 0

    @property
    def latest(self) -> OptimiserState:
        """The state to go on from."""
        state = self.recent[-1] if self.recent else self._start
        return state._replace(step_scale=jnp.full_like(state.step_scale, 0.5**self.halvings))

    @property
    def weights(self) -> Weights:
        """The averaged weights that the surrogate gets: the best ones by validation, else the latest."""
        return self.latest.average if self.best is None else self.best.weights

    @property
    def pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Losses and quadratic parts of all blocks."""
        return [(block.loss, block.quadratic) for block in self.losses]

    @property
    def iterations(self) -> int:
        """Number of iterations done."""
        return sum(len(block.loss) for block in self.losses)

    def append(self, record: BlockRecord, validation: float) -> None:
        """Note one more block; `validation` is NaN where nothing is validated."""
        self.losses.append(BlockLosses(record.loss, record.quadratic, record.seconds, validation))
        self.recent = [*self.recent, record.state][-2 * self._rewound_blocks - 1 :]
        self._compare(validation, self.iterations, record.state)

    def go_back(self) -> int:
        """Drop the latest blocks, but not the first one kept; returns the number of iterations dropped."""
        before = self.iterations
        least = len(self.losses) - max(0, len(self.recent) - 1)
        n_kept = max(least, len(self.losses) - self._rewound_blocks)
        # It may have begun earlier: on to where the loss is not far below what its quadratic part allows.
        while n_kept > least and np.mean(self.losses[n_kept - 1].loss) < -2 * np.mean(
            self.losses[n_kept - 1].quadratic
        ):
            n_kept -= 1
        del self.recent[len(self.recent) - (len(self.losses) - n_kept) :]
        del self.losses[n_kept:]
        if self.best is not None and self.best.iteration > self.iterations:
            # The best of what is still known.
            self.best = None
            for block, state in zip(self.losses[-len(self.recent) :], self.recent, strict=False):
                self._compare(block.validation, int(state.iteration), state)
        return before - self.iterations

    def history(self) -> xr.Dataset:
        """Loss, its quadratic part, validation loss (if any) and seconds over the iterations."""
        sizes = [len(block.loss) for block in self.losses]
        seconds = [block.seconds / size for block, size in zip(self.losses, sizes, strict=True)]
        data = {
            "loss": (np.concatenate([block.loss for block in self.losses]), "1", "loss"),
            "quadratic": (
                np.concatenate([block.quadratic for block in self.losses]),
                "1",
                "quadratic part of the loss, int E |grad s|^2 / 2",
            ),
            "seconds": (np.repeat(seconds, sizes), "s", "wall time of the block over its length"),
        }
        validation = [block.validation for block in self.losses]
        if not np.isnan(validation).all():
            data["validation"] = (np.repeat(validation, sizes), "1", "loss of the validation runs after the block")
        return xr.Dataset(
            {
                name: ("iteration", values, {"units": unit, "long_name": text})
                for name, (values, unit, text) in data.items()
            },
            {"iteration": np.arange(self.iterations)},
            {"learning_rate_halvings": self.halvings} if self.halvings else {},
        )

    def _compare(self, validation: float, iteration: int, state: OptimiserState) -> None:
        if not np.isnan(validation) and (self.best is None or validation < self.best.validation):
            self.best = Best(validation, iteration, state.average)

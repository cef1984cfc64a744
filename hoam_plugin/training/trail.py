"""What a training has left behind, and going back along it."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin.training.iterations import BlockRecord, OptimiserState
from hoam_plugin.training.judge import Values, at_most, standard_error

# By how much at least training goes back when the loss runs away: the guard looks at a hundred iterations, and only
# sees what is well under way.
_REWOUND_BLOCKS = 5
_REWOUND_ITERATIONS = 100
# A model within the noise of the lowest judgement is behind it by no more than this share of what training has gained:
# where one subset of samples explodes alone, the noise is as large as the mean.
_MOST_BEHIND = 0.2


class BlockLosses(NamedTuple):
    """What is remembered of every block; `judged` is None where nothing was judged after it."""

    loss: np.ndarray
    quadratic: np.ndarray
    seconds: float
    judged: Values | None


class Moment(NamedTuple):
    """A moment of a training that is worth going back to.

    Attributes:
        values: of the judge.
        iteration: number of iterations that the weights have seen.
        state: of the optimiser.
    """

    values: Values
    iteration: int
    state: OptimiserState

    @classmethod
    def of_leaves(cls, structure: jax.tree_util.PyTreeDef, leaves: list[Array], values: Values) -> Moment | None:
        """Of what a checkpoint holds, if it holds one."""
        if not leaves:
            return None
        state = jax.tree.unflatten(structure, leaves)
        return cls(values, int(state.iteration), state)


class Course(NamedTuple):
    """A training as its judge has seen it.

    Attributes:
        iterations: after how many iterations it was judged.
        values: what the judge said, for each of its subsets.
        losses: mean training loss since the judgement before.
    """

    iterations: Float[np.ndarray, " K"]
    values: Float[np.ndarray, "K subsets"]
    losses: Float[np.ndarray, " K"]


class Trail:
    """What training has left behind: the losses of all blocks and the optimiser's state after the latest ones.

    Attributes:
        losses: of all blocks.
        recent: the optimiser's state after the latest ones.
        best: the latest moment whose averaged weights nothing was judged better than, beyond the noise.
        clearest: the moment whose averaged weights are, on the side of caution, furthest below the beginning. Where the
            best is judged with much noise, an earlier model may be better than nothing for certain.
        halvings: how often the steps were halved.
        start_values: what the judge said before the first iteration, where it was asked.
    """

    def __init__(self, start: OptimiserState, block: int) -> None:
        self._start = start
        self._rewound_blocks = max(_REWOUND_BLOCKS, math.ceil(_REWOUND_ITERATIONS / block))
        self.losses: list[BlockLosses] = []
        self.recent: list[OptimiserState] = []
        self.best: Moment | None = None
        self.clearest: Moment | None = None
        self.halvings = 0
        self.start_values: Values | None = None

    @property
    def latest(self) -> OptimiserState:
        """The state to go on from."""
        state = self.recent[-1] if self.recent else self._start
        return state._replace(step_scale=jnp.full_like(state.step_scale, 0.5**self.halvings))

    @property
    def pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Losses and quadratic parts of all blocks."""
        return [(block.loss, block.quadratic) for block in self.losses]

    @property
    def iterations(self) -> int:
        """Number of iterations done."""
        return sum(len(block.loss) for block in self.losses)

    @property
    def course(self) -> Course:
        """What the judge has seen of it."""
        ends = np.cumsum([len(block.loss) for block in self.losses])
        loss = np.concatenate([block.loss for block in self.losses]) if self.losses else np.zeros(0)
        places = [i for i, block in enumerate(self.losses) if block.judged is not None]
        judged = [block.judged for block in self.losses if block.judged is not None]
        stops = ends[places].tolist()
        losses = [float(np.mean(loss[a:b])) for a, b in zip([0, *stops[:-1]], stops, strict=True)] if stops else []
        values = np.stack(judged) if judged else np.zeros((0, 1))
        return Course(np.asarray(stops, np.float64), values, np.asarray(losses))

    @property
    def iterations_since_lowest(self) -> int:
        """Number of iterations since the lowest judgement."""
        course = self.course
        return (
            self.iterations - int(course.iterations[course.values.mean(axis=1).argmin()]) if len(course.values) else 0
        )

    def append(self, record: BlockRecord, judged: Values | None) -> None:
        """Note one more block, and what the judge said after it."""
        self.losses.append(BlockLosses(record.loss, record.quadratic, record.seconds, judged))
        self.recent = [*self.recent, record.state][-2 * self._rewound_blocks - 1 :]
        if judged is None:
            return
        moment = Moment(judged, self.iterations, record.state)
        if self._is_among_the_best(judged):
            self.best = moment
        start = self.start_values
        if start is not None and (
            self.clearest is None or at_most(judged, start) < at_most(self.clearest.values, start)
        ):
            self.clearest = moment

    def go_back(self) -> int:
        """Drop the latest blocks, but not the first one kept; returns the number of iterations dropped.

        Training goes on from the moment that was judged best, if it lies further back. The best weights stay.
        """
        before = self.iterations
        least = len(self.losses) - max(0, len(self.recent) - 1)
        n_kept = max(least, len(self.losses) - self._rewound_blocks)
        # It may have begun earlier: on to where the loss is not far below what its quadratic part allows.
        while n_kept > least and np.mean(self.losses[n_kept - 1].loss) < -2 * np.mean(
            self.losses[n_kept - 1].quadratic
        ):
            n_kept -= 1
        best_block = self._block_of_best()
        if self.best is not None and best_block is not None and best_block + 1 < n_kept:
            n_kept = best_block + 1
            self.recent = [self.best.state]
        else:
            del self.recent[len(self.recent) - (len(self.losses) - n_kept) :]
        del self.losses[n_kept:]
        return before - self.iterations

    def history(self) -> xr.Dataset:
        """Loss, its quadratic part, what the judge said and seconds over the iterations."""
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
        validation = [math.nan if block.judged is None else float(np.mean(block.judged)) for block in self.losses]
        if not np.isnan(validation).all():
            text = "what the judge says of the averaged weights after the block"
            data["validation"] = (np.repeat(validation, sizes), "1", text)
        return xr.Dataset(
            {
                name: ("iteration", values, {"units": unit, "long_name": text})
                for name, (values, unit, text) in data.items()
            },
            {"iteration": np.arange(self.iterations)},
            {"learning_rate_halvings": self.halvings} if self.halvings else {},
        )

    def _is_among_the_best(self, judged: Values) -> bool:
        """Whether nothing was judged better beyond the noise: as steps become shorter, later is rather better."""
        known = [block.judged for block in self.losses if block.judged is not None]
        if self.best is not None:
            known.append(self.best.values)
        lowest = min(known, key=np.mean)
        behind = judged - lowest
        most = standard_error(behind)
        if self.start_values is not None:
            most = min(most, max(0.0, _MOST_BEHIND * float(np.mean(self.start_values - lowest))))
        return float(np.mean(behind)) <= most

    def _block_of_best(self) -> int | None:
        """The block after which the best weights were had, if it has not been dropped."""
        if self.best is None:
            return None
        ends = np.cumsum([len(block.loss) for block in self.losses])
        block = int(np.searchsorted(ends, self.best.iteration))
        if block == len(ends) or ends[block] != self.best.iteration:
            return None
        judged = self.losses[block].judged
        return block if judged is not None and np.array_equal(judged, self.best.values) else None

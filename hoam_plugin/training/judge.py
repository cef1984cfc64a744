"""What judges a training: a loss that cannot be exploited, on samples that take no part in it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin._internal.devices import Devices, here
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._types import Key
from hoam_plugin.losses import MomentTargets, cells, takes_pairs
from hoam_plugin.potentials import Weights
from hoam_plugin.quadrature import trapezoid_weights
from hoam_plugin.training import held_out, iterations
from hoam_plugin.training.choices import Choices
from hoam_plugin.training.data import TrainingData
from hoam_plugin.training.iterations import Setup
from hoam_plugin.training.staggered import SavedTimes, TwoRules
from hoam_plugin.training.windows import TrainingSamples

# Judging may cost so much of the time of training, and happens at most so often. The intervals follow from numbers of
# samples and not from the clock, so that the same key gives the same surrogate.
_SHARE = 0.04
_MOST_JUDGEMENTS = 40
_LEAST_JUDGEMENTS = 10
# The loss of a sample against its gradient.
_RELATIVE_COST = 0.6
# Disjoint subsets, whose values tell the noise; samples per saved time in each.
SUBSETS = 4
_LEAST_SAMPLES, _MOST_SAMPLES = 4, 16
# Where it is in doubt whether a model is better than nothing, further samples of each subset's group are asked, up to
# so many times as many.
_MOST_TURNS = 8
# Of validation runs that have more samples, so many take part.
_MOST_ROWS = 2000
_MOST_END_SAMPLES = 256
# Half of fewer saved times make no derivative of the same order.
_LEAST_TIMES = 9

_OWN = "samples of the training"
_LOSS = "the loss of training"

# By so many standard errors the best model has to lie below the beginning. The lowest of many judgements is below it by
# chance, where a training learns the scatter of its samples alone.
_CAUTION = 2.0

Values = Float[np.ndarray, " subsets"]


class Plan(NamedTuple):
    """How a training is judged.

    Attributes:
        n_samples: per saved time, run and subset.
        interval: blocks from one judgement to the next.
        stride: every so many of the nodes take part.
    """

    n_samples: int
    interval: int
    stride: int


@dataclasses.dataclass(frozen=True, eq=False)
class Judge:
    """The value of a model on several disjoint subsets of samples, the same ones every time.

    Attributes:
        setup: of the training, but with the loss that judges.
        data: the samples.
        interval: blocks from one judgement to the next.
        on: what it judges on, in words.
        saved: what the rules on and between the saved times follow from, or None where means over samples are not
            differentiated.
        devices: those of the training, if it is spread over several; every process then goes by what the first finds.
        further: of further samples of the same groups, in arrays of the same shapes, read when they are asked for.
    """

    setup: Setup
    data: TrainingData
    interval: int
    on: str
    saved: SavedTimes | None = None
    devices: Devices | None = None
    further: Callable[[], Sequence[Judge]] = tuple

    @property
    def on_training_samples(self) -> bool:
        """Whether no samples are left to judge on but those of the training."""
        return self.on == _OWN

    def values(self, weights: Weights) -> Values:
        """The loss on every subset; lower is better. Where there are two rules, by the one that is worse."""
        if self.saved is None:
            return self._values(weights, self.data)
        on_times, in_gaps = (self._values(weights, data) for data in self._rules)
        return np.maximum(on_times, in_gaps)

    def values_on_half_the_times(self, weights: Weights) -> Values | None:
        """The same with every second saved time alone; None where the times do not enter by differences, or are few.

        What differs is what the saved times leave open, by their own rule alone.
        """
        if self.saved is None or len(self.saved.taus) < _LEAST_TIMES:
            return None
        n = len(self.saved.taus)
        kept = np.unique([*range(0, n, 2), n - 1])
        half = self.saved.rules(kept, trapezoid_weights(self.saved.taus[kept])).on_times
        on_times, in_gaps = (self._values(weights, data) for data in self._rules)
        return np.maximum(on_times, in_gaps) + self._values(weights, half) - on_times

    def values_on_all(self, weights: Weights) -> Values:
        """The same as `values` on more samples of every group: slower, with less noise."""
        return np.mean([judge.values(weights) for judge in (self, *self._further)], axis=0)

    @functools.cached_property
    def _further(self) -> Sequence[Judge]:
        return self.further()

    @functools.cached_property
    def _rules(self) -> TwoRules:
        assert self.saved is not None
        return self.saved.rules(np.arange(len(self.saved.taus)), np.asarray(self.data.weights, np.float64))

    def _values(self, weights: Weights, data: TrainingData) -> Values:
        n_subsets = data.points.shape[2]

        def value(subset: int) -> float:
            return float(iterations.judged_value(self.setup, weights, data, jnp.asarray(subset, jnp.int32)))

        if jax.default_backend() != "cpu":
            values = np.asarray([value(subset) for subset in range(n_subsets)])
        else:
            with ThreadPoolExecutor(min(n_subsets, available_cores())) as pool:
                values = np.asarray(list(pool.map(value, range(n_subsets))))
        return values if self.devices is None else self.devices.agreed(values)

    def values_of_block(self, weights: Weights, losses: Float[np.ndarray, " block"]) -> Values:
        """The values of a model after a block with these training losses.

        Residuals of moments are differences of means, which the few samples of a judge cannot tell, and a loss of them
        has a floor: there the losses of the block, on samples drawn anew in every iteration, say more. Their means over
        as many parts of the block as there are subsets tell the noise.
        """
        if not self.takes_the_losses:
            return self.values(weights)
        n_subsets = self.data.points.shape[2]
        parts = np.array_split(np.resize(losses, max(len(losses), n_subsets)), n_subsets)
        return np.asarray([part.mean() for part in parts])

    @property
    def takes_the_losses(self) -> bool:
        """Whether the losses of training stand for its own values, which then say nothing of the beginning."""
        return self.on == _LOSS

    def is_due(self, done: int) -> bool:
        """Whether a model is judged after so many iterations: at equal distances, and at the end.

        Before the first of these, after one block, two, four and so on: where steps are far too long, the only models
        that are any good are had early.
        """
        training = self.setup.training
        n_blocks = done // training.block
        early = n_blocks < self.interval and n_blocks & (n_blocks - 1) == 0
        return done >= training.iterations or early or n_blocks % self.interval == 0


def judge_of(
    choices: Choices,
    samples: TrainingSamples,
    rows: held_out.Rows | None,
    key: Key,
    devices: Devices | None = None,
) -> Judge:
    """The judge of a training.

    Args:
        choices: what is learned, and what it is judged on.
        samples: of the training.
        rows: which samples of every run judge; None for those of validation runs, or of the training itself.
        key: JAX random key.
        devices: that the samples of the training are spread over, if they are.
    """
    runs, setup = choices.judged, choices.judging
    on = "held-out samples"
    if rows is None:
        on = "validation runs" if choices.validates else _OWN
        if runs.ensemble.sizes["sample"] > _MOST_ROWS:
            rows = held_out.split(runs.ensemble, _MOST_ROWS, key)[1]
    if isinstance(runs.targets, MomentTargets) and not choices.validates:
        on = _LOSS
    n_rows = runs.ensemble.sizes["sample"] if rows is None else len(rows[0])
    n_subsets = min(SUBSETS, n_rows)
    trained = samples.at(0)
    plan = planned(choices, trained, n_rows // n_subsets)
    options = dataclasses.replace(
        setup.training, n_samples=plan.n_samples, n_end_samples=min(_MOST_END_SAMPLES, n_rows // n_subsets)
    )
    paired = takes_pairs(setup.loss) and ensembles.are_paired(runs.ensemble)
    reference = trained.reference if devices is None else here(trained.reference)
    norm = choices.dynamics.normalisation
    taus = norm.tau_on_host(runs.ensemble["time"].values.astype(np.float64))

    def drawn(turns: Sequence[int]) -> TrainingData:
        judging = TrainingSamples(
            runs, options, key, rows=rows, n_subsets=n_subsets, turns=turns, paired=paired, devices=devices
        )
        return judging.with_reference(reference)

    def judge(data: TrainingData) -> Judge:
        if data.bands is None:
            # Where every saved time has a minimum of its own, some of them can stand for all.
            thinned = _thinned(data, plan.stride if setup.loss.bounded else 1)
            return Judge(setup, thinned, plan.interval, on, None, devices)
        saved = SavedTimes(data, setup.loss, taus, norm.periods if paired else None, plan.stride)
        return Judge(setup, data, plan.interval, on, saved, devices)

    # Cells hold all samples the first time.
    most = 1 if setup.loss.merged else min(_MOST_TURNS, n_rows // n_subsets // plan.n_samples)

    def further() -> Sequence[Judge]:
        return [judge(data) for data in _by_turns(drawn(range(1, most)), n_subsets)] if most > 1 else ()

    return dataclasses.replace(judge(drawn((0,))), further=further)


def samples_and_judge(choices: Choices, key: Key, devices: Devices | None = None) -> tuple[TrainingSamples, Judge]:
    """What a training draws from, and what judges it.

    Args:
        choices: what is learned, and from which runs.
        key: JAX random key of the training.
        devices: that the samples are spread over, if they are.
    """
    runs, training = choices.runs, choices.setup.training
    training_rows, judging_rows = None, None
    if training.held_out:
        training_rows, judging_rows = held_out.split(runs.ensemble, training.held_out, jax.random.fold_in(key, 3))
    samples = TrainingSamples(runs, training, jax.random.fold_in(key, 1), rows=training_rows, devices=devices)
    return samples, judge_of(choices, samples, judging_rows, jax.random.fold_in(key, 2), devices)


def planned(choices: Choices, trained: TrainingData, most_samples: int) -> Plan:
    """How often and on how many samples a training can be judged at a small share of its cost.

    Args:
        choices: of the training.
        trained: its samples.
        most_samples: per subset, run and saved time.
    """
    training, loss = choices.training, choices.judged.loss
    n_blocks = math.ceil(training.iterations / training.block)
    rule = choices.loss.quadrature
    n_nodes = rule.n if rule is not None and rule.random else min(len(trained.nodes), training.n_times or 1 << 30)
    n_runs = min(training.runs_per_iteration, len(trained.points))
    allowed = _SHARE * training.block * n_runs * n_nodes * trained.points.shape[-2]
    n_judged_nodes = int(np.count_nonzero(choices.judged.node_weights))
    n_rules = 1 if choices.judged.loss.bounded else 2
    one = _RELATIVE_COST * n_rules * SUBSETS * choices.judged.ensemble.sizes["run"] * n_judged_nodes
    interval = math.ceil(n_blocks / _MOST_JUDGEMENTS)
    # Cells hold all samples, however many.
    affordable = cells.CELLS if loss.merged else int(interval * allowed / one)
    n_samples = max(1, min(most_samples, max(_LEAST_SAMPLES, min(_MOST_SAMPLES, affordable))))
    cost = one * (cells.CELLS if loss.merged else n_samples)
    longest = max(1, n_blocks // _LEAST_JUDGEMENTS)
    interval = max(interval, min(longest, math.ceil(cost / allowed)))
    stride = max(1, min(n_judged_nodes, math.ceil(cost / (allowed * interval))))
    return Plan(n_samples, interval, stride)


def _by_turns(data: TrainingData, n_subsets: int) -> list[TrainingData]:
    """So many subsets at a time."""
    parts = []
    for first in range(0, data.points.shape[2], n_subsets):
        some = slice(first, first + n_subsets)
        targets = None if data.targets is None else data.targets[:, :, some]
        points, end_points = data.points[:, :, some], data.end_points[:, :, some]
        parts.append(dataclasses.replace(data, points=points, end_points=end_points, targets=targets))
    return parts


def _thinned(data: TrainingData, stride: int) -> TrainingData:
    """With every so many of the nodes alone, which stand for those around them."""
    if stride == 1:
        return data
    nodes, weights = np.asarray(data.nodes), np.asarray(data.weights)
    starts = np.arange(0, len(nodes), stride)
    kept = nodes[np.minimum(starts + stride // 2, len(nodes) - 1)]
    sums = np.zeros_like(weights)
    sums[kept] = np.add.reduceat(weights[nodes], starts)
    return dataclasses.replace(data, nodes=jnp.asarray(kept), weights=jnp.asarray(sums))


def standard_error(values: Values) -> float:
    """Of the mean over the subsets."""
    n = len(values)
    return float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else 0.0


def at_most(values: Values, start: Values, caution: float = _CAUTION) -> float:
    """How far a model may lie above the beginning, so many standard errors added: below 0 it is better than nothing."""
    above = values - start
    return float(np.mean(above)) + caution * standard_error(above)

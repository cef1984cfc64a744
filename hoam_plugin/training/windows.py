"""The samples of an ensemble as training wants them: normalised, in stratified subsets, within a limit of memory."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin import ensembles
from hoam_plugin._internal.devices import Devices
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._types import Key
from hoam_plugin.dynamics import conditions_of
from hoam_plugin.losses import AbstractLoss, MomentTargets, Targets, cells
from hoam_plugin.steppers import default_float
from hoam_plugin.training.data import Runs, RunSamples, TrainingData, bands_of
from hoam_plugin.training.dealing import Dealing, OnOneDevice
from hoam_plugin.training.settings import Training
from hoam_plugin.training.stratification import Drawing, stratified_blocks

# The least standard deviation of a coordinate at one time, as a share of that over all times.
_LEAST_SPREAD = 1e-5

# Points that fix the gauge of the potential; see `hoam_plugin.losses.action_matching.interior_terms`.
_REFERENCE_POINTS = 4


class _Excerpt(NamedTuple):
    """What is wanted on the host of a run, or of all: one subset of samples at every time, factors of the loss."""

    points: Float[np.ndarray, "*run T n D"]
    importance: Float[np.ndarray, "*run T"] | None


def subset_sizes(
    loss: AbstractLoss, options: Training, node_weights: Float[np.ndarray, " T"], n_available: int
) -> tuple[int, int]:
    """Samples of every run in an iteration, at each of its nodes and at each end, of so many that there are."""
    if loss.merged:
        # The cells of the ends are those of the first and the last time.
        return cells.CELLS, cells.CELLS
    n = options.samples_per_node(int(np.count_nonzero(node_weights)))
    return min(n, n_available), min(options.n_end_samples, n_available)


class TrainingSamples:
    """What training draws from: a whole ensemble, or windows that move over one that is too large to hold.

    The samples of every run are cut at random into equal windows, as many as make one window of all runs fit
    `Training.sample_memory`. As training proceeds, one run after the other moves on to its next window, which is read
    while training goes on; at the end every window has been used, if there are blocks enough for that. Which window is
    held depends on the iteration alone, so that a resumed training sees the same samples.

    Args:
        runs: what is read.
        options: sizes and memory.
        key: JAX random key.
        rows: which samples of every run there are; None for all of them. Of every run there are equally many.
        n_subsets: hold so many subsets of each size, one of every group of as many (see `stratification.Drawing`); for
            judging. None for all there are.
        turns: instead of one, these subsets of each of the groups.
        paired: whether the subsets hold the same samples at all times, those of the ends excepted.
        devices: that samples are spread over, those for judging excepted, which every process has; each process reads
            only some of the runs then. None for the default device.

    Raises:
        ValueError: a coordinate without spread at some time while epsilon > 0.
        RuntimeError: another process could not read its runs.
    """

    def __init__(
        self,
        runs: Runs,
        options: Training,
        key: Key,
        *,
        rows: Sequence[Int[np.ndarray, " n"]] | None = None,
        n_subsets: int | None = None,
        turns: Sequence[int] = (0,),
        paired: bool = False,
        devices: Devices | None = None,
    ) -> None:
        ds, dynamics, loss, node_weights = runs.ensemble, runs.dynamics, runs.loss, runs.node_weights
        normalisation = dynamics.normalisation
        self._ds, self._dynamics, self._normalisation, self._block = ds, dynamics, normalisation, options.block
        self._targets = runs.targets if isinstance(runs.targets, Targets) else None
        self._moments, self._loss = runs.targets if isinstance(runs.targets, MomentTargets) else None, loss
        self._rows, self._n_subsets, self._turns, self._same = rows, n_subsets, turns, loss.coupled or paired
        self._n_runs, self._n_times, n_available = (ds.sizes[d] for d in ensembles.DIMS)
        if rows is not None:
            n_available = len(rows[0])
        self._n_dims = len(normalisation.periods)
        self._dtype = default_float()
        self._noisy = loss.noise > 0
        self._seed = np.asarray(jax.random.key_data(key)).tolist()
        self._n, self._n_end = subset_sizes(loss, options, node_weights, n_available)
        if loss.merged:
            n_available = (n_subsets or cells.SHIFTS) * self._n
            self._position_period = normalisation.periods[dynamics.structure.kinematics[0][0]]
        least = max(self._n, self._n_end)
        n_columns = self._n_dims + (0 if self._targets is None else self._targets.n_columns)
        total = self._n_runs * self._n_times * n_available * n_columns * np.dtype(self._dtype).itemsize
        wanted = 1 if n_subsets is not None else math.ceil(total / options.sample_memory)
        if wanted > 1:
            # The window that is read while another is in use counts as well, raw and prepared.
            wanted = math.ceil(total * (1 + 2 / self._n_runs) / options.sample_memory)
        self._n_windows = max(1, min(wanted, n_available // least))
        self._window = n_available // self._n_windows
        n_blocks = math.ceil(options.iterations / options.block)
        self._blocks_per_move = max(1, n_blocks // max(1, self._n_runs * (self._n_windows - 1)))
        self._held = [0] * self._n_runs
        self._coming: tuple[tuple[int, int], Future[RunSamples]] | None = None
        self._pool = ThreadPoolExecutor(1)
        self._placing = OnOneDevice() if devices is None else Dealing(devices, whole=n_subsets is not None)
        self._data = self._first_windows(node_weights)

    def at(self, iteration: int) -> TrainingData:
        """What the block of iterations that begins with this one draws from. What was returned before is then void."""
        block = iteration // self._block
        for run, window in enumerate(self._windows(block)):
            if window != self._held[run]:
                self._move(run, window)
        if self._n_windows > 1:
            self._look_ahead(block)
        return self._data

    @property
    def is_whole(self) -> bool:
        """Whether all samples are held at once, so that what `at` returns does not depend on the iteration."""
        return self._n_windows == 1

    def with_reference(self, reference: Float[Array, "k D"]) -> TrainingData:
        """The first windows, with the reference points of another ensemble."""
        return dataclasses.replace(self._data, reference=reference)

    def _windows(self, block: int) -> list[int]:
        moves = block // self._blocks_per_move
        return [(moves + self._n_runs - 1 - run) // self._n_runs % self._n_windows for run in range(self._n_runs)]

    def _look_ahead(self, block: int) -> None:
        next_block = (block // self._blocks_per_move + 1) * self._blocks_per_move
        changes = [(run, w) for run, w in enumerate(self._windows(next_block)) if w != self._held[run]]
        if not changes or not self._placing.reads(changes[0][0]):
            return
        if self._coming is None or self._coming[0] != changes[0]:
            self._coming = changes[0], self._pool.submit(self._prepared, *changes[0])

    def _move(self, run: int, window: int) -> None:
        def prepared() -> dict[int, RunSamples]:
            if not self._placing.reads(run):
                return {}
            if self._coming is not None and self._coming[0] == (run, window):
                return {run: self._coming[1].result()}
            return {run: self._prepared(run, window)}

        samples = self._placing.together(prepared)
        if self._coming is not None and self._coming[0] == (run, window):
            self._coming = None
        held = RunSamples(*(getattr(self._data, name) for name in RunSamples._fields))
        self._data = dataclasses.replace(self._data, **self._placing.placed(held, [run], samples)._asdict())
        self._held[run] = window

    def _first_windows(self, node_weights: np.ndarray) -> TrainingData:
        held = self._placing.empty(self._shapes())
        excerpts: dict[int, _Excerpt] = {}
        with ThreadPoolExecutor(available_cores()) as workers:

            def prepared(runs: Sequence[int]) -> dict[int, RunSamples]:
                return dict(zip(runs, workers.map(self._prepared, runs, [0] * len(runs)), strict=True))

            # Some at a time: finished runs would pile up in memory.
            for first in range(0, self._n_runs, self._placing.at_once):
                some = range(first, min(first + self._placing.at_once, self._n_runs))
                mine = [run for run in some if self._placing.reads(run)]
                samples = self._placing.together(functools.partial(prepared, mine))
                excerpts |= {run: self._excerpt(of_run) for run, of_run in samples.items()}
                held = self._placing.placed(held, some, samples)
        points, importance = self._placing.gathered(self._no_excerpts(), excerpts)
        rng = np.random.default_rng(self._seed)
        candidates = points.reshape(-1, self._n_dims)
        times = self._ds["time"].values.astype(np.float64)
        data = TrainingData(
            **held._asdict(),
            conditions=jnp.stack([conditions_of(self._ds, self._normalisation, run) for run in range(self._n_runs)]),
            weights=jnp.asarray(node_weights.astype(self._dtype)),
            nodes=jnp.asarray(np.flatnonzero(node_weights), jnp.int32),
            reference=jnp.asarray(stratified_blocks(candidates, min(_REFERENCE_POINTS, len(candidates)), rng)[0]),
            importance=None if importance is None else jnp.asarray(importance),
            bands=bands_of(self._loss, self._normalisation.tau_on_host(times), node_weights),
            moments=None if self._moments is None else self._on_device(self._moments),
            dynamics=self._dynamics,
        )
        return self._placing.completed(data)

    def _shapes(self) -> RunSamples:
        """What is held of all runs."""
        shape = (self._n_runs, self._n_times, *self._subsets(self._n), self._n_dims)
        end_shape = (self._n_runs, 2, *self._subsets(self._n_end), self._n_dims)
        of = functools.partial(jax.ShapeDtypeStruct, dtype=self._dtype)
        return RunSamples(
            of(shape),
            of(end_shape),
            None if self._targets is None else of((*shape[:-1], self._targets.n_columns)),
            *(of(shape[:-1]) if self._loss.merged else None for _ in range(2)),
        )

    def _excerpt(self, samples: RunSamples) -> _Excerpt:
        importance = None
        if samples.targets is not None and self._targets is not None:
            importance = self._targets.importance(np.asarray(samples.targets)).astype(self._dtype)
        return _Excerpt(np.asarray(samples.points)[:, 0].copy(), importance)

    def _no_excerpts(self) -> _Excerpt:
        """Zeros in the place of those of all runs."""
        shape = (self._n_runs, self._n_times)
        points = np.zeros((*shape, self._subsets(self._n)[1], self._n_dims), self._dtype)
        return _Excerpt(points, None if self._targets is None else np.zeros(shape, self._dtype))

    def _on_device(self, moments: MomentTargets) -> MomentTargets:
        rates, whitening = (jnp.asarray(values.astype(self._dtype)) for values in moments[:2])
        return MomentTargets(rates, whitening, jnp.asarray(moments.groups))

    def _prepared(self, run: int, window: int) -> RunSamples:
        """The samples of one run in one window, in stratified subsets."""
        rng = np.random.default_rng([*self._seed, run, window])
        chosen: slice | np.ndarray = slice(None) if self._rows is None else self._rows[run]
        if self._n_windows > 1 and not self._loss.merged:
            there = np.arange(self._ds.sizes["sample"]) if self._rows is None else self._rows[run]
            order = np.random.default_rng([*self._seed, run]).permutation(there)
            chosen = order[window * self._window : (window + 1) * self._window]
        points = np.empty((self._n_times, *self._subsets(self._n), self._n_dims), self._dtype)
        end_points = np.empty((2, *self._subsets(self._n_end), self._n_dims), self._dtype)
        targets = (
            None if self._targets is None else np.empty((*points.shape[:-1], self._targets.n_columns), self._dtype)
        )
        multiplicity, variance = (
            np.empty(points.shape[:-1], self._dtype) if self._loss.merged else None for _ in range(2)
        )
        indices: np.ndarray | None = None
        drawing = Drawing(rng, self._n_subsets, self._turns)
        for times, slab in ensembles.slabs(self._ds, run):
            wanted = None if self._targets is None else self._targets.of(run, times, slab)
            for i, raw in enumerate(slab, times.start):
                normalised = self._normalisation.raw_samples(raw[chosen], self._dtype)
                if self._noisy:
                    self._require_spread(normalised, run, i)
                if multiplicity is not None and variance is not None:
                    moments = self._merged(normalised)
                    points[i], multiplicity[i], variance[i] = (values[: points.shape[1]] for values in moments)
                else:
                    if indices is None or not self._same:
                        indices = drawing.indices(normalised, self._n)
                    points[i] = normalised[indices]
                if targets is not None and wanted is not None and indices is not None:
                    targets[i] = wanted[i - times.start][chosen][indices]
                if i in (0, self._n_times - 1):
                    at_end = points[i] if self._loss.merged else normalised[drawing.indices(normalised, self._n_end)]
                    end_points[min(i, 1)] = at_end
        return RunSamples(points, end_points, targets, multiplicity, variance)

    def _subsets(self, size: int) -> tuple[int, int]:
        """Number and size of the subsets that are held of a run at one time."""
        n = self._window // size
        return (n if self._n_subsets is None else min(n, self._n_subsets) * len(self._turns)), size

    def _merged(self, points: Float[np.ndarray, "N D"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `cells.merged`: of all samples for each position of the grid, for judging of disjoint parts of them."""
        structure, period = self._dynamics.structure, self._position_period
        if self._n_subsets is None:
            return cells.merged(points, structure, period)
        parts = [cells.merged(points[i :: self._n_subsets], structure, period) for i in range(self._n_subsets)]
        means, shares, variances = (np.stack([part[k][0] for part in parts]) for k in range(3))
        return means, shares, variances

    def _require_spread(self, points: np.ndarray, run: int, time_index: int) -> None:
        """With epsilon > 0 the loss of a coordinate that all samples share has no lower bound."""
        for d, period in enumerate(self._normalisation.periods):
            if period is None and points[:, d].std() < _LEAST_SPREAD:
                time = float(self._ds["time"][time_index])
                raise ValueError(
                    f"coordinate {d} of the samples has no spread at time {time:g} in run {run}, where epsilon > 0 has "
                    "no finite loss; use ActionMatching(epsilon=0)"
                )

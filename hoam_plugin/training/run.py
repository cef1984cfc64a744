"""One training from its start, or a checkpoint, to its end: guard, judge, going back, checkpoints, interruption."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import xarray as xr

from hoam_plugin._internal import warned
from hoam_plugin._internal.devices import Devices, here
from hoam_plugin._internal.progress import progress_bar
from hoam_plugin._types import Key
from hoam_plugin.potentials import Weights
from hoam_plugin.surrogates import Surrogate, load, provenance_of
from hoam_plugin.training import checkpoints, iterations, verdict
from hoam_plugin.training.guard import RunAwayGuard, TrainingDivergedError
from hoam_plugin.training.iterations import BlockRecord, Setup
from hoam_plugin.training.judge import Judge, Values, at_most
from hoam_plugin.training.trail import BlockLosses, Moment, Trail
from hoam_plugin.training.verdict import Verdict
from hoam_plugin.training.windows import TrainingSamples

# How often training may go back and halve its steps, when the loss runs away.
_MOST_HALVINGS = 3
# A model this many standard errors below the beginning is better than it, however badly these are known.
_BEYOND_DOUBT = 10.0

MakeSurrogate = Callable[[Weights, xr.Dataset], Surrogate]
# As `iterations.blocks`.
Blocks = Callable[..., Iterator[BlockRecord]]


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during `fit`. `surrogate` is the model so far, or None before the first block; `path` where it lies.

    `reason` is the message without what became of the model.

    Example:
        >>> issubclass(hoam.TrainingInterrupted, KeyboardInterrupt)
        True
    """

    reason: str = ""
    surrogate: Surrogate | None = None
    path: Path | None = None


class _Ending(NamedTuple):
    """How a training ended, and the moment whose model is returned; None for its beginning, or the latest."""

    verdict: Verdict
    kept: Moment | None


class TrainingRun:
    """A training that can be interrupted, killed and taken up again.

    Args:
        setup: everything static.
        samples: of the training runs.
        key: JAX random key.
        make_surrogate: the surrogate of given weights and history.
        path: the checkpoint file, or None for no checkpoints.
        judge: tells how good a model is.
        completed: what is done to the surrogate at the end.
        devices: that samples are spread over, if they are; of several processes, the first one writes.
        blocks: what runs the iterations in the place of `iterations.blocks`.
    """

    def __init__(
        self,
        setup: Setup,
        samples: TrainingSamples,
        key: Key,
        make_surrogate: MakeSurrogate,
        path: Path | None,
        judge: Judge,
        completed: Callable[[Surrogate], Surrogate],
        devices: Devices | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        self._judge, self._completed, self._devices, self._blocks = judge, completed, devices, blocks
        self._setup, self._samples, self._make_surrogate = setup, samples, make_surrogate
        self._path = path if devices is None or devices.first else None
        init_key, self._key = jax.random.split(key)
        data = samples.at(0)
        # Where the time derivative acts on the samples, the network cannot exploit it.
        self._has_floor = setup.loss.bounded or data.bands is not None
        self._guard = RunAwayGuard(setup.training, bounded=setup.loss.bounded, has_floor=self._has_floor)
        start = iterations.start(setup, init_key, data.conditions.shape[-1])
        if devices is not None:
            start = here(devices.agreed(start))
        self._trail = Trail(start, setup.training.block)
        self._first_weights = self._trail.latest.average
        # Around a base, a potential that moves nothing is a model as well.
        self._start_counts = data.dynamics is not None and data.dynamics.base is not None
        apart = None if judge.on_training_samples else judge.data
        self._fingerprint = "" if path is None else checkpoints.fingerprint((data, apart))
        self._finished: Path | None = None
        self._first_checkpoint = True
        self._last_checkpoint = time.monotonic()

    def resume(self, path: Path) -> None:
        """Take up a training from its checkpoint.

        Raises:
            FileNotFoundError: there is no such checkpoint.
            ValueError: it is no checkpoint, or one of other settings, another key or other data.
        """
        model = self._make_surrogate(self._trail.latest.average, xr.Dataset())
        configuration = provenance_of(model).configuration
        state = checkpoints.read(path, configuration, self._fingerprint)
        self._first_checkpoint = self._path != path
        if isinstance(state, Path):
            self._finished = state
            return
        structure = jax.tree.structure(self._trail.latest)
        ends = np.cumsum(state.block_lengths)[:-1]
        columns = (np.split(state.history[name].values, ends) for name in ("loss", "quadratic", "seconds"))
        judged = [None if np.isnan(values).any() else values for values in state.judged]
        blocks = zip(*columns, judged, strict=True)
        self._trail.losses = [BlockLosses(loss, q, float(s.sum()), values) for loss, q, s, values in blocks]
        self._trail.recent = [jax.tree.unflatten(structure, leaves) for leaves in state.states]
        self._trail.best = Moment.of_leaves(structure, state.best, state.best_values)
        self._trail.clearest = Moment.of_leaves(structure, state.clearest, state.clearest_values)
        self._trail.halvings = state.halvings
        self._guard.restore(self._trail.iterations, state.guard, self._trail.pairs)

    def train(self, *, progress: bool) -> Surrogate:
        """Run to the end; returns the best model, which also lies at the checkpoint's path.

        Its history says how training ended; where that could be helped, a warning does.

        Raises:
            TrainingDivergedError: see `fit`.
            TrainingInterrupted: see `fit`.
        """
        if self._finished is not None:
            replaced = self._make_surrogate(self._trail.latest.average, xr.Dataset()).learned.replaces
            finished = load(self._finished, replaces=replaced)
            if self._path is not None and self._path != self._finished:
                checkpoints.finish(self._path, finished)
            elif self._path is not None:
                checkpoints.clear_previous(self._path)
            return finished
        self._start = self._trail.start_values = self._judge.values(self._first_weights)
        with progress_bar("fit", self._setup.training.iterations, show=progress) as advance_bar:
            advance_bar(self._trail.iterations)
            try:
                unstable = self._runs_to_an_end(advance_bar)
                ending = unstable or self._ending()
                ended = ending.verdict
                advance_bar(0, note=ended.outcome)
            except KeyboardInterrupt as interrupt:
                raise self._interrupted() from interrupt
            except TrainingDivergedError as diverged:
                error = TrainingDivergedError(f"{diverged}; {self._keep()}")
                error.reason = str(diverged)
                error.surrogate = self._so_far()
                raise error from None
        model = self._so_far(ending)
        assert model is not None
        try:
            model = self._completed(model)
        except KeyboardInterrupt as interrupt:
            raise self._interrupted() from interrupt
        if self._path is not None:
            checkpoints.finish(self._path, model)
        if ended.advice and model.history is not None and model.history.attrs["converged"] == ended.outcome:
            # What completes a model may have found worse, and said so.
            warned.warn(f"training is {ended.outcome}: {ended.sentence}; {ended.advice}", stacklevel=3)
        return model

    def _interrupted(self) -> TrainingInterrupted:
        """With the model so far."""
        stopped = TrainingInterrupted(f"training was interrupted; {self._keep()}")
        stopped.reason = "training was interrupted"
        stopped.surrogate = self._so_far()
        stopped.path = self._path if stopped.surrogate is not None else None
        return stopped

    def _runs_to_an_end(self, advance_bar: Callable[..., None]) -> _Ending | None:
        """All attempts; returns how it ended where the last one had to be given up."""
        try:
            while not self._ran_to_the_end(advance_bar):
                pass
        except TrainingDivergedError as diverged:
            kept = self._better_than_start(ask_all=True)
            if kept is None:
                if self._start_counts:
                    return _Ending(verdict.nothing_beyond_base(f"training was given up: {diverged}"), None)
                raise
            ended = Verdict(
                "unstable",
                f"with {0.5**_MOST_HALVINGS:g} of the learning rate, too, {diverged}",
                f"the model of iteration {kept.iteration}, better than none on {self._judge.on}, is returned",
            )
            return _Ending(ended, kept)
        return None

    def _ending(self) -> _Ending:
        """Of a training that ran to its end."""
        kept = self._better_than_start(ask_all=True) if self._may_keep_start else self._trail.best
        if kept is None and self._may_keep_start:
            return _Ending(verdict.nothing_beyond_base() if self._start_counts else verdict.nothing_learned(), None)
        half = None if kept is None else self._judge.values_on_half_the_times(kept.state.average)
        values = None if kept is None else kept.values
        return _Ending(verdict.ending(self._trail.course, self._start, half, values), kept)

    @property
    def _may_keep_start(self) -> bool:
        """Whether what training began with is a model to be returned as well.

        Of few iterations after the warm-up nothing can be told; they are taken for tries of something else.
        """
        warm = self._trail.iterations - self._setup.training.warmup
        return self._start_counts or not (self._judge.takes_the_losses or warm < verdict.LEAST_ITERATIONS)

    def _better_than_start(self, *, ask_all: bool) -> Moment | None:
        """The best model, or else the clearest, that is; in doubt by more samples, which may have to be read."""
        best, clearest = self._trail.best, self._trail.clearest
        if self._start_counts:
            return best if best is not None and verdict.is_better(best.values, self._start) else None
        for moment in (best,) if clearest is best else (best, clearest):
            if moment is not None and self._is_clear(moment, ask_all=ask_all):
                return moment
        return None

    def _is_clear(self, moment: Moment, *, ask_all: bool) -> bool:
        """Whether the model of this moment is better than the beginning, beyond the noise."""
        if not ask_all or at_most(moment.values, self._start, _BEYOND_DOUBT) < 0:
            return at_most(moment.values, self._start) < 0
        of_all = self._judge.values_on_all
        return at_most(of_all(moment.state.average), of_all(self._first_weights)) < 0

    def _ran_to_the_end(self, advance_bar: Callable[..., None]) -> bool:
        """One attempt; False when the guard ended it and training has gone back."""
        trail = self._trail
        try:
            blocks = self._blocks or iterations.blocks
            for record in blocks(self._setup, trail.latest, self._samples.at, self._key, self._devices):
                self._guard.check(record.loss, record.quadratic)
                trail.append(record, self._judged(record))
                advance_bar(len(record.loss), note=f"loss {np.mean(record.loss):.5f}")
                self._checkpoint_now_and_then()
                self._require_no_exploit(record)
                if self._out_of_patience():
                    break
        except TrainingDivergedError:
            # Run-away is caught some blocks after it began: what is kept goes back further.
            dropped = trail.go_back()
            if trail.halvings == _MOST_HALVINGS:
                raise
            trail.halvings += 1
            self._guard.restore(trail.iterations, blocks=trail.pairs)
            advance_bar(-dropped, note="unstable: going back, with half the learning rate")
            return False
        return True

    def _judged(self, record: BlockRecord) -> Values | None:
        if not self._judge.is_due(int(record.state.iteration)):
            return None
        values = self._judge.values_of_block(record.state.average, record.loss)
        return values if np.isfinite(values).all() else None

    def _require_no_exploit(self, record: BlockRecord) -> None:
        """Raise TrainingDivergedError where training lowers its loss and spoils the model."""
        trail, training = self._trail, self._setup.training
        judged_now = trail.losses[-1].judged is not None
        if judged_now and not self._has_floor and not self._guard.in_grace:
            why = verdict.got_worse(trail.course, self._start, training.iterations)
            if why is not None:
                raise TrainingDivergedError(why)

    def _out_of_patience(self) -> bool:
        patience = self._setup.training.patience
        return patience is not None and self._trail.iterations_since_lowest >= patience

    def _so_far(self, ending: _Ending | None = None) -> Surrogate | None:
        trail = self._trail
        if not trail.losses:
            return None
        history = trail.history()
        history.attrs["judged_on"] = self._judge.on
        if ending is not None:
            kept = ending.kept
            history.attrs |= {"converged": ending.verdict.outcome, "verdict": ending.verdict.sentence}
        else:
            kept = self._better_than_start(ask_all=False) if self._may_keep_start else trail.best
        if kept is not None:
            history.attrs["best_iteration"], weights = kept.iteration, kept.state.average
        elif self._may_keep_start:
            history.attrs["best_iteration"], weights = 0, self._first_weights
        else:
            history.attrs["best_iteration"], weights = trail.iterations, trail.latest.average
        return self._make_surrogate(weights, history)

    def _checkpoint_now_and_then(self) -> None:
        due = time.monotonic() - self._last_checkpoint >= self._setup.training.checkpoint_seconds
        if self._path is None or not due:
            return
        try:
            self._write_checkpoint(self._path)
        except OSError as error:
            # The one before is still there; training is worth more than this one.
            warned.warn(f"checkpoint {str(self._path)!r} could not be written: {error}; going on", stacklevel=2)
        self._last_checkpoint = time.monotonic()

    def _write_checkpoint(self, path: Path) -> None:
        model = self._so_far()
        assert model is not None
        trail = self._trail
        lengths = np.asarray([len(block.loss) for block in trail.losses])
        unknown = np.full_like(self._start, np.nan)
        judged = [unknown if block.judged is None else block.judged for block in trail.losses]
        assert model.history is not None
        checkpoints.write(
            path,
            model,
            checkpoints.TrainingState(
                states=[jax.tree.leaves(state) for state in trail.recent],
                best=[] if trail.best is None else jax.tree.leaves(trail.best.state),
                best_values=unknown if trail.best is None else trail.best.values,
                clearest=[] if trail.clearest is None else jax.tree.leaves(trail.clearest.state),
                clearest_values=unknown if trail.clearest is None else trail.clearest.values,
                judged=np.stack(judged),
                block_lengths=lengths,
                history=model.history,
                halvings=trail.halvings,
                guard=self._guard.recent,
            ),
            self._fingerprint,
            first=self._first_checkpoint,
        )
        self._first_checkpoint = False

    def _keep(self) -> str:
        if self._path is None or not self._trail.losses:
            return "nothing was written"
        try:
            self._write_checkpoint(self._path)
        except OSError as error:
            return f"the model of iteration {self._trail.iterations} could not be written: {error}"
        return f"the model of iteration {self._trail.iterations} was written to {str(self._path)!r}"

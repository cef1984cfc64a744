"""Committees: several networks that are trained side by side, and move samples by their mean.

Members differ in the weights that they begin with and in what they draw in every iteration; the samples that they draw
from, and those that judge them, are the same. On an accelerator one compiled program takes all of them along, on CPUs
each has a thread of its own and all share what is compiled: products of plain matrices are what XLA is fast at there.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.sharding import Mesh

from hoam_plugin._internal.checks import positive_int
from hoam_plugin._internal.hardware import available_cores
from hoam_plugin._internal.threads import of_one_thread, settings_reach_threads
from hoam_plugin._types import Key
from hoam_plugin.potentials import ParticlePotential, Potential, SplinePotential, VectorField
from hoam_plugin.surrogates import Surrogate, provenance_of, with_learned, with_provenance
from hoam_plugin.training import side_by_side, step_size
from hoam_plugin.training.choices import Choices
from hoam_plugin.training.explained_motion import warn_of_unexplained
from hoam_plugin.training.judge import samples_and_judge
from hoam_plugin.training.run import TrainingInterrupted, TrainingRun

# From the best to the worst that can be said of how a training ended.
_OUTCOMES = ("converged", "still improving", "limited by the saved times", "unstable")


def require_members(
    members: int,
    potential: Potential | VectorField | None,
    *,
    checkpoint: str | os.PathLike[str] | None,
    resume: str | os.PathLike[str] | None,
    mesh: Mesh | None,
) -> None:
    """Raise ValueError for a number that is none, or for options of `fit` that a committee does not take."""
    if positive_int("members", members) == 1:
        return
    for name, value in {"checkpoint": checkpoint, "resume": resume, "mesh": mesh}.items():
        if value is not None:
            raise ValueError(f"{name}={value!r} goes with members=1 only, and members={members}")
    if isinstance(potential, SplinePotential | ParticlePotential):
        raise ValueError(
            f"potential={type(potential).__name__}(...) is solved for, where nothing is drawn at random that "
            f"members={members} could differ in; pass a network, such as CoLoRA(...)"
        )


def trained(choices: Choices, key: Key, members: int, *, progress: bool) -> Surrogate:
    """The committee of so many networks; errors are those of `fit`."""
    samples, judge = samples_and_judge(choices, key)
    together = side_by_side.SideBySide(members)
    keys = jax.random.split(jax.random.fold_in(key, 6), members)
    stiff = jax.random.fold_in(key, 4)

    def completed(model: Surrogate) -> Surrogate:
        return step_size.resolved(model, choices.runs.ensemble, stiff)

    def member(i: int) -> Surrogate:
        blocks = functools.partial(together.blocks, i)
        run = TrainingRun(
            choices.setup, samples, keys[i], choices.surrogates(keys[i]), None, judge, completed, blocks=blocks
        )
        try:
            return run.train(progress=progress and i == 0)
        finally:
            together.leave(i)

    models = _all(member, members, together, one_at_a_time=not samples.is_whole)
    model = _joined(models, key)
    warn_of_unexplained(model, choices.runs.ensemble, choices.setup.training.iterations)
    return model


def _all(
    member: side_by_side.Member, n: int, together: side_by_side.SideBySide, *, one_at_a_time: bool
) -> list[Surrogate]:
    """All members, at once where that is possible: windows of samples move on with one training alone."""
    if one_at_a_time or not settings_reach_threads():
        together.one_at_a_time()
        return [member(i) for i in range(n)]
    # Trainings of one compiled program wait for one another, so that all of them need a thread.
    workers = n if together.width > 1 else min(n, available_cores())
    pool = ThreadPoolExecutor(workers)
    try:
        return list(pool.map(of_one_thread(member, workers), range(n)))
    except KeyboardInterrupt as interrupt:
        stopped = TrainingInterrupted("training was interrupted; nothing was written")
        stopped.reason = "training was interrupted"
        raise stopped from interrupt
    finally:
        together.stop()
        pool.shutdown(cancel_futures=True)


def _joined(models: Sequence[Surrogate], key: Key) -> Surrogate:
    """One surrogate of all members, with the smallest of their steps."""
    first = models[0]
    weights = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(model.learned.weights for model in models))
    options = dataclasses.replace(first.options, dt=min(model.dt for model in models))
    configuration = json.loads(provenance_of(first).configuration) | {
        "members": len(models),
        "seed": np.asarray(jax.random.key_data(key)).tolist(),
    }
    joined = dataclasses.replace(with_learned(first, weights=weights, members=len(models)), options=options)
    provenance = dataclasses.replace(
        provenance_of(first), configuration=json.dumps(configuration), history=_history(models)
    )
    return with_provenance(joined, provenance)


def _history(models: Sequence[Surrogate]) -> xr.Dataset:
    """Means over the members, as far as the shortest training went, with the words about the least good one."""
    histories = [history for model in models if (history := model.history) is not None]
    n = min(history.sizes["iteration"] for history in histories)
    cut = [history.isel(iteration=slice(n)) for history in histories]
    columns = {
        name: ("iteration", np.mean([history[name].values for history in cut], axis=0), cut[0][name].attrs)
        for name in map(str, cut[0].data_vars)
    }
    worst = max(histories, key=lambda history: _OUTCOMES.index(history.attrs["converged"]))
    return xr.Dataset(columns, {"iteration": cut[0]["iteration"].values}, worst.attrs)

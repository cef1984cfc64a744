"""Where the runs of `simulate` start: a population that the stepper draws, a given state, or a saved ensemble."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._types import Key, Parameters, State
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import Stepper, require_representable, state_from_samples

# Number of the run, its parameters and a key -> the state that it starts from.
Start: TypeAlias = Callable[[int, Parameters, Key], State]


def replicas(initial: State | xr.Dataset | None) -> int:
    """The number of runs of a stepper without parameters: that of the initial ensemble."""
    return initial.sizes.get("run", 1) if isinstance(initial, xr.Dataset) else 1


def start_of_runs(
    stepper: Stepper,
    initial: State | xr.Dataset | None,
    table: Mapping[str, np.ndarray],
    n_runs: int,
    n_samples: int,
) -> Start:
    """The states that the runs start from, after checking that `initial` fits.

    Args:
        stepper: whose states they are.
        initial: see `simulate`.
        table: parameters of all runs.
        n_runs: number of runs.
        n_samples: samples per run.

    Raises:
        ValueError: other variables than the stepper's, too few samples, or runs of other parameters.
        TypeError: double-precision samples that JAX would round.
    """
    if initial is None:
        return lambda run, row, key: _drawn(stepper, key, row, n_samples=n_samples)
    if not isinstance(initial, xr.Dataset):
        _require_fit(stepper, initial, n_samples)
        return lambda run, row, key: stepper.refresh(initial, row)
    # Only the first time counts: the others may be large, and a selection of times has lost its quadrature.
    first = initial.isel(time=slice(1), missing_dims="ignore").drop_vars("quadrature_weight", errors="ignore")
    return _start_of_ensemble(stepper, ensembles.validate(first), table, n_runs, n_samples)


@functools.partial(jax.jit, static_argnames=("n_samples",))
def _drawn(stepper: Stepper, key: Key, parameters: Parameters, n_samples: int) -> State:
    return stepper.init(key, n_samples, parameters)


def _require_fit(stepper: Stepper, initial: State, n_samples: int) -> None:
    names = [v.name for v in stepper.variables]
    for name in names:
        samples = getattr(initial, name, None)
        if samples is None:
            raise ValueError(f"initial {type(initial).__name__} lacks the variable {name!r}; the stepper has {names!r}")
        require_representable(f"initial variable {name!r}", samples)
        if samples.shape[0] != n_samples:
            raise ValueError(f"n_samples={n_samples} but the initial state holds {samples.shape[0]} samples")


def _start_of_ensemble(
    stepper: Stepper, initial: xr.Dataset, table: Mapping[str, np.ndarray], n_runs: int, n_samples: int
) -> Start:
    names = [v.name for v in stepper.variables]
    have = ensembles.variable_names(initial)
    if set(have) != set(names):
        raise ValueError(f"initial has the variables {have!r} but the stepper has {names!r}; select or rename them")
    if n_samples > initial.sizes["sample"]:
        raise ValueError(f"n_samples={n_samples} exceeds the {initial.sizes['sample']} samples of the initial ensemble")
    if initial.sizes["run"] not in (1, n_runs):
        raise ValueError(f"initial has {initial.sizes['run']} runs but parameters has {n_runs}; give as many, in order")
    for name, column in ensembles.parameters(initial).items():
        if initial.sizes["run"] == n_runs and name in table and not tolerances.all_same(table[name], column):
            raise ValueError(
                f"initial has {name}={column.tolist()!r} but parameters has {table[name].tolist()!r}; "
                "runs are matched in order, so give both the same values"
            )
    # Run by run: those of all runs may be more than memory holds.
    samples = {name: initial[name].isel(time=0, sample=slice(n_samples)) for name in names}
    for name, array in samples.items():
        require_representable(f"initial variable {name!r}", array)
    time = float(initial["time"].values[0])

    def start(run: int, row: Parameters, key: Key) -> State:
        chosen = {name: array.isel(run=run % array.sizes["run"]).values for name, array in samples.items()}
        return state_from_samples(stepper, chosen, time, row, key)

    return start

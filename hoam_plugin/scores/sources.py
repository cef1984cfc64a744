"""What is scored: samples of an ensemble, drawn again with replacement, or frozen at the first saved time."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from hoam_plugin import ensembles
from hoam_plugin._types import State
from hoam_plugin.steppers import (
    Stepper,
    abilities_of,
    as_jax,
    clock,
    default_float,
    rebuild_stepper,
    state_from_samples,
)

# (run, time index) -> samples of shape (sample, D).
Source = Callable[[int, int], np.ndarray]


def samples_of(ds: xr.Dataset) -> Source:
    """The ensemble's own samples."""
    return lambda run, time: ensembles.samples(ds, run, time)


def frozen(truth: xr.Dataset) -> Source:
    """The samples of the first saved time, at every time."""
    return lambda run, time: ensembles.samples(truth, run, 0)


def bootstrapped(truth: xr.Dataset, seed: int) -> Source:
    """Samples of the truth drawn with replacement, anew at every run and time; the same again for the same seed."""
    return lambda run, time: ensembles.samples(truth, run, time)[bootstrap_indices(truth, seed, run, time)]


def bootstrap_indices(truth: xr.Dataset, seed: int, run: int, time: int) -> Int[np.ndarray, " sample"]:
    """Which samples the bootstrap takes at one run and time."""
    n_samples = truth.sizes["sample"]
    return np.random.default_rng((seed, run, time)).integers(n_samples, size=n_samples)


def bootstrapped_curves(
    truth: xr.Dataset, names: Sequence[str], seed: int, times: Int[np.ndarray, " time"]
) -> dict[str, Float[np.ndarray, "run time"] | str]:
    """Scalar diagnostics of the bootstrapped samples at the given time indices, as the rebuilt stepper computes them.

    In the place of a curve, the reason why there is none: the stepper cannot be rebuilt, has other variables or no such
    diagnostic, or the samples are float64 in JAX's 32-bit mode.
    """
    try:
        stepper = _stepper_of(truth)
        known = {v.name for v in abilities_of(stepper).diagnostic_variables}
        computed = tuple(name for name in names if name in known)
        curves = _bootstrapped_diagnostics(truth, stepper, computed, seed, times) if computed else {}
    except ValueError as error:
        return dict.fromkeys(names, str(error))
    kind = type(stepper).__name__
    return {name: curves.get(name, f"the stepper {kind} has no diagnostic {name!r}") for name in names}


def _stepper_of(truth: xr.Dataset) -> Stepper:
    try:
        stepper = rebuild_stepper(truth)
    except TypeError as error:
        raise ValueError(str(error)) from error
    if stepper is None:
        raise ValueError("the truth's attributes do not name a stepper that is installed here")
    names = ensembles.variable_names(truth)
    if {v.name for v in stepper.variables} != set(names):
        raise ValueError(
            f"the truth has the variables {names!r}, its stepper needs {[v.name for v in stepper.variables]!r}"
        )
    return stepper


def _bootstrapped_diagnostics(
    truth: xr.Dataset, stepper: Stepper, names: tuple[str, ...], seed: int, times: Int[np.ndarray, " time"]
) -> dict[str, Float[np.ndarray, "run time"]]:
    saved = truth["time"].values
    curves = {name: np.empty((truth.sizes["run"], len(times))) for name in names}
    for run in range(truth.sizes["run"]):
        row = {name: jnp.asarray(value, default_float()) for name, value in ensembles.parameters(truth, run).items()}
        arrays = {name: truth[name].isel(run=run).values for name in ensembles.variable_names(truth)}
        try:
            template = state_from_samples(
                stepper, {n: a[0] for n, a in arrays.items()}, float(saved[0]), row, jax.random.key(seed)
            )
        except TypeError as error:
            raise ValueError(str(error)) from error
        for i, time in enumerate(times.tolist()):
            chosen = bootstrap_indices(truth, seed, run, time)
            fields = {name: as_jax(array[time][chosen]) for name, array in arrays.items()}
            values = _diagnostics(stepper, clock.with_time(template, float(saved[time])), fields, row, names)
            for name, value in zip(names, values, strict=True):
                curves[name][run, i] = value
    return curves


@functools.partial(jax.jit, static_argnames="names")
def _diagnostics(
    stepper: Stepper, template: State, fields: dict[str, Array], parameters: Mapping[str, Array], names: tuple[str, ...]
) -> list[ArrayLike]:
    state = stepper.refresh(dataclasses.replace(template, **fields), parameters)
    diagnostics = abilities_of(stepper).diagnostics
    assert diagnostics is not None  # a stepper that describes some has them
    values = diagnostics(state, parameters)
    return [values[name] for name in names]

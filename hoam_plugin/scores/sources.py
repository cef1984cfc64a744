"""What is scored: samples of an ensemble, drawn again with replacement, or frozen; diagnostics of any of them."""

from __future__ import annotations

import dataclasses
import functools
import math
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


@dataclasses.dataclass(frozen=True, eq=False)
class Frozen:
    """The samples of the first saved time of an ensemble, at every time."""

    truth: xr.Dataset

    def __call__(self, run: int, time: int) -> Float[np.ndarray, "sample D"]:
        """Those of a run, whatever the time."""
        return ensembles.samples(self.truth, run, 0)


def bootstrapped(truth: xr.Dataset, seed: int) -> Source:
    """Samples of the truth drawn with replacement, anew at every run and time; the same again for the same seed."""

    def drawn(run: int, time: int) -> Float[np.ndarray, "sample D"]:
        samples = ensembles.samples(truth, run, time)
        return samples[np.random.default_rng((seed, run, time)).integers(len(samples), size=len(samples))]

    return drawn


def recomputed_curves(
    truth: xr.Dataset,
    names: Sequence[str],
    source: Source,
    runs: Sequence[int],
    times: Int[np.ndarray, " time"],
    seed: int,
) -> dict[str, Float[np.ndarray, "run time"] | str]:
    """Scalar diagnostics of the samples of a source at the given time indices, as the truth's stepper computes them.

    In the place of a curve, the reason why there is none: the stepper cannot be rebuilt, has other variables or no such
    diagnostic, or the samples are float64 in JAX's 32-bit mode.

    Args:
        truth: where the stepper, the parameters and the start come from.
        names: of the diagnostics.
        source: of samples in the truth's variables.
        runs: which runs; curves of others are NaN.
        times: indices of saved times.
        seed: of what the stepper's state holds beside samples.
    """
    if not names:
        return {}
    try:
        stepper = _stepper_of(truth)
        known = {v.name for v in abilities_of(stepper).diagnostic_variables}
        computed = tuple(name for name in names if name in known)
        curves = _diagnostics_of(truth, stepper, computed, source, runs, times, seed) if computed else {}
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


def _diagnostics_of(
    truth: xr.Dataset,
    stepper: Stepper,
    names: tuple[str, ...],
    source: Source,
    runs: Sequence[int],
    times: Int[np.ndarray, " time"],
    seed: int,
) -> dict[str, Float[np.ndarray, "run time"]]:
    saved = truth["time"].values
    curves = {name: np.full((truth.sizes["run"], len(times)), np.nan) for name in names}
    for run in runs:
        row = {name: jnp.asarray(value, default_float()) for name, value in ensembles.parameters(truth, run).items()}
        start = {name: truth[name].isel(run=run, time=0).values for name in ensembles.variable_names(truth)}
        try:
            template = state_from_samples(stepper, start, float(saved[0]), row, jax.random.key(seed))
        except TypeError as error:
            raise ValueError(str(error)) from error
        for i, time in enumerate(times.tolist()):
            fields = {name: as_jax(values) for name, values in _parts(source(run, time), start).items()}
            values = _diagnostics(stepper, clock.with_time(template, float(saved[time])), fields, row, names)
            for name, value in zip(names, values, strict=True):
                curves[name][run, i] = value
    return curves


def _parts(x: Float[np.ndarray, "sample D"], like: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Columns as variables of the shapes and dtypes of others, in their order."""
    parts, first = {}, 0
    for name, array in like.items():
        width = math.prod(array.shape[1:])
        parts[name] = x[:, first : first + width].reshape(len(x), *array.shape[1:]).astype(array.dtype)
        first += width
    return parts


@functools.partial(jax.jit, static_argnames="names")
def _diagnostics(
    stepper: Stepper, template: State, fields: dict[str, Array], parameters: Mapping[str, Array], names: tuple[str, ...]
) -> list[ArrayLike]:
    state = stepper.refresh(dataclasses.replace(template, **fields), parameters)
    diagnostics = abilities_of(stepper).diagnostics
    assert diagnostics is not None  # a stepper that describes some has them
    values = diagnostics(state, parameters)
    return [values[name] for name in names]

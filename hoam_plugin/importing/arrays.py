"""Ensembles of NumPy arrays: the one call by which a user of another code starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import numpy as np

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import increasing_times
from hoam_plugin._types import Key, Numbers
from hoam_plugin.ensembles import Ensemble
from hoam_plugin.importing.described import Description
from hoam_plugin.importing.precision import in_precision, require_resolved
from hoam_plugin.importing.snapshot_ensembles import drawing_of, imported
from hoam_plugin.importing.snapshots import IDS, WEIGHTS, require_unmasked
from hoam_plugin.steppers import default_float

# An array, or lists of one array for each run and time.
Ragged = Numbers | Sequence[Sequence[Numbers]]


def from_arrays(
    *,
    time: Numbers,
    parameters: Mapping[str, Numbers] | None = None,
    period: Mapping[str, float] | None = None,
    velocity_of: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
    weights: Ragged | None = None,
    ids: Ragged | None = None,
    n_samples: int | None = None,
    key: Key | None = None,
    **variables: Ragged,
) -> Ensemble:
    """An ensemble of arrays (run, time, sample), or (run, time, sample, axis) for vectors.

    Where runs or times have different numbers of particles, lists take the place of the first two axes: `x[run][time]`
    is then an array (particle,) or (particle, axis). These, and arrays with `weights` or `ids`, are drawn from as
    `from_snapshots` does; equally long arrays without either are taken as they are, sample by sample.

    Args:
        time: saved times, physical units, the same for all runs.
        parameters: name to one value per run.
        period: variable to the length of its torus.
        velocity_of: velocity to its position, as in {"v": "x"}.
        units: CF units of variables, parameters and "time".
        weights: of the particles, in the form of the variables; also (particle,) or (run, particle) where they stay.
        ids: whole numbers by which particles are told apart, in the same form.
        n_samples: samples per run and time that are drawn, with weights or ids or from different numbers of particles;
            by default as many as the least of these numbers.
        key: JAX random key, which drawing needs.
        **variables: name to samples, in any numeric dtype; they are converted to JAX's default precision.

    Raises:
        TypeError: no variable, dates, or drawing without `key`.
        ValueError: arrays whose axes do not fit one another, times or parameters, with masked entries, or so far from 0
            that the precision does not resolve them; errors of `from_snapshots` and of
            `validate`.

    Example:
        >>> t = np.linspace(0.0, 1.0, 5)
        >>> x = np.random.default_rng(0).normal(size=(2, 5, 64)) + t[:, None]
        >>> ds = hoam.ensemble.from_arrays(x=x, time=t, parameters={"mu": [1.0, 2.0]}, period={"x": 8.0})
        >>> dict(ds.sizes), ds["x"].attrs["period"]
        ({'run': 2, 'time': 5, 'sample': 64}, 8.0)
    """
    described = Description(parameters, period, velocity_of, units)
    if np.asarray(time).dtype.kind in "mM":
        raise TypeError("time holds dates or spans of time; give numbers, in the units of the run")
    times = increasing_times("time", time)
    if not variables:
        raise TypeError("from_arrays(...) has no variables; give at least one array, such as x=...")
    for name, values in variables.items():
        require_unmasked(name, values)
    rectangular = {name: _rectangular(values) for name, values in variables.items()}
    plain = {name: values for name, values in rectangular.items() if values is not None}
    if len(plain) == len(variables) and weights is None and ids is None and n_samples is None:
        return _as_it_is(plain, times, described)
    parts = {name: _by_run_and_time(name, values, len(times)) for name, values in variables.items()}
    n_runs = len(next(iter(parts.values())))
    for name, given in ((WEIGHTS, weights), (IDS, ids)):
        if given is not None:
            parts[name] = _by_run_and_time(name, _spread(given, n_runs, len(times)), len(times))
    runs = {name: len(of_runs) for name, of_runs in parts.items()}
    if len(set(runs.values())) > 1:
        raise ValueError(f"the arrays have different numbers of runs, {runs!r}; the first axis is that of the runs")
    described.columns(n_runs)
    if key is None:
        raise TypeError(
            "key=None: samples are drawn where there are weights, ids or different numbers of particles; give a JAX "
            "random key, such as jax.random.key(0)"
        )
    least = min(_length(part) for name in variables for of_run in parts[name] for part in of_run)

    def snapshots(run: int) -> Iterator[dict[str, object]]:
        for index, moment in enumerate(times.tolist()):
            own = {name: of_runs[run][index] for name, of_runs in parts.items()}
            yield {"time": moment, "where": f"run {run}, time index {index}", **own}

    drawing = drawing_of(max(least, 1) if n_samples is None else n_samples, key)
    return cast(Ensemble, imported([snapshots(run) for run in range(n_runs)], drawing, described, None, progress=False))


def _as_it_is(variables: Mapping[str, np.ndarray], times: np.ndarray, described: Description) -> Ensemble:
    """The ensemble of arrays (run, time, sample, ...).

    Raises:
        ValueError: axes that do not fit one another or the times.
    """
    for name, values in variables.items():
        if values.ndim < 3:
            hint = f"; for one run, {name}={name}[None]" if values.shape[:1] == times.shape else ""
            raise ValueError(
                f"{name} has the shape {values.shape}; it must be (run, time, sample) or with one axis "
                f"more for vectors{hint}"
            )
        if values.shape[1] != len(times):
            raise ValueError(
                f"{name} has the shape {values.shape} and time has {len(times)} entries; the second axis is that of "
                "the times"
            )
    leading = {name: values.shape[:3] for name, values in variables.items()}
    if len(set(leading.values())) > 1:
        raise ValueError(f"the arrays differ in their runs, times or samples: {leading!r}")
    n_runs = next(iter(leading.values()))[0]
    frame = ensembles.frame(times, described.columns(n_runs), n_runs=n_runs)
    own = described.variables({name: values.shape[3:] for name, values in variables.items()})
    dtype = np.dtype(default_float())
    for name, values in variables.items():
        require_resolved(values, dtype, f"variable {name!r}")
    samples = {name: in_precision(values, dtype, f"variable {name!r}") for name, values in variables.items()}
    return cast(Ensemble, described.with_units(ensembles.build(frame, own, samples)))


def _rectangular(values: Ragged) -> np.ndarray | None:
    """The values as one array of numbers, or None where lists are not equally long."""
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    return None if array.dtype.kind not in "fiub" else array


def _spread(given: Ragged, n_runs: int, n_times: int) -> Ragged:
    """Weights or ids of every run and time, where they were given once for all, or once for each run."""
    array = _rectangular(given)
    if array is None or array.ndim > 2 or array.ndim == 0:
        return given
    require_unmasked("weights or ids", given)
    of_runs = np.broadcast_to(array, (n_runs, array.shape[-1]))
    return np.broadcast_to(of_runs[:, None], (n_runs, n_times, array.shape[-1]))


def _by_run_and_time(name: str, values: Ragged, n_times: int) -> list[list[np.ndarray]]:
    of_runs = values if isinstance(values, Sequence | np.ma.MaskedArray) else np.asarray(values)
    try:
        parts = [[np.asanyarray(part) for part in cast(Sequence[Numbers], of_run)] for of_run in of_runs]
    except TypeError as error:
        raise ValueError(
            f"{name} must be an array (run, time, sample), or lists of arrays: {name}[run][time]"
        ) from error
    for run, of_run in enumerate(parts):
        if len(of_run) != n_times:
            raise ValueError(
                f"{name} has {len(of_run)} times in run {run}, and time has {n_times} entries; {name}[run][time] is "
                "the array of one time"
            )
    return parts


def _length(part: np.ndarray) -> int:
    return len(part) if part.ndim else 0

"""What a surrogate's scores stand beside: a second truth or bootstrap, interpolation between runs, frozen samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin import ensembles
from hoam_plugin.numerics.tolerances import tolerance
from hoam_plugin.scores import labels
from hoam_plugin.scores.distances import Coordinate, coordinates_of, embedded, moments
from hoam_plugin.scores.interpolation import interpolation_weights
from hoam_plugin.steppers import as_jax, clock, default_float, rebuild_stepper, state_from_samples

ENERGY = "electric_energy"

# (run, time index) -> samples of shape (sample, D).
Source = Callable[[int, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Curves:
    """Scalar curves of one run: mean and covariance of the embedded samples, and the electric energy if recorded."""

    mean: Float[np.ndarray, "time F"]
    covariance: Float[np.ndarray, "time F F"]
    energy: Float[np.ndarray, " time"] | None

    def map(self, by: Callable[..., Any], *others: Curves) -> Curves:
        """The curves that a function of arrays makes of the same curve of several runs."""
        runs = (self, *others)
        energies = [c.energy for c in runs]
        return Curves(
            mean=by(*(c.mean for c in runs)),
            covariance=by(*(c.covariance for c in runs)),
            energy=None if any(e is None for e in energies) else by(*energies),
        )


def energy_curves(ds: xr.Dataset) -> Float[np.ndarray, "run time"] | None:
    """The ensemble's `electric_energy` in float64, or None where it has none."""
    if ENERGY not in ds or set(ds[ENERGY].dims) != {"run", "time"}:
        return None
    return ds[ENERGY].transpose("run", "time").values.astype(np.float64)


def interpolated_energy(truth: xr.Dataset, training: xr.Dataset) -> list[Float[np.ndarray, " time"] | str]:
    """The electric energy at the truth's parameters and times, interpolated between training runs, run by run.

    In its place, for a run outside the training runs' hull, the reason.

    Raises:
        ValueError: the training runs carry no electric energy.
    """
    if energy_curves(training) is None:
        raise ValueError(f"training carries no {ENERGY!r}; simulate it with a stepper that records it")
    times = truth["time"].values.astype(np.float64)
    few = training.isel(sample=slice(2))
    between = Interpolation(few, coordinates_of(few))
    found: list[Float[np.ndarray, " time"] | str] = []
    for run in range(truth.sizes["run"]):
        try:
            energy = between.curves(ensembles.parameters(truth, run), times).energy
        except ValueError as error:
            found.append(str(error))
        else:
            assert energy is not None
            found.append(energy)
    return found


def samples_of(ds: xr.Dataset) -> Source:
    """The ensemble's own samples."""
    return lambda run, time: ensembles.samples(ds, run, time)


def frozen(truth: xr.Dataset) -> Source:
    """The samples of the first saved time, at every time."""
    return lambda run, time: ensembles.samples(truth, run, 0)


def curves_of(
    source: Source,
    run: int,
    times: Int[np.ndarray, " time"],
    coordinates: tuple[Coordinate, ...],
    energy: Float[np.ndarray, " time"] | None,
) -> Curves:
    """The curves of one run of a source at the given time indices; its energy is handed through."""
    rows = [moments(embedded(source(run, time), coordinates)) for time in times.tolist()]
    mean, covariance = (np.stack(column) for column in zip(*rows, strict=True))
    return Curves(mean, covariance, energy)


def bootstrapped(truth: xr.Dataset, seed: int) -> Source:
    """Samples of the truth drawn with replacement, anew at every run and time; the same again for the same seed."""
    return lambda run, time: ensembles.samples(truth, run, time)[bootstrap_indices(truth, seed, run, time)]


def bootstrap_indices(truth: xr.Dataset, seed: int, run: int, time: int) -> Int[np.ndarray, " sample"]:
    """Which samples the bootstrap takes at one run and time."""
    n_samples = truth.sizes["sample"]
    return np.random.default_rng((seed, run, time)).integers(n_samples, size=n_samples)


def bootstrapped_energy(truth: xr.Dataset, seed: int, times: Int[np.ndarray, " time"]) -> Float[np.ndarray, "run time"]:
    """Electric energy of the bootstrapped samples at the given time indices, by the diagnostics of the rebuilt stepper.

    Raises:
        ValueError: the stepper cannot be rebuilt, has other variables or no such diagnostic, or the samples are float64
            in JAX's 32-bit mode.
    """
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
    if ENERGY not in {v.name for v in getattr(stepper, "diagnostic_variables", ())}:
        raise ValueError(f"the stepper {type(stepper).__name__} has no diagnostic {ENERGY!r}")
    saved = truth["time"].values
    energy = np.empty((truth.sizes["run"], len(times)))
    for run in range(truth.sizes["run"]):
        row = {name: jnp.asarray(value, default_float()) for name, value in ensembles.parameters(truth, run).items()}
        arrays = {name: truth[name].isel(run=run).values for name in names}
        try:
            template = state_from_samples(
                stepper, {n: a[0] for n, a in arrays.items()}, float(saved[0]), row, jax.random.key(seed)
            )
        except TypeError as error:
            raise ValueError(str(error)) from error
        for i, time in enumerate(times.tolist()):
            chosen = bootstrap_indices(truth, seed, run, time)
            fields = {name: as_jax(array[time][chosen]) for name, array in arrays.items()}
            energy[run, i] = _energy(stepper, clock.with_time(template, float(saved[time])), fields, row)
    return energy


@jax.jit
def _energy(stepper: Any, template: Any, fields: dict[str, Any], parameters: dict[str, Any]) -> Any:
    state = stepper.refresh(dataclasses.replace(template, **fields), parameters)
    return stepper.diagnostics(state, parameters)[ENERGY]


class Interpolation:
    """Linear interpolation, in the physics parameters, of the curves of the training runs around the truth's.

    Curves are taken at the wanted times: exactly where the training ensemble saved them, else by cubic splines in time,
    which is approximate.

    Args:
        training: the training ensemble.
        coordinates: columns of its samples.
    """

    def __init__(self, training: xr.Dataset, coordinates: tuple[Coordinate, ...]) -> None:
        self._training, self._coordinates = training, coordinates
        self._energy = energy_curves(training)
        self._source = samples_of(training)
        self._cache: dict[int, Curves] = {}

    def curves(self, parameters: dict[str, float], times: Float[np.ndarray, " time"]) -> Curves:
        """Interpolated curves at parameter values and times (the same times in every call).

        Raises:
            ValueError: no parameters, or values or times outside the training ensemble's.
        """
        weights = interpolation_weights(ensembles.parameters(self._training), parameters)
        first, *others = (self._at_times(run, times) for run in weights)
        return first.map(lambda *arrays: np.tensordot(list(weights.values()), np.stack(arrays), 1), *others)

    def _at_times(self, run: int, times: Float[np.ndarray, " time"]) -> Curves:
        if run not in self._cache:
            saved = self._training["time"].values.astype(np.float64)
            margin = tolerance(saved)
            if times[0] < saved[0] - margin or times[-1] > saved[-1] + margin:
                ends = [*times[[0, -1]], *saved[[0, -1]]]
                ends = [labels.number(end, ends) for end in ends]
                raise ValueError(
                    f"the times [{ends[0]}, {ends[1]}] are outside the training ensemble's [{ends[2]}, {ends[3]}]"
                )
            nearest = np.abs(saved[:, None] - times[None, :]).argmin(axis=0)
            if np.abs(saved[nearest] - times).max() <= margin:
                self._cache[run] = self._own_curves(run, nearest)
            else:
                clipped = np.clip(times, saved[0], saved[-1])
                own = self._own_curves(run, np.arange(len(saved)))
                self._cache[run] = _cubic_in_time(own, saved, clipped)
        return self._cache[run]

    def _own_curves(self, run: int, times: Int[np.ndarray, " time"]) -> Curves:
        energy = None if self._energy is None else self._energy[run, times]
        return curves_of(self._source, run, times, self._coordinates, energy)


def _cubic_in_time(curves: Curves, saved: Float[np.ndarray, " saved"], times: Float[np.ndarray, " time"]) -> Curves:
    from scipy.interpolate import CubicSpline

    return curves.map(lambda table: CubicSpline(saved - saved[0], table)(times - saved[0]))

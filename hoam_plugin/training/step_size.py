"""How long the steps of a new surrogate may be, where its noise makes the learned drift stiff."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin._internal import warned
from hoam_plugin._types import Key
from hoam_plugin.simulation import simulate
from hoam_plugin.surrogates import Surrogate

# The rate at which the drift has to take back what noise spreads, eps^2 / (2 variance) per normalised time, from which
# on steps are tried out; where a population is curved it is thinner than its variance says, and the rate is higher.
_STIFF = 10.0
# How often the number of steps is doubled at most.
_MOST_DOUBLINGS = 5
_SAMPLES, _TIMES = 1024, 9
# Steps are short enough when halving them changes the population by no more than so many times what another noise does.
_TOLERANCE = 1.2


def allows_default(model: Surrogate, ds: xr.Dataset, key: Key) -> bool:
    """Whether the default steps are short enough for the noise of a surrogate."""
    # Nobody has asked for this noise.
    with warned.kept_back():
        return resolved(model, ds, key, most_doublings=1).dt == model.dt


def resolved(model: Surrogate, ds: xr.Dataset, key: Key, *, most_doublings: int = _MOST_DOUBLINGS) -> Surrogate:
    """The surrogate with steps that are short enough for its noise.

    Noise of amplitude epsilon widens a population of small spread sigma at once, and the learned drift has to draw it
    together at the rate epsilon^2 / (2 sigma^2): with few steps it overshoots, and the population is wrong or grows
    without bound. A few hundred samples of one run are rolled out with the default number of steps, then with twice as
    many and so on, until that no longer changes the population. Where there is no noise, or no thin direction, nothing
    is done.

    Args:
        model: with default steps.
        ds: the training runs.
        key: for the noise.
        most_doublings: of the number of steps.
    """
    learned = model.learned
    if learned.structure.knows_dynamics or learned.epsilon == 0:
        return model
    run, rate = _stiffest(model, ds)
    if rate < _STIFF:
        return model
    norm = learned.normalisation
    times = norm.horizon[0] + norm.elapsed_on_host(np.linspace(0.0, 1.0, _TIMES))
    times[-1] = norm.horizon[1]
    start = ds.isel(run=[run], time=[0], sample=slice(_SAMPLES)).load()
    parameters = {name: [float(values[run])] for name, values in ensembles.parameters(ds).items()}

    def populations(n_doublings: int, seed: int) -> Float[np.ndarray, "t n D"]:
        try:
            rolled = simulate(
                _with_steps(model, n_doublings),
                parameters,
                times,
                key=jax.random.fold_in(key, seed),
                n_samples=start.sizes["sample"],
                initial=start,
                progress=False,
            )
        except FloatingPointError:
            # Such steps are too long by far.
            return np.full((_TIMES, start.sizes["sample"], len(norm.periods)), np.nan)
        return np.sort(_rows(rolled, model, 0), axis=1)

    coarse = populations(0, 0)
    for doublings in range(most_doublings):
        fine = populations(doublings + 1, 0)
        noise = _distance(fine, populations(doublings + 1, 1))
        if _distance(coarse, fine) <= _TOLERANCE * noise < np.inf:
            return _with_steps(model, doublings)
        coarse = fine
    finest = _with_steps(model, most_doublings)
    warned.warn(
        f"epsilon={learned.epsilon:g} makes the surrogate so stiff that its populations still change with the size of "
        f"its steps at dt={finest.dt:g}; a smaller epsilon would help",
        stacklevel=3,
    )
    return finest


def _stiffest(model: Surrogate, ds: xr.Dataset) -> tuple[int, float]:
    """The run with the thinnest population at any of a few times, and how fast noise is to be taken back there."""
    norm = model.learned.normalisation
    free = np.flatnonzero([period is None for period in norm.periods])
    if not len(free):
        return 0, 0.0
    taus = norm.tau_on_host(ds["time"].values.astype(np.float64))
    chosen = np.unique(np.abs(taus[:, None] - np.linspace(0, 1, _TIMES)[None, :]).argmin(axis=0))
    some = ds.isel(time=chosen, sample=slice(_SAMPLES)).load()
    rates = []
    for run in range(ds.sizes["run"]):
        y = _rows(some, model, run)[..., free]
        y -= y.mean(axis=1, keepdims=True)
        thinnest = np.linalg.svd(y, compute_uv=False)[:, -1] ** 2 / y.shape[1]
        # What single precision leaves of the spread is none.
        thinnest = thinnest[thinnest > np.finfo(np.float32).eps ** 2]
        rates.append(float(model.learned.epsilon**2 / (2 * thinnest.min())) if len(thinnest) else 0.0)
    return int(np.argmax(rates)), max(rates)


def _rows(ds: xr.Dataset, model: Surrogate, run: int) -> Float[np.ndarray, "t n D"]:
    """The samples of a run, in units of the normalisation but not shifted."""
    learned = model.learned
    n_times, n = ds.sizes["time"], ds.sizes["sample"]
    columns = [ds[name].values[run].reshape(n_times, n, -1).astype(np.float64) for name in learned.layout.names]
    return np.concatenate(columns, axis=-1) / np.asarray(learned.normalisation.scale, np.float64)


def _with_steps(model: Surrogate, n_doublings: int) -> Surrogate:
    options = dataclasses.replace(model.options, dt=model.options.dt / 2**n_doublings)
    return dataclasses.replace(model, options=options)


def _distance(a: Float[np.ndarray, "t n D"], b: Float[np.ndarray, "t n D"]) -> float:
    """Root mean square distance of sorted coordinates; infinite where there is none."""
    found = float(np.sqrt(np.mean((a - b) ** 2)))
    return found if np.isfinite(found) else np.inf

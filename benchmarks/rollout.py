"""Moving a population with a learned potential, against diffrax, one sample each. `python -m benchmarks.rollout`."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin.surrogates import with_learned

_SAMPLES = 25_000
_STEPS = 1000
_MU = 1.55
_TIMES = np.linspace(0.0, 40.0, 33)
_HORIZON = 40.0
_CUT = 0.05


def diffrax_rollout(model: hoam.Surrogate, steps: int) -> Callable[..., Any]:
    """The authors' way: Euler-Maruyama by diffrax with a VirtualBrownianTree for one sample, vmapped over all."""
    scale = model.learned.normalisation.scale * (model.learned.epsilon / model.learned.normalisation.duration**0.5)

    def one(model: hoam.Surrogate, y: Any, key: Any, parameters: Any) -> Any:
        def drift(t: Any, y: Any, args: Any) -> Any:
            return model.velocity(y[None], t, parameters)[0]

        terms: Any = diffrax.ODETerm(drift)
        if model.learned.epsilon > 0:
            path = diffrax.VirtualBrownianTree(0.0, _HORIZON, tol=_HORIZON / steps / 2, shape=y.shape, key=key)
            terms = diffrax.MultiTerm(terms, diffrax.ControlTerm(lambda t, y, args: jnp.diag(scale), path))
        saveat = diffrax.SaveAt(ts=jnp.asarray(_TIMES, y.dtype))
        return diffrax.diffeqsolve(
            terms, diffrax.Euler(), 0.0, _HORIZON, _HORIZON / steps, y, saveat=saveat, max_steps=steps + 64
        ).ys

    return jax.jit(jax.vmap(one, (None, 0, 0, None)))


def hoam_rollout(model: hoam.Surrogate, start: Any, seed: int) -> xr.Dataset:
    """One run through `simulate`."""
    return hoam.simulate(
        model, {"mu": [_MU]}, _TIMES, key=jax.random.key(seed), initial=start, n_samples=_SAMPLES, progress=False
    )


def observables(x: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Three density modes and two moments of the velocity over the saved times, all of order one."""
    k = 2 * np.pi / 50.0 * np.arange(1, 4)[:, None, None]
    phases = k * x[None].astype(np.float64)
    wide = v.astype(np.float64)
    modes = [np.cos(phases).mean(-1), np.sin(phases).mean(-1)]
    return np.concatenate([*modes, (wide**2).mean(-1)[None] / 10, (wide**4).mean(-1)[None] / 300])


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference."""
    return float(np.sqrt(np.mean((a - b) ** 2)))


def of_ensemble(ds: xr.Dataset) -> np.ndarray:
    """`observables` of a single run."""
    return observables(ds["x"].values[0], ds["v"].values[0])


def untrained(width: int, depth: int, trained: hoam.Surrogate) -> hoam.Surrogate:
    """Random weights of another size in the place of the trained ones: moves samples a little, at the full cost."""
    potential = hoam.CoLoRA(width=width, depth=depth, rank=3)
    weights = potential.init(jax.random.key(0), 3, 2)
    last = weights["layers"][-1]
    last |= {"W": 0.01 * jax.random.normal(jax.random.key(1), last["W"].shape)}
    return with_learned(trained, potential=potential, weights=weights)


def main() -> None:
    """Write `results/rollout.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="a surrogate of two_stream with noise; else one is trained now")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    sim = hoam.stepper("two_stream")
    model = hoam.load(options.model) if options.model else trained(sim)
    start = sim.init(jax.random.key(1), _SAMPLES, {"mu": _MU})
    report.write(
        "rollout",
        f"# Rollout\n\n`python -m benchmarks.rollout`: {_SAMPLES} samples of `two_stream`, mu = {_MU}, to t = 40, "
        f"{len(_TIMES)} saved times; float32; medians of {options.repeats} runs after a warm-up (diffrax: of 1).\n\n"
        f"{report.machine(['hoam-plugin', 'jax', 'diffrax'])}\n\n"
        f"{same_steps(model, start, options.repeats)}\n\n{equal_error(model, start, options.repeats)}",
    )


def trained(sim: Any) -> hoam.Surrogate:
    """The surrogate of the demo."""
    rule = hoam.quadrature.gauss_legendre(256)
    ds = hoam.simulate(sim, {"mu": np.linspace(1.2, 1.9, 8)}, rule, key=jax.random.key(0), n_samples=_SAMPLES)
    return hoam.fit(ds, key=jax.random.key(0))


def same_steps(trained: hoam.Surrogate, start: Any, repeats: int) -> str:
    """Table of the same 1000 Euler-Maruyama steps."""
    rows = []
    y0 = jnp.stack([start.x, start.v], axis=-1)
    keys = jax.random.split(jax.random.key(2), _SAMPLES)
    parameters = {"mu": jnp.asarray(_MU)}
    for width, depth in ((64, 7), (32, 5)):
        model = untrained(width, depth, trained).with_options(
            integrator="euler", noise="independent", dt=_HORIZON / _STEPS
        )
        theirs = diffrax_rollout(model, _STEPS)
        slow = report.median_seconds(lambda m=model, f=theirs: jax.block_until_ready(f(m, y0, keys, parameters)), 1)
        fast = report.median_seconds(lambda m=model: hoam_rollout(m, start, 3), repeats)
        rows.append([f"{depth} x {width}", f"{slow:.1f}", f"{fast:.1f}", f"{slow / fast:.1f}"])
    header = ["layers", "diffrax, vmapped over samples, s", "hoam, s", "ratio"]
    return f"Same {_STEPS} Euler-Maruyama steps with independent noise:\n\n{report.table(header, rows)}"


def equal_error(model: hoam.Surrogate, start: Any, repeats: int) -> str:
    """Table of time and error of all methods on the trained surrogate, with the diffrax rollout as the first row."""
    fine = model.with_options(integrator="heun", dt=_HORIZON / 1000, noise="stratified")
    references = [of_ensemble(hoam_rollout(fine, start, seed)) for seed in (11, 12, 13, 14)]
    reference = np.mean(references, axis=0)
    scatter = statistics.mean(apart(r, reference) for r in references) * (4 / 3) ** 0.5
    y0 = jnp.stack([start.x, start.v], axis=-1)
    theirs = diffrax_rollout(model, _STEPS)
    keys = jax.random.split(jax.random.key(2), _SAMPLES)
    parameters = {"mu": jnp.asarray(_MU)}

    def solve() -> np.ndarray:
        return np.asarray(theirs(model, y0, keys, parameters))

    slow, paths = report.median_seconds(solve, 1), solve()
    error = apart(observables(paths[..., 0].T, paths[..., 1].T), reference)
    rows = [["diffrax, Euler-Maruyama, vmapped over samples", "independent", f"{_STEPS}", f"{_STEPS}", f"{slow:.1f}"]]
    rows[0] += [f"{error:.1e}", "1.0"]
    cases = [("euler", noise, n) for noise in ("independent", "stratified") for n in (125, 250, 500, 1000)]
    cases += [("heun", noise, n) for noise in ("independent", "stratified") for n in (32, 64, 125, 250)]
    for integrator, noise, n in cases:
        options = model.with_options(integrator=integrator, noise=noise, dt=_HORIZON / n)
        fast = report.median_seconds(lambda m=options: hoam_rollout(m, start, 5), repeats)
        errors = [apart(of_ensemble(hoam_rollout(options, start, seed)), reference) for seed in (5, 6)]
        evaluations = n * (2 if integrator == "heun" else 1)
        rows.append([f"hoam, {integrator}", noise, str(n), str(evaluations), f"{fast:.2f}"])
        rows[-1] += [f"{np.sqrt(np.mean(np.square(errors))):.1e}", f"{slow / fast:.0f}"]
    header = ["method", "noise", "steps", "evaluations", "s", "error", "times diffrax"]
    return (
        "On a surrogate with the demo's settings. The error is the root mean square distance of three density modes "
        "and two velocity moments over all saved times from the mean of four rollouts with 1000 steps of the "
        f"stochastic Heun scheme, which scatter by {scatter:.1e}.\n\n{report.table(header, rows)}"
    )


if __name__ == "__main__":
    main()

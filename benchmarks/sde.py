"""Fixed-step ensembles of stochastic equations against one diffrax solve per sample, and the weak error of their steps.

`python -m benchmarks.sde`: all of a population takes the same steps, of the same scheme, to the problem's horizon.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import lineax as lx  # type: ignore[import-untyped]
import numpy as np

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin.simulators import duffing, lorenz9, trap
from hoam_plugin.simulators.stochastic.brownian_increments import draw
from hoam_plugin.simulators.stochastic.fixed_and_adaptive_steps import fixed_step
from hoam_plugin.steppers import SampleLayout

_PROBLEMS: dict[str, tuple[Callable[..., Any], dict[str, float], int]] = {
    "duffing": (duffing, {"mu": 0.2}, 25_000),
    "lorenz9": (lorenz9, {"r": 13.65}, 25_000),
    "trap": (trap, {"mu": 0.6}, 5_000),
}
# diffrax per sample takes this many times fewer steps.
_FEWER = 10
# Times at which moments are compared, and how much finer the steps of the reference are.
_COMPARED = 4
_COMPARED_SAMPLES = {"duffing": 25_000, "lorenz9": 10_000, "trap": 1_000}
_FINER = 10


def one_solve_per_sample(stepper: Any, n_steps: int, n_taken: int, tree: bool) -> Callable[..., Any]:
    """The first steps of diffrax for one sample, vmapped over all.

    Args:
        stepper: the problem.
        n_steps: steps over the horizon, which the tree resolves.
        n_taken: steps to take.
        tree: with a VirtualBrownianTree; else with an UnsafeBrownianPath.
    """
    t0, t1 = stepper.horizon
    dt = (t1 - t0) / n_steps
    solver = getattr(diffrax, stepper.solver)()

    def one(y: Any, key: Any, parameters: Any) -> Any:
        amplitude = jnp.broadcast_to(jnp.asarray(stepper.diffusion, y.dtype), y.shape)
        path: Any = (
            diffrax.VirtualBrownianTree(t0, t1, tol=dt / 2, shape=y.shape, key=key)
            if tree
            else diffrax.UnsafeBrownianPath(shape=y.shape, key=key)
        )
        noise = diffrax.ControlTerm(lambda t, y, args: lx.DiagonalLinearOperator(amplitude), path)
        terms: Any = diffrax.MultiTerm(diffrax.ODETerm(lambda t, y, args: stepper.drift(t, y, parameters)), noise)
        end = t0 + dt * n_taken
        return diffrax.diffeqsolve(terms, solver, t0, end, dt, y, adjoint=diffrax.ForwardMode()).ys[-1]

    return jax.jit(jax.vmap(one, (0, 0, None)))


def speed(name: str, repeats: int) -> list[list[str]]:
    """Rows of the table of times of one problem."""
    factory, values, n_samples = _PROBLEMS[name]
    stepper = factory()
    t0, t1 = stepper.horizon
    n_steps = round((t1 - t0) / stepper.dt)
    n_few = n_steps // _FEWER
    key, parameters = jax.random.key(0), {k: jnp.asarray(v) for k, v in values.items()}
    start = stepper.init(key, n_samples, parameters)
    y0, keys = SampleLayout.of(stepper.variables, start).flattened(start), jax.random.split(key, n_samples)
    dt = jnp.asarray((t1 - t0) / n_steps)

    @jax.jit
    def loop(stepper: Any, state: Any, parameters: Any, key: Any, n_steps: Any) -> Any:
        def body(i: Any, state: Any) -> Any:
            return stepper.step(state, dt, parameters, key=jax.random.fold_in(key, i))

        return jax.lax.fori_loop(0, n_steps, body, state)

    trees, drawn = (one_solve_per_sample(stepper, n_steps, n_few, tree) for tree in (True, False))
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "hoam, bare compiled loop": (lambda: loop(stepper, start, parameters, key, jnp.asarray(n_steps)), n_steps),
        "hoam, through simulate": (
            lambda: hoam.simulate(stepper, values, [t0, t1], key=key, n_samples=n_samples, progress=False),
            n_steps,
        ),
        "diffrax per sample, UnsafeBrownianPath": (lambda: drawn(y0, keys, parameters), n_few),
        "diffrax per sample, VirtualBrownianTree": (lambda: trees(y0, keys, parameters), n_few),
    }
    per_step: dict[str, list[float]] = {label: [] for label in calls}
    ends: dict[str, np.ndarray] = {}
    # Interleaved, so that a busy moment of the machine does not fall on one code alone.
    for repeat in range(repeats + 1):
        for label, (call, steps) in calls.items():
            before = time.perf_counter()
            end = jax.block_until_ready(call())
            if repeat:
                per_step[label].append((time.perf_counter() - before) / steps)
            elif steps == n_few:
                ends[label] = np.asarray(end, np.float64)
    few = loop(stepper, start, parameters, key, jnp.asarray(n_few))
    ours = np.asarray(SampleLayout.of(stepper.variables, few).flattened(few), np.float64)
    medians = {label: statistics.median(values) for label, values in per_step.items()}
    base = medians["hoam, bare compiled loop"]
    rows = []
    for label, seconds in medians.items():
        row = [name, f"{n_samples} x {n_steps}", label, f"{1e6 * seconds:.0f}", f"{1e9 * seconds / n_samples:.1f}"]
        row += [f"{seconds * n_steps:.2f}", f"{seconds / base:.1f}", _apart(ends[label], ours) if label in ends else ""]
        rows.append(row)
    return rows


def _apart(theirs: np.ndarray, ours: np.ndarray) -> str:
    """Largest distance of a coordinate's mean, and of its standard deviation, in standard errors."""
    n, deviation = len(ours), ours.std(0)
    mean = np.abs(theirs.mean(0) - ours.mean(0)) / deviation * np.sqrt(n / 2)
    return f"{mean.max():.1f}, {(np.abs(theirs.std(0) / deviation - 1) * np.sqrt(n)).max():.1f}"


def weak_error(name: str, solver: str, dt: float) -> list[str]:
    """Row of the table of errors: moments with steps `dt` against steps of a tenth, driven by the same noise."""
    factory, values, _ = _PROBLEMS[name]
    stepper, n_samples = factory(solver=solver, dt=dt), _COMPARED_SAMPLES[name]
    t0, t1 = stepper.horizon
    per_part = round((t1 - t0) / dt / _COMPARED)
    dt = (t1 - t0) / per_part / _COMPARED
    parameters = {k: jnp.asarray(v) for k, v in values.items()}
    coarse_dt, fine_dt = jnp.asarray(dt), jnp.asarray(dt / _FINER)

    @jax.jit
    def part(x: Any, begin: Any, key: Any) -> Any:
        def body(i: Any, both: Any) -> Any:
            coarse, fine = both
            at, step_key = begin + i * coarse_dt, jax.random.fold_in(key, i)

            def fine_step(j: Any, carry: Any) -> Any:
                fine, total = carry
                now = at + j * fine_dt
                normals = draw(jax.random.fold_in(step_key, j), stepper, fine, now, parameters)
                change = fixed_step(stepper, fine, now, fine_dt, parameters, normals)
                return fine + change, total + normals

            fine, total = jax.lax.fori_loop(0, _FINER, fine_step, (fine, jnp.zeros((1, *fine.shape), fine.dtype)))
            scaled = total / jnp.sqrt(jnp.asarray(_FINER, fine.dtype))
            return coarse + fixed_step(stepper, coarse, at, coarse_dt, parameters, scaled), fine

        return jax.lax.fori_loop(0, per_part, body, x)

    drawn = stepper.init(jax.random.key(0), n_samples, parameters)
    start = SampleLayout.of(stepper.variables, drawn).flattened(drawn).T
    both, means, deviations = (start, start), [], []
    for i in range(_COMPARED):
        both = part(both, jnp.asarray(t0 + i * per_part * dt), jax.random.fold_in(jax.random.key(1), i))
        coarse, fine = (np.asarray(x, np.float64) for x in both)
        scale = fine.std(1, keepdims=True)
        means.append((coarse - fine) / scale)
        # Half the difference of the squares around the mean is, sample by sample, that of the deviations.
        squares = [((x - x.mean(1, keepdims=True)) / scale) ** 2 / 2 for x in (coarse, fine)]
        deviations.append(squares[0] - squares[1])
    return [name, str(n_samples), solver, f"{dt:.3g}", *(_largest(np.concatenate(d)) for d in (means, deviations))]


def _largest(differences: np.ndarray) -> str:
    """The row whose mean over the samples is largest, with its standard error."""
    mean, error = np.abs(differences.mean(1)), differences.std(1) / np.sqrt(differences.shape[1])
    row = int(np.argmax(mean))
    return f"{mean[row]:.1e} +- {error[row]:.0e}"


def main() -> None:
    """Write `results/sde.md`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="timed runs of each code")
    parser.add_argument("--problems", nargs="+", default=["duffing", "lorenz9"], choices=list(_PROBLEMS))
    options = parser.parse_args()
    load = os.getloadavg()[0]
    errors = [
        weak_error(name, solver, factor * _PROBLEMS[name][0]().dt)
        for name in _PROBLEMS
        for solver in ("Euler", "Heun")
        for factor in (0.5, 1, 2, 4)
    ]
    rows = [row for name in options.problems for row in speed(name, options.repeats)]
    header = ["problem", "samples x steps", "code", "us per step", "ns per sample and step", "s for all steps"]
    times = report.table([*header, "times hoam", "apart"], rows)
    header = ["problem", "samples", "scheme", "dt", "mean", "standard deviation"]
    report.write(
        "sde",
        "# Stochastic equations\n\n`python -m benchmarks.sde`\n\n"
        f"{report.machine(['hoam-plugin', 'jax', 'diffrax'])} Load average {load:.1f} at the start.\n\n## Speed\n\n"
        "Same scheme (stochastic Heun) and steps to the problem's horizon, float32, the last state alone is kept; "
        f"medians of {options.repeats} interleaved runs after a warm-up. diffrax per sample (`vmap` of `diffeqsolve`) "
        f"is timed over the first {1 / _FEWER:.0%} of the steps, with a tree that resolves all. The last column has "
        "the largest distance of its mean and standard deviation of a coordinate after those from ours, in standard "
        "errors.\n\n"
        f"{times}\n\n## Weak error of a step\n\n"
        "Moments with steps dt against steps of dt / 10 that are driven by the same Brownian paths: difference of the "
        "mean, in standard deviations, and relative difference of the standard deviation, with standard errors; the "
        f"largest of all coordinates and {_COMPARED} times up to the horizon. Where paths are chaotic (lorenz9) they "
        "part, and the standard error is nearly that of independent populations. nan: the scheme is unstable.\n\n"
        f"{report.table(header, errors)}\n\n"
        "The defaults ("
        + ", ".join(f"{name} {factory().dt:g}" for name, (factory, *_) in _PROBLEMS.items())
        + ") keep "
        "the error of the mean within the statistical error of the problem's number of samples, 1 / sqrt(n).",
    )


if __name__ == "__main__":
    main()

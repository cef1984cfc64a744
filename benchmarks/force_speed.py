"""A learned force against the particle-in-cell code that it replaces: time, error, and when it pays."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import hoam_plugin as hoam
from benchmarks import report
from benchmarks.methods import PROBLEMS, simulated

MU = 1.25
N_SAVED = 128
COUNTS = (1_000, 25_000, 100_000, 1_000_000)
_SMALLEST = 0.01
# Steps that divide the distance of saved times, 0.3125.
_STEPS = (_SMALLEST, 0.05, 0.1, 0.2, 0.3125)
_SURROGATE_STEPS = (0.15625, 0.3125)
_ITERATIONS = 5000


def simulator_run(dt: float) -> Callable[[Any], Any]:
    """The whole run compiled into one call: positions and velocities at all saved times."""
    sim, gap = PROBLEMS["two_stream"].simulator, 40 / N_SAVED
    n_steps = max(1, round(gap / dt))

    @jax.jit
    def run(state: Any) -> Any:
        parameters = {"mu": jnp.asarray(MU, state.x.dtype)}

        def interval(state: Any, _: Any) -> Any:
            state = jax.lax.fori_loop(0, n_steps, lambda i, s: sim.step(s, gap / n_steps, parameters), state)
            return state, (state.x, state.v)

        return jax.lax.scan(interval, state, None, length=N_SAVED)[1]

    return run


def surrogate_run(model: hoam.Surrogate, dt: float) -> Callable[[Any], Any]:
    """The same of the surrogate."""
    times = jnp.linspace(0, 40, N_SAVED + 1)[1:]

    def run(state: Any) -> Any:
        moved = model.solve(state, times, {"mu": jnp.asarray(MU)}, dt=dt)
        return moved.x, moved.v

    return run


def energies(trajectory: Any) -> np.ndarray:
    """Electric energy at all saved times."""
    sim = PROBLEMS["two_stream"].simulator
    parameters = {"mu": jnp.asarray(MU)}

    @jax.jit
    def all_of(x: Any, v: Any) -> Any:
        def one(pair: Any) -> Any:
            state = hoam.steppers.state_type(("x", "v"))(time=jnp.zeros(()), x=pair[0], v=pair[1])
            return sim.diagnostics(sim.refresh(state, parameters), parameters)["electric_energy"]

        return jax.lax.map(one, (x, v))

    return np.asarray(all_of(*trajectory), np.float64)


def timed(run: Callable[[Any], Any], state: Any) -> float:
    """Median seconds of a run."""
    return report.median_seconds(lambda: jax.block_until_ready(run(state)), 5)


def main() -> None:
    """Write `results/force_speed.md` and its picture."""
    problem = PROBLEMS["two_stream"]
    training = simulated(problem, problem.training, hoam.quadrature.gauss_legendre(64), 0, rates=True)
    begin = time.perf_counter()
    recipe = hoam.recipes.velocity_training(_ITERATIONS)
    model = hoam.fit(training, key=jax.random.key(0), structure="kinetic", training=recipe, progress=False)
    fitted = time.perf_counter() - begin
    begin = time.perf_counter()
    simulated(problem, problem.training, hoam.quadrature.gauss_legendre(64), 3, rates=True)
    training_runs = time.perf_counter() - begin

    def start(n: int) -> Any:
        return problem.simulator.init(jax.random.key(1), n, {"mu": jnp.asarray(MU)})

    state = start(25_000)
    exact = energies(simulator_run(_SMALLEST)(state))
    runs: dict[str, Callable[[Any], Any]] = {f"simulator, dt = {dt:g}": simulator_run(dt) for dt in _STEPS}
    runs |= {f"surrogate, dt = {dt:g}": surrogate_run(model, dt) for dt in _SURROGATE_STEPS}
    rows, seconds = [], {}
    for name, run in runs.items():
        error = float(np.mean(np.abs(energies(run(state)) / exact - 1)))
        seconds[name] = [timed(run, start(n)) for n in COUNTS]
        rows.append([name, f"{error:.2g}", *(f"{s:.3g}" for s in seconds[name])])
    slow, best = seconds[f"simulator, dt = {_SMALLEST:g}"], seconds[f"surrogate, dt = {_SURROGATE_STEPS[-1]:g}"]
    coarse = seconds["simulator, dt = 0.2"]
    rows.append(["ratio to dt = 0.01", "", *(f"{a / b:.3g}" for a, b in zip(slow, best, strict=True))])
    rows.append(["ratio to dt = 0.2", "", *(f"{a / b:.3g}" for a, b in zip(coarse, best, strict=True))])
    cost = fitted + training_runs
    for label, other in (("0.01", slow), ("0.2", coarse)):
        queries = [f"{cost / (a - b):.0f}" if a > b else "never" for a, b in zip(other, best, strict=True)]
        rows.append([f"break-even against dt = {label}, runs", "", *queries])
    _draw(cost, slow, coarse, best)
    report.write(
        "force_speed",
        "# The learned force against the simulator\n\n`python -m benchmarks.force_speed`: `two_stream`, "
        f"mu = {MU}, one run with {N_SAVED} saved times compiled into one call, seconds by number of particles "
        "(medians of 5). e.e.: error of the electric energy against the simulator at dt = 0.01 from the same 25 000 "
        "particles. Break-even: "
        f"runs after which {fitted:.0f} s of training and {training_runs:.0f} s for its eight runs of 25 000 particles "
        f"are earned back; never where the simulator is faster.\n\n{report.machine(['hoam-plugin', 'jax'])}\n\n"
        f"![speed](force_speed.png)\n\n"
        f"{report.table(['', 'e.e.', *(f'N = {n:,}'.replace(',', ' ') for n in COUNTS)], rows)}",
    )


def _draw(cost: float, slow: list[float], coarse: list[float], best: list[float]) -> None:
    from hoam_plugin.plots import new_figure

    figure = new_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    for values, label, style in ((slow, "simulator, dt = 0.01", "k-o"), (coarse, "simulator, dt = 0.2", "k--o")):
        left.loglog(COUNTS, values, style, label=label)
    left.loglog(COUNTS, best, "-o", color="#D55E00", label="surrogate, dt = 0.31")
    left.set_xlabel("particles")
    left.set_ylabel("seconds per run")
    left.legend()
    queries = np.logspace(0, 5, 60)
    i = COUNTS.index(25_000)
    right.loglog(queries, queries * slow[i], "k-", label="simulator, dt = 0.01")
    right.loglog(queries, queries * coarse[i], "k--", label="simulator, dt = 0.2")
    right.loglog(queries, cost + queries * best[i], color="#D55E00", label="surrogate with its training")
    right.set_xlabel("runs of 25 000 particles")
    right.set_ylabel("seconds in all")
    right.legend()
    figure.savefig(report.RESULTS / "force_speed.png", dpi=110)


if __name__ == "__main__":
    main()

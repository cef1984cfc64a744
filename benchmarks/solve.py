"""`Surrogate.solve` as user code calls it, beside `simulate` and diffrax, one thread. `python -m benchmarks.solve`."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin.quadrature import gauss_legendre
from hoam_plugin.surrogates import with_learned

MU, HORIZON = 1.55, 40.0
NETWORKS = {"5 x 32": (32, 5), "7 x 64": (64, 7)}
# Samples, steps, saved times behind the start.
WORK = (5000, 200, 8)
MEMORY = (25_000, 1000, 1)
Way = Literal["simulate", "solve", "solve in jit", "solve in jit, all traced", "diffrax in jit"]
WAYS: tuple[Way, ...] = ("simulate", "solve", "solve in jit", "solve in jit, all traced", "diffrax in jit")


def model_of(network: str, integrator: Any, *, kinetic: bool = False) -> hoam.Surrogate:
    """A surrogate of `two_stream` with noise and steps of 0.04, trained for two iterations."""
    sim = hoam.stepper("two_stream")
    ds = hoam.simulate(sim, {"mu": [1.2, 1.9]}, gauss_legendre(16), key=jax.random.key(0), n_samples=256, rates=True)
    training = hoam.Training(iterations=2, n_samples=64)
    if kinetic:
        model = hoam.fit(ds, key=jax.random.key(0), structure="kinetic", training=training, progress=False)
        return model.with_options(dt=HORIZON / 1000)
    width, depth = NETWORKS[network]
    potential = hoam.CoLoRA(width=width, depth=depth, rank=3)
    loss = hoam.ActionMatching(epsilon=0.05)
    model = hoam.fit(
        ds.drop_vars(["x_rate", "v_rate"]),
        key=jax.random.key(0),
        structure="gradient",
        potential=potential,
        loss=loss,
        training=training,
        clock="physical",
        progress=False,
    )
    weights = potential.init(jax.random.key(0), 3, 2)
    last = weights["layers"][-1]
    last |= {"W": 0.01 * jax.random.normal(jax.random.key(1), last["W"].shape)}
    model = with_learned(model, potential=potential, weights=weights)
    return model.with_options(integrator=integrator, noise="independent", dt=HORIZON / 1000)


def diffrax_solution(model: hoam.Surrogate, state: Any, times: Any, parameters: Any, key: Any) -> Any:
    """One Euler-Maruyama solve by diffrax per sample, with a Brownian tree of its own."""
    scale = model.learned.normalisation.scale * (model.learned.epsilon / model.learned.normalisation.duration**0.5)

    def one(y: Any, key: Any) -> Any:
        def drift(t: Any, y: Any, args: Any) -> Any:
            return model.velocity(y[None], t, parameters)[0]

        path = diffrax.VirtualBrownianTree(0.0, HORIZON, tol=model.dt / 2, shape=y.shape, key=key)
        terms = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(lambda t, y, args: jnp.diag(scale), path))
        saved = diffrax.SaveAt(ts=times)
        return diffrax.diffeqsolve(terms, diffrax.Euler(), 0.0, times[-1], model.dt, y, saveat=saved).ys

    y0 = jnp.stack([state.x, state.v], axis=-1)
    return jax.vmap(one)(y0, jax.random.split(key, len(y0)))


def call_of(way: Way, model: hoam.Surrogate, state: Any, times: np.ndarray) -> Callable[[], Any]:
    """The work of one row as a function without arguments."""
    parameters, key = {"mu": jnp.asarray(MU)}, jax.random.key(2)

    def simulate() -> xr.Dataset:
        return hoam.simulate(model, {"mu": [MU]}, times, key=key, initial=state, n_samples=len(state.x), progress=False)

    if way == "simulate":
        return simulate
    if way == "solve":
        return lambda: model.solve(state, times, {"mu": MU}, key=key)
    traced = jnp.asarray(times, jnp.float32)
    functions = {
        "solve in jit": lambda m, s, t, p, k: m.solve(s.__class__(**{**vars(s), "time": 0.0}), times, p, key=k),
        "solve in jit, all traced": lambda m, s, t, p, k: m.solve(s, t, p, key=k),
        "diffrax in jit": diffrax_solution,
    }
    compiled = jax.jit(functions[way])
    if way == "diffrax in jit":
        compiled = jax.jit(lambda m, s, t, p, k: diffrax_solution(m, s, t, p, k))
    return lambda: compiled(model, state, traced, parameters, key)


def seconds_of(call: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Of the first call, and the median of the others."""
    begin = time.perf_counter()
    jax.block_until_ready(call())
    first = time.perf_counter() - begin
    return {"first": first, "median": report.median_seconds(lambda: jax.block_until_ready(call()), repeats)}


def in_process(case: dict[str, Any]) -> dict[str, float]:
    """One row, in this process."""
    n_samples, n_steps, n_saved = case["work"]
    model = model_of(case["network"], case["integrator"], kinetic=case["network"] == "kinetic")
    state = hoam.stepper("two_stream").init(jax.random.key(1), n_samples, {"mu": MU})
    times = np.linspace(0.0, n_steps * model.dt, n_saved + 1)
    if not case.get("reverse") and not case.get("memory"):
        return seconds_of(call_of(case["way"], model, state, times), case["repeats"])
    key = None if case["network"] == "kinetic" else jax.random.key(2)

    def value(mu: Any, state: Any) -> Any:
        return jnp.mean(model.solve(state, times, {"mu": mu}, key=key).v[-1] ** 2)

    function = jax.jit(jax.grad(value) if case.get("reverse") else value)
    lowered = function.lower(jnp.asarray(MU), state)
    begin = time.perf_counter()
    compiled = lowered.compile()
    first = time.perf_counter() - begin
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    jax.block_until_ready(compiled(jnp.asarray(MU), state))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = report.median_seconds(lambda: jax.block_until_ready(compiled(jnp.asarray(MU), state)), case["repeats"])
    temporary = compiled.memory_analysis().temp_size_in_bytes / 1e6
    return {"first": first, "median": seconds, "grown": (after - before) * 1024 / 1e6, "temporary": temporary}


def of_a_process(case: dict[str, Any], core: int) -> dict[str, float]:
    """One row in a process of its own, on one core."""
    command = [sys.executable, "-m", "benchmarks.solve", "--case", json.dumps(case)]
    run = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    """Write `results/solve.md`; every row is a process of its own on one core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="one row, in this process (JSON)")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--print", action="store_true", help="do not write")
    parser.add_argument("--parts", nargs="+", default=["speed", "kinetic", "memory"])
    options = parser.parse_args()
    if options.case:
        print(json.dumps(in_process(json.loads(options.case))))
        return
    tables = []
    if "speed" in options.parts:
        rows = []
        for network in NETWORKS:
            for integrator in ("euler", "heun"):
                base = None
                for way in WAYS:
                    if way == "diffrax in jit" and integrator != "euler":
                        continue
                    case = {"network": network, "integrator": integrator, "way": way, "work": WORK}
                    own = of_a_process(case | {"repeats": options.repeats}, options.core)
                    base = base or own["median"]
                    rows.append([network, integrator, way, *(f"{own[n]:.2f}" for n in ("first", "median"))])
                    rows[-1].append(f"{own['median'] / base:.2f}")
                    print(rows[-1], flush=True)
        header = ["layers", "integrator", "way", "first call s", "median s", "times simulate"]
        tables.append(report.table(header, rows))
    if "kinetic" in options.parts:
        rows = []
        for way in WAYS[:-1]:
            case = {"network": "kinetic", "integrator": None, "way": way, "work": (25_000, 200, 40)}
            own = of_a_process(case | {"repeats": options.repeats}, options.core)
            rows.append([way, *(f"{own[n]:.3f}" for n in ("first", "median"))])
            print(rows[-1], flush=True)
        tables.append(report.table(["kinetic", "first call s", "median s"], rows))
    if "memory" in options.parts:
        rows = []
        for network in (*NETWORKS, "kinetic"):
            for reverse in (False, True):
                integrator = None if network == "kinetic" else "euler"
                case = {"network": network, "integrator": integrator, "work": MEMORY, "memory": True}
                own = of_a_process(case | {"reverse": reverse, "repeats": 1}, options.core)
                what = "gradient" if reverse else "value"
                numbers = [f"{own['first']:.1f}", f"{own['median']:.2f}", f"{own['temporary']:.0f}"]
                rows.append([network, what, *numbers, f"{own['grown']:.0f}"])
                print(rows[-1], flush=True)
        header = ["layers", "computed", "compiled in s", "s", "MB between arguments and result", "MB by which it grew"]
        tables.append(report.table(header, rows))
    if not options.print:
        report.write("solve", "\n\n".join(tables))


if __name__ == "__main__":
    main()

"""The grid solver of the Vlasov-Poisson system: linear rates, convergence, conservation, and speed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin.simulators import Beam, VlasovPoissonGrid, VlasovPoissonPIC, two_stream

MAXWELLIAN = (Beam(1.0, 0.0, 1.0),)
TWO_STREAM = (Beam(0.5, -3.0, 1.0), Beam(0.5, 3.0, 1.0))
# Beams, k, and the window of the fit.
LINEAR: dict[str, tuple[Any, float, tuple[float, float]]] = {
    "Landau, k = 0.3": (MAXWELLIAN, 0.3, (5, 30)),
    "Landau, k = 0.5": (MAXWELLIAN, 0.5, (5, 25)),
    "Landau, k = 0.7": (MAXWELLIAN, 0.7, (5, 20)),
    "two-stream, drift 3, k = 0.2": (TWO_STREAM, 0.2, (20, 40)),
    "two-stream, drift 2.4, k = 0.2": ((Beam(0.5, -2.4, 1.0), Beam(0.5, 2.4, 1.0)), 0.2, (20, 45)),
    "bump on tail, k = 0.3": ((Beam(0.9, 0.0, 1.0), Beam(0.1, 4.5, 0.5)), 0.3, (20, 45)),
}


def final_field(stepper: Any, mu: float, end: float, dt: float) -> tuple[np.ndarray, Any]:
    """Field and state at the end of one run."""
    parameters = {"mu": jnp.asarray(mu)}
    n_steps = round(end / dt)

    @jax.jit
    def run(state: Any) -> Any:
        return jax.lax.fori_loop(0, n_steps, lambda i, s: stepper.step(s, end / n_steps, parameters), state)

    state = run(stepper.init(jax.random.key(0), 64, parameters))
    return np.asarray(state.aux.electric_field), state


def linear_rows() -> list[list[str]]:
    """Rates from the field against the roots of the dielectric function: grid, and particles from a quiet start."""
    rows = []
    for name, (beams, k, window) in LINEAR.items():
        exact = hoam.dispersion.least_damped(k, beams)
        row = [name, f"{abs(exact.real):.5f}", f"{exact.imag:.5f}"]
        box: dict[str, Any] = {"beams": beams, "length": 2 * np.pi / k}
        steppers = (
            (VlasovPoissonGrid(**box, amplitude=1e-8, n_x=16, n_v=256), 2),
            (
                VlasovPoissonPIC(**box, amplitude=1e-4 if exact.imag > 0 else 1e-2, n_cells=128, deposit="delta_f"),
                100_000,
            ),
        )
        for stepper, n in steppers:
            times = np.linspace(0, window[1], 20 * int(window[1]) + 1)
            ds = hoam.simulate(
                stepper, {"mu": [1.0]}, times, key=jax.random.key(0), n_samples=n, dt=0.05, progress=False
            )
            own = window if n == 2 or exact.imag < 0 else (12.0, 25.0)
            fit = hoam.diagnostics.growth_rate(hoam.diagnostics.field_spectrum(ds, modes=[1]), window=own)
            rate, frequency = (float(fit[what].isel(run=0, mode=0)) for what in ("rate", "frequency"))
            row += [f"{abs(frequency):.5f}", f"{rate:.5f}", f"{100 * abs(rate / exact.imag - 1):.2f} %"]
        rows.append(row)
    return rows


def convergence_rows() -> list[list[str]]:
    """Errors and orders, two-stream at t = 12 (linear phase and onset of the trapping)."""
    rows = []

    def field(n_x: int, n_v: int, dt: float, **options: Any) -> np.ndarray:
        stepper = VlasovPoissonGrid(TWO_STREAM, length=50.0, amplitude=0.05, n_x=n_x, n_v=n_v, **options)
        return final_field(stepper, 1.5, 12.0, dt)[0]

    trigonometric: dict[str, Any] = {"advection_x": "fourier", "advection_v": "fourier"}
    steps = (0.8, 0.4, 0.2, 0.1)
    exact = field(32, 256, 0.0125, **trigonometric)
    rows.append(["dt, Strang", "", *_errors(steps, [field(32, 256, dt, **trigonometric) for dt in steps], exact)])
    for dt in (0.1, 0.4):
        exact = field(32, 256, dt, **trigonometric)
        cells = (16, 32, 64, 128, 256, 512)
        # The 16 nodes that all of these grids share.
        fields = [field(n, 256, dt, **(trigonometric | {"advection_x": "spline"}))[:: n // 16] for n in cells]
        rows.append(["dx, spline", f"{dt:g}", *_errors(cells, fields, exact[::2])])
        cells = (64, 128, 256, 512, 1024)
        fields = [field(32, n, dt, **(trigonometric | {"advection_v": "spline"})) for n in cells]
        rows.append(["dv, spline", f"{dt:g}", *_errors(cells, fields, exact)])
    return rows


def particle_rows() -> list[list[str]]:
    """Errors and orders of the particle solver's velocities at t = 2: 400 particles, 16 cells, two-stream."""
    rows = []
    parameters = {"mu": jnp.asarray(1.3)}
    for integrator, shape in (("leapfrog", "cubic"), ("yoshida", "cubic"), ("yoshida", "linear")):
        stepper = two_stream(n_cells=16, shape=shape, integrator=integrator)
        start = stepper.init(jax.random.key(0), 400, parameters)

        @jax.jit
        def velocities(n_steps: Any, stepper: Any = stepper, start: Any = start) -> Any:
            size = 2.0 / n_steps.astype(start.v.dtype)
            return jax.lax.fori_loop(0, n_steps, lambda i, s: stepper.step(s, size, parameters), start).v

        steps = (16, 32, 64, 128)
        exact = np.asarray(velocities(jnp.asarray(2048)))
        fields = [np.asarray(velocities(jnp.asarray(n))) for n in steps]
        rows.append([f"dt, {integrator}, {shape} shapes", "", *_errors([2 / n for n in steps], fields, exact)])
    return rows


def _errors(values: Sequence[float], fields: list[np.ndarray], exact: np.ndarray) -> list[str]:
    """The values, the largest errors, the order of each refinement (by 2), and their mean."""
    errors = [float(np.abs(field - exact).max()) for field in fields]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    return [
        ", ".join(f"{value:g}" for value in values),
        ", ".join(f"{error:.1e}" for error in errors),
        ", ".join(f"{order:.1f}" for order in orders),
        f"{np.mean(orders):.2f}",
    ]


def conservation_rows() -> list[list[str]]:
    """Largest errors of the invariants of `two_stream` to t = 40."""
    rows = []
    for n_x, n_v, dt in ((64, 128, 0.2), (128, 256, 0.1), (256, 512, 0.05)):
        stepper = VlasovPoissonGrid(TWO_STREAM, length=50.0, amplitude=0.05, n_x=n_x, n_v=n_v)
        times = np.linspace(0, 40, 41)
        ds = hoam.simulate(
            stepper, {"mu": [1.25]}, times, key=jax.random.key(0), n_samples=2, dt=dt, progress=False
        ).isel(run=0)
        energy, norm = ds["total_energy"].values, ds["l2_norm"].values
        rows.append(
            [
                f"{n_x} x {n_v}",
                f"{dt:g}",
                f"{np.abs(ds['mass'].values - 1).max():.1e}",
                f"{np.abs(ds['momentum'].values).max():.1e}",
                f"{np.abs(energy / energy[0] - 1).max():.1e}",
                f"{norm[-1] / norm[0] - 1:.3f}",
                f"{np.diff(norm).max():.1e}",
            ]
        )
    return rows


def speed_rows(repeats: int) -> list[list[str]]:
    """Cells and particles per second, single precision."""
    rows = []
    n_steps = 100
    parameters = {"mu": jnp.asarray(1.5)}
    for n_x, n_v in ((64, 128), (128, 256), (256, 512), (512, 1024)):
        stepper = VlasovPoissonGrid(TWO_STREAM, length=50.0, amplitude=0.05, n_x=n_x, n_v=n_v)
        seconds = _seconds(stepper, 64, n_steps, parameters, repeats)
        size = f"{n_x} x {n_v} cells"
        rows.append([size, f"{1e3 * seconds / n_steps:.2f}", f"{n_x * n_v * n_steps / seconds / 1e6:.1f} M cells/s"])
    for n in (25_000, 100_000, 1_000_000):
        pic = VlasovPoissonPIC(TWO_STREAM, length=50.0, amplitude=0.05)
        seconds = _seconds(pic, n, n_steps, parameters, repeats)
        size = f"{n:,} particles".replace(",", " ")
        rows.append([size, f"{1e3 * seconds / n_steps:.2f}", f"{n * n_steps / seconds / 1e6:.1f} M particles/s"])
    return rows


def _seconds(stepper: Any, n_samples: int, n_steps: int, parameters: Any, repeats: int) -> float:
    run = jax.jit(lambda s: jax.lax.fori_loop(0, n_steps, lambda i, s: stepper.step(s, 0.1, parameters), s))
    state = stepper.init(jax.random.key(0), n_samples, parameters)
    return report.median_seconds(lambda: jax.block_until_ready(run(state)), repeats)


def main() -> None:
    """Write `results/vlasov_grid.md`."""
    speed = speed_rows(5)
    jax.config.update("jax_enable_x64", True)
    text = [
        "# Grid solver\n\n`python -m benchmarks.vlasov_grid`; float64 but for the speed.",
        "## Linear waves\n\nFrequency and growth rate of the first mode against `hoam_plugin.dispersion`: grid (16 x "
        "256 cells, amplitude 1e-8), and 100 000 particles from a quiet start with a control variate (128 cells, "
        "amplitude 1e-2 for damped and 1e-4 for growing waves); dt = 0.05; the last column of each is the relative "
        "error of gamma.\n\n"
        + report.table(
            ["case", "omega", "gamma", "grid omega", "gamma", "error", "particles omega", "gamma", "error"],
            linear_rows(),
        ),
        "## Convergence\n\nTwo-stream, mu = 1.5, amplitude 0.05, largest error of the field at t = 12 against "
        "trigonometric interpolation (at dt = 0.0125 for dt, at the same dt for the splines, whose own error is below "
        "1e-11), and the orders of successive refinements. A translation by a fraction a of a cell has the error a^2 "
        "(1 - a)^2 h^4 of a cubic spline: the order is 4 where a step crosses whole cells, and between 2 and 3 while "
        "it crosses a small part of one, where more, smaller steps pile up more errors. Particles: largest error of "
        "the velocities of 400 particles on 16 cells at t = 2 against 2048 steps.\n\n"
        + report.table(
            ["refined", "dt", "values", "errors", "orders", "mean order"], convergence_rows() + particle_rows()
        ),
        "## Conservation\n\nTwo-stream, mu = 1.25, to t = 40: largest deviations of mass, momentum per electron and "
        "energy (relative), total change of the L2 norm, and its largest growth from one saved time to the next.\n\n"
        + report.table(["cells", "dt", "mass", "momentum", "energy", "L2 in all", "L2 growth"], conservation_rows()),
        "## Speed\n\nOne step (grid: with 64 samples), float32, medians of 5 runs of 100 steps, after compilation.\n\n"
        + report.table(["size", "ms per step", "throughput"], speed),
        report.machine(["hoam-plugin", "jax"]),
    ]
    report.write("vlasov_grid", "\n\n".join(text))


if __name__ == "__main__":
    main()

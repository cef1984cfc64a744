"""The border to Vlasov codes: particles as distributions on a grid and back, as states and as Datasets.

A surrogate that was trained on particles takes the place of a grid run by `in_place_of`. What somebody else's grid code
saved, with the dims (t, x, v) and (t, x) of adept, becomes an ensemble to train on by `from_adept`, and any ensemble of
x and v becomes such a Dataset by `to_adept`. The functions draw and deposit by `hoam_plugin.simulators`, when called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin import ensembles
from hoam_plugin._internal.checks import parameter_table, positive_int, random_key
from hoam_plugin.ensembles import is_label
from hoam_plugin.numerics import tolerances
from hoam_plugin.steppers import Parameters, Variable, clock, default_float, require_stepper, state_type
from hoam_plugin.surrogates import Surrogate, require_known_physics, required_stepper

if TYPE_CHECKING:
    from hoam_plugin.simulators import VlasovPoissonGrid

Start = Literal["quiet", "random"]


def grid_state(solver: VlasovPoissonGrid, state: Any, parameters: Parameters) -> Any:
    """The state of a grid solver whose distribution is that of the particles of `state`, by bilinear weights.

    Args:
        solver: whose grid and State.
        state: of a surrogate or a particle code, with the variables x and v.
        parameters: physics parameters, for the field.

    Raises:
        ValueError: a state without x or v.
    """
    missing = [name for name in ("x", "v") if not hasattr(state, name)]
    if missing:
        raise ValueError(f"state={type(state).__name__} lacks the variables {missing!r}; it must hold x and v")
    rest = {clock.TIME: clock.remainder_of(state, clock.TIME)}
    own = _state_of(jnp.asarray(state.time), state.x, state.v, rest)
    return solver.refresh(own, parameters)


def particles(
    solver: VlasovPoissonGrid, state: Any, key: Array, n_samples: int, start: Start = "quiet"
) -> dict[str, Float[Array, " sample"]]:
    """Samples {"x", "v"} of the distribution that a grid solver's state holds, of its first species.

    `steppers.state_from_samples(stepper, samples, time, parameters, key)` makes a state of any stepper of them.

    Args:
        solver: whose grid.
        state: of that solver.
        key: JAX random key.
        n_samples: number of samples.
        start: "quiet" (evenly spread) or "random".
    """
    grid = solver.grid()
    f = state.aux.distributions[0]
    return draw(key, f, np.asarray(grid.positions()), np.asarray(grid.velocities()), n_samples, start)


def draw(
    key: Array,
    f: Float[Any, "n_x n_v"],
    x: Float[Any, " n_x"],
    v: Float[Any, " n_v"],
    n_samples: int,
    start: Start = "quiet",
) -> dict[str, Float[Array, " sample"]]:
    """Samples {"x", "v"} of a density on a grid, by inverse transform; it is taken as linear between the nodes.

    Args:
        key: JAX random key.
        f: density of any norm; what is below zero, as left by high-order advection, counts as zero.
        x: nodes, evenly spaced over one period: the box is [0, n_x dx).
        v: nodes, evenly spaced.
        n_samples: number of samples.
        start: "quiet" (scrambled Hammersley points, evenly spread) or "random".

    Raises:
        ValueError: nodes that are not evenly spaced or do not fit f, or a density without anything above zero.
    """
    from hoam_plugin.simulators.plasma.species import uniform_points
    from hoam_plugin.simulators.plasma.tabulated_density import samples_of_table

    n_samples, key = positive_int("n_samples", n_samples), random_key(key)
    if np.shape(f) != (len(x), len(v)):
        raise ValueError(f"f has the shape {np.shape(f)}; it must be (x, v) = {(len(x), len(v))}")
    dx, _ = _spacing("x", x), _spacing("v", v)
    density = jnp.maximum(jnp.asarray(f if isinstance(f, jax.Array) else ensembles.native(f), default_float()), 0)
    if not isinstance(density, jax.core.Tracer) and not float(jnp.sum(density)) > 0:
        raise ValueError("f holds nothing above zero; it must be a density")
    u = uniform_points(key, n_samples, 2, start)
    length = dx * len(x)
    own_x, own_v = samples_of_table(u.astype(density.dtype), density, length, float(v[0]), float(v[-1]))
    # The first node within the box: of an origin far off, single precision would leave nothing of the positions.
    shifted = own_x + float(np.asarray(x[0], np.float64) % length)
    wrapped = shifted - length * jnp.floor(shifted / length)
    return {"x": jnp.where(wrapped < length, wrapped, 0), "v": own_v}


def in_place_of(surrogate: Surrogate, solver: VlasovPoissonGrid) -> Surrogate:
    """A surrogate that was trained on particles, in the place of a grid run.

    It draws its samples from the solver's initial distribution, and its ensembles carry the solver's diagnostics, such
    as `electric_field` and, with `record_distribution`, f on the solver's grid, of the learned population.

    Args:
        surrogate: of the variables x and v.
        solver: of the same box.

    Raises:
        ValueError: other variables, another box, other parameters, or other known physics than that of the training.
    """
    required_stepper(require_stepper("solver", solver), surrogate.variables)
    own = {v.name: v.period for v in surrogate.variables}
    theirs = {v.name: v.period for v in solver.variables}
    if set(own) != set(theirs) or any(_differ(own[name], theirs[name]) for name in own):
        raise ValueError(
            f"solver has the periods {theirs!r} of its variables, but the surrogate was trained on {own!r}"
        )
    if tuple(surrogate.parameters) != tuple(solver.parameters):
        raise ValueError(
            f"solver has the parameters {list(solver.parameters)!r}, but the surrogate was trained over "
            f"{list(surrogate.parameters)!r}"
        )
    return require_known_physics(dataclasses.replace(surrogate, replaces=solver))


def to_adept(ensemble: xr.Dataset, solver: VlasovPoissonGrid | None = None) -> xr.Dataset:
    """An ensemble of x and v as `f(t, x, v)` and `e(t, x)`, with a leading `run` where there are several.

    Args:
        ensemble: with `distribution` and `electric_field`, as `VlasovPoissonGrid(record_distribution=True)` and what
            takes its place record them, or with the samples x and v alone.
        solver: on whose grid samples are deposited, and by whose Poisson equation the field is found, where the
            ensemble has no `distribution`.

    Raises:
        ValueError: neither a recorded distribution nor a solver, or samples without x or v.
    """
    ensemble = ensembles.validate(ensemble)
    if "distribution" in ensemble and "electric_field" in ensemble:
        grids = ensemble[["distribution", "electric_field"]].rename(
            {"distribution": "f", "electric_field": "e", "cell": "x", "velocity": "v", "time": "t"}
        )
        arrays = {name: grids[name].transpose("run", "t", "x", ...).values for name in ("f", "e")}
        x, v = grids["x"].values, grids["v"].values
    elif solver is None:
        raise ValueError(
            "solver=None: the ensemble records no `distribution`, so give the VlasovPoissonGrid on whose grid its "
            "samples are to be deposited"
        )
    else:
        arrays = _deposited(ensemble, solver)
        x, v = np.asarray(solver.grid().positions()), np.asarray(solver.grid().velocities())
    columns = {name: ("run", values) for name, values in ensembles.parameters(ensemble).items()}
    ds = xr.Dataset(
        {
            "f": (("run", "t", "x", "v"), arrays["f"], {"units": "1", "long_name": "phase-space density"}),
            "e": (("run", "t", "x"), arrays["e"], {"units": "1", "long_name": "electric field"}),
        },
        {"t": ensemble["time"].values, "x": x, "v": v, **columns},
        ensembles.creation_attributes(),
    )
    return ds.isel(run=0) if ds.sizes["run"] == 1 else ds


def from_adept(
    ds: xr.Dataset,
    *,
    key: Array,
    n_samples: int,
    parameters: Mapping[str, Any] | None = None,
    f: str = "f",
    e: str | None = "e",
    start: Start = "quiet",
) -> xr.Dataset:
    """What a grid code saved as an ensemble of particles: samples x and v of f(t, x, v) at every saved time.

    The samples of different times are no trajectories; losses of marginals, such as `ActionMatching` and `DICE`, need
    none. Distribution and field ride along as the diagnostics `distribution` and `electric_field`.

    Args:
        ds: with f of dims (t, x, v) or (run, t, x, v), and e of dims (t, x) or (run, t, x). The velocity's dim may have
            any name that begins with v, such as adept's `v_electron`.
        key: JAX random key.
        n_samples: samples per run and time.
        parameters: name to one value per run; by default the coordinates along `run`, or scalar ones, without
            bookkeeping such as `seed`.
        f: name of the distribution.
        e: name of the field along x; None for none.
        start: as in `draw`.

    Raises:
        ValueError: missing variables or dims, uneven nodes, times that do not increase, or parameters that do not fit
            the runs.
    """
    from hoam_plugin.simulators.plasma.phase_space import phase_space_variables

    for name in filter(None, (f, e)):
        if name not in ds:
            raise ValueError(f"ds lacks {name!r}: it has {list(ds.data_vars)!r}; name it by f= or e=")
    velocity = [str(dim) for dim in ds[f].dims if str(dim).startswith("v")]
    if len(velocity) != 1 or {*ds[f].dims} - {"run"} != {"t", "x", velocity[0]}:
        raise ValueError(
            f"{f!r} has the dims {ds[f].dims!r}; it must have (t, x, v), and run in front for several runs"
        )
    runs = ds if "run" in ds[f].dims else ds.expand_dims("run")
    table, key = _run_parameters(runs, parameters), random_key(key)
    density = ensembles.native(runs[f].transpose("run", "t", "x", velocity[0]).values)
    if not np.isfinite(density).all():
        raise ValueError(f"{f!r} holds non-finite values; a density must be finite everywhere")
    x, v = runs["x"].values, runs[velocity[0]].values
    length = _spacing("x", x) * len(x)
    # The same points at all times: then what differs between them is the density.
    draw_all = jax.jit(jax.vmap(lambda key, own: draw(key, own, x, v, n_samples, start), in_axes=(None, 0)))
    # Of the order of one, so that single precision holds densities in any units.
    unit = float(np.abs(density).max()) or 1.0
    keys = jax.random.split(key, len(density))
    drawn = [draw_all(run_key, own / unit) for run_key, own in zip(keys, density, strict=True)]
    samples = {name: np.stack([np.asarray(one[name]) for one in drawn]) for name in ("x", "v")}
    described = [Variable("distribution", dims=("cell", "velocity"), long_name="phase-space density")]
    recorded = {"distribution": density}
    if e is not None:
        field = ensembles.native(runs[e].transpose("run", "t", "x").values)
        described.append(Variable("electric_field", dims=("cell",), long_name="electric field at the nodes"))
        recorded["electric_field"] = field
        if "mu" in table:
            energy = table["mu"][:, None] ** 4 / 2 * np.mean(field.astype(np.float64) ** 2, axis=-1)
            described.append(Variable("electric_energy", long_name="mu^2 times the field energy"))
            recorded["electric_energy"] = energy
    bounds = (float(v[0]), float(v[-1]))
    frame = ensembles.frame(runs["t"].values, table, coordinates={"cell": x, "velocity": v}, n_runs=len(density))
    return ensembles.build(
        frame, phase_space_variables(length, bounds, float(np.ptp(v)) / 6), samples, described, recorded
    )


def _deposited(ensemble: xr.Dataset, solver: VlasovPoissonGrid) -> dict[str, np.ndarray]:
    """F and the field on the solver's grid, of all runs and times."""
    names = ensembles.variable_names(ensemble)
    if not {"x", "v"} <= set(names):
        raise ValueError(f"the ensemble has the variables {names!r}; a distribution needs x and v")

    @jax.jit
    def on_grid(state: Any, row: Any) -> Any:
        cache = solver.refresh(state, row).aux
        return cache.distributions[0], cache.electric_field

    densities, fields = [], []
    for run in range(ensemble.sizes["run"]):
        row = {name: jnp.asarray(value, default_float()) for name, value in ensembles.parameters(ensemble, run).items()}
        for time in range(ensemble.sizes["time"]):
            here = ensemble.isel(run=run, time=time)
            x, v = (jnp.asarray(here[name].values, default_float()) for name in ("x", "v"))
            f, e = on_grid(_state_of(jnp.zeros((), x.dtype), x, v, {}), row)
            densities.append(np.asarray(f))
            fields.append(np.asarray(e))
    shape = (ensemble.sizes["run"], ensemble.sizes["time"])
    return {"f": np.stack(densities).reshape(*shape, *densities[0].shape), "e": np.stack(fields).reshape(*shape, -1)}


def _state_of(time: Any, x: Any, v: Any, remainder: Any) -> Any:
    return state_type(("x", "v"))(time=time, x=x, v=v, remainder=remainder)


def _run_parameters(runs: xr.Dataset, given: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    """Columns of the parameters: given, or the numeric coordinates along `run` or of no dim."""
    n_runs = runs.sizes["run"]
    if given is None:
        found = {
            str(name): np.broadcast_to(np.asarray(coord.values, np.float64), (n_runs,))
            for name, coord in runs.coords.items()
            if name != "run" and coord.dims in ((), ("run",)) and coord.dtype.kind in "fiub" and not is_label(coord)
        }
        given = found
    table = parameter_table(given, list(given))
    for name, column in table.items():
        if len(column) not in (1, n_runs):
            raise ValueError(
                f"parameters[{name!r}] has {len(column)} values, but ds has {n_runs} runs; give one for each"
            )
    return {name: np.broadcast_to(column, (n_runs,)) for name, column in table.items()}


def _spacing(name: str, nodes: Any) -> float:
    """Distance of evenly spaced nodes.

    Raises:
        ValueError: fewer than two, or uneven ones.
    """
    array = np.asarray(nodes, np.float64)
    steps = np.diff(array)
    # Nodes far from the origin, in the precision of their file, are uneven by its round-off.
    uneven = 1e-3 * steps.mean() + tolerances.resolution(nodes) if steps.size else 0.0
    if array.ndim != 1 or steps.size == 0 or not (steps > 0).all() or np.ptp(steps) > uneven:
        raise ValueError(f"{name}={array.tolist()!r} must be evenly spaced, increasing nodes")
    return float((array[-1] - array[0]) / len(steps))


def _differ(a: float | None, b: float | None) -> bool:
    return (a is None) != (b is None) or (a is not None and b is not None and abs(a - b) > tolerances.tolerance(b))

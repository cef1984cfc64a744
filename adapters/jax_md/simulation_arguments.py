"""Checks of what `from_simulation` is given: one sentence each, before anything is compiled."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from hoam_plugin._internal import warned
from hoam_plugin._internal.checks import increasing_pair
from hoam_plugin._types import Numbers

from .protocols import EnergyOrForce, NeighborFn, Simulation

# What jax-md's functions do to particles is known of these.
SUPPORTED = (
    "nve",
    "nvt_langevin",
    "nvt_nose_hoover",
    "brownian",
    "nvk",
    "temp_rescale",
    "temp_berendsen",
    "temp_csvr",
)
_PAIRS = {
    "energy_or_force_fn": "energy.soft_sphere_neighbor_list returns (neighbor_fn, energy_fn)",
    "shift_fn": "space.periodic returns (displacement_fn, shift_fn)",
}
# Energy, shift and time step are given by name or by place.
_ALWAYS_GIVEN = 2


def name_of(simulation: object) -> str:
    """Name of one of jax-md's own simulations; "" of any other."""
    own = str(getattr(simulation, "__module__", "")).startswith("jax_md.")
    return str(getattr(simulation, "__name__", "")) if own else ""


def arguments_of_simulation(simulation: object) -> Mapping[str, inspect.Parameter]:
    """The arguments of a simulation.

    Raises:
        TypeError: no function with a time step.
        ValueError: a simulation of jax-md that is not supported.
    """
    takes = _arguments("simulation", simulation)
    supported = ", ".join(SUPPORTED)
    name = name_of(simulation)
    if "pressure" in takes:
        raise ValueError(
            f"simulation={name or simulation!r} changes the box, which is constant in an ensemble of samples; use one "
            f"at a constant volume, such as nvt_langevin (supported: {supported})"
        )
    if "dt" not in takes or (name and name not in SUPPORTED):
        raise TypeError(
            f"simulation={name or simulation!r} must be one of jax_md.simulate with a time step dt, not called: "
            f"{supported}"
        )
    return takes


def require_function(name: str, value: object) -> None:
    """Raise TypeError for what is no function, such as the pair that jax-md returns."""
    if callable(value):
        return
    pair = _PAIRS[name]
    raise TypeError(f"{name} is a {type(value).__name__} and must be a function; {pair}")


def require_functions(energy_or_force_fn: object, shift_fn: object, neighbor_fn: object) -> None:
    """Raise TypeError for what is no function, or another one."""
    require_function("energy_or_force_fn", energy_or_force_fn)
    require_function("shift_fn", shift_fn)
    if isinstance(energy_or_force_fn, NeighborFn):
        raise TypeError(f"energy_or_force_fn is a neighbor_fn; {_PAIRS['energy_or_force_fn']}")
    if not isinstance(neighbor_fn, NeighborFn | None):
        raise TypeError(
            f"neighbor_fn is a {type(neighbor_fn).__name__} and must have `allocate` and `update`; "
            f"{_PAIRS['energy_or_force_fn']}"
        )


def require_temperature(
    simulation: Simulation,
    takes: Mapping[str, inspect.Parameter],
    parameters: tuple[str, ...],
    constants: Mapping[str, object],
) -> None:
    """Raise ValueError for what is both a parameter and a constant, and for a temperature that is neither."""
    both = sorted(set(parameters) & set(constants))
    if both:
        raise ValueError(f"parameters={parameters!r} and the constants both have {both!r}; give each once")
    if "kT" not in parameters and "kT" not in constants and ("kT" in takes or name_of(simulation) == "nve"):
        raise ValueError(f"kT is neither among parameters={parameters!r} nor given as a constant, such as kT=1.0")


def require_complete(simulation: Simulation, takes: Mapping[str, inspect.Parameter], given: Iterable[str]) -> None:
    """Raise ValueError for an argument of the simulation that is neither a parameter nor a constant."""
    known = {*given, "dt"}
    missing = [
        name
        for place, (name, argument) in enumerate(takes.items())
        if place >= _ALWAYS_GIVEN
        and argument.default is argument.empty
        and argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL)
        and name not in known
    ]
    if missing:
        raise ValueError(
            f"{getattr(simulation, '__name__', 'simulation')} needs {missing!r}; give each as a constant, such as "
            f"{missing[0]}=1.0, or among parameters"
        )


def require_known(
    energy_or_force_fn: EnergyOrForce,
    neighbor_fn: NeighborFn | None,
    takes: Mapping[str, inspect.Parameter],
    names: Iterable[str],
) -> None:
    """Raise ValueError for an energy that wants lists and gets none; warn of names that look like slips."""
    try:
        own = inspect.signature(energy_or_force_fn).parameters
    except (TypeError, ValueError):
        return
    if neighbor_fn is None and "neighbor" in own and own["neighbor"].default is inspect.Parameter.empty:
        raise ValueError(
            "neighbor_fn=None, but energy_or_force_fn wants `neighbor`; give the neighbor_fn that came with it"
        )
    for name in names:
        near = () if name in takes or name in own else difflib.get_close_matches(name, takes, n=1, cutoff=0.8)
        if near:
            warned.warn(
                f"{name!r} is no argument of the simulation and goes to energy_or_force_fn; did you mean {near[0]!r}?",
                stacklevel=3,
            )


def require_numbers(name: str, value: object) -> None:
    """Raise TypeError for what is no number or array of numbers."""
    dtype = getattr(value, "dtype", None)
    found = np.asarray(value).dtype if dtype is None else dtype
    if not isinstance(found, np.dtype) or found.kind not in "fiuV":
        raise TypeError(f"{name}={value!r} must be numbers, not {found}")


def require_forward(to_position: np.ndarray) -> None:
    """Raise ValueError for a shift that moves positions against displacements, as a displacement function does."""
    if (np.diag(to_position) < 0).all():
        raise ValueError(
            "shift_fn moves positions against the displacement, as displacement_fn does; space.free and space.periodic "
            "return (displacement_fn, shift_fn)"
        )


def names(parameters: object) -> tuple[str, ...]:
    """Names of parameters as a tuple.

    Raises:
        TypeError: no sequence of strings.
    """
    found = None if isinstance(parameters, str | Mapping) or not isinstance(parameters, Iterable) else tuple(parameters)
    if found is None or not all(isinstance(name, str) for name in found):
        example = parameters if isinstance(parameters, str) else "kT"
        raise TypeError(f"parameters={parameters!r} must be a tuple of names, such as ({example!r},)")
    return found


def horizon(value: object) -> tuple[float, float]:
    """A time range as floats.

    Raises:
        ValueError: not two increasing, finite numbers.
    """
    try:
        t0, t1 = (float(t) for t in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise ValueError(f"horizon={value!r} must be two times, such as (0.0, 1.0)") from error
    return increasing_pair("horizon", (t0, t1))


def masses(mass: Numbers, n_particles: int) -> np.ndarray:
    """One mass, or one of each particle: an array of shape () or (N,); jax-md's own shape (N, 1) counts as that.

    Raises:
        ValueError: another shape, or a mass that is not positive.
    """
    given = np.asarray(mass)
    own = given.reshape(-1) if given.shape in ((n_particles, 1), (1, 1), (1,)) else given
    own = own.reshape(()) if own.shape == (1,) else own
    is_number = own.dtype.kind in "fiu"
    if own.shape not in ((), (n_particles,)) or not is_number or not (np.isfinite(own) & (own > 0)).all():
        raise ValueError(
            f"mass={given.tolist()!r} must be a positive number, or one for each of {n_particles} particles"
        )
    return own


def n_arguments_of_position(position: Callable[..., object]) -> int:
    """Whether a function that draws positions takes (key) or (key, parameters).

    Raises:
        TypeError: neither.
    """
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    empty = inspect.Parameter.empty
    taken = _arguments("position", position).values()
    by_place = [of for of in taken if of.kind in places]
    unknown = [of for of in taken if of.kind is inspect.Parameter.KEYWORD_ONLY and of.default is empty]
    # What has a default is the function's own affair, but for the key, and for parameters by that name.
    own = [of for of in by_place[1:] if of.default is not empty and of.name != "parameters"]
    n_arguments = len(by_place) - len(own)
    if n_arguments not in (1, 2) or unknown:
        raise TypeError(f"position={position!r} must be a function of (key) or (key, parameters), or an (N, dim) array")
    return n_arguments


def _arguments(name: str, function: object) -> Mapping[str, inspect.Parameter]:
    if not callable(function):
        raise TypeError(
            f"{name} is a {type(function).__name__} and must be a function, such as jax_md.simulate.nvt_langevin "
            "itself, which from_simulation calls"
        )
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}={function!r} must be a function whose arguments can be seen") from error

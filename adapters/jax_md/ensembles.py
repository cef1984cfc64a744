"""Surrogates in the place of jax-md's ensembles: the same arguments, with a surrogate for the energy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from hoam_plugin._types import Parameters, Scalar
from hoam_plugin.surrogates import Surrogate

from .ensemble_arguments import require_own_options, substeps
from .jax_md_modules import jax_md_simulate
from .particle_ensembles import particle_ensemble
from .particles_as_samples import position_and_momentum
from .particles_of_training import is_of_particles
from .protocols import Pair, Shift
from .simulation_arguments import require_function
from .surrogate_functions import Beyond, Replacement


def nve(
    surrogate: Surrogate,
    shift_fn: Shift,
    dt: Scalar = 1e-3,
    *,
    parameters: Parameters | None = None,
    beyond: Beyond = "raise",
    **sim_kwargs: Any,
) -> Pair:
    """`jax_md.simulate.nve` with a surrogate.

    States have jax-md's attributes, and `time`, which starts at that of the surrogate's horizon. `force` is the mean
    learned force over the last step; `init_fn` computes it at the start. `apply_fn` ignores `neighbor`, `t` and the
    like, moves positions through `shift_fn` only, and takes a `dt` longer than that of the surrogate in several steps.

    A surrogate of particles (trained with a `ParticlePotential`) is a force instead: what comes back is jax-md's own
    ensemble with `learned_force`, in its own states, for any number of particles; where forces depend on time,
    `apply_fn` wants `t`, and `beyond` does not count. A `kT` that `nve` is given draws momenta alone there: where the
    surrogate was trained over it, it is also one of `parameters`.

    Args:
        surrogate: with position and momentum (or velocity) of a particle or of all particles.
        shift_fn: moves positions; of the space that the surrogate was trained in.
        dt: time step.
        parameters: values of the surrogate's parameters that are not among the arguments. They may also be given as
            keywords to `init_fn`, or to `apply_fn` for one step.
        beyond: what comes after the trained time range. "raise": what the surrogate's `on_extrapolation` says, by
            default an error, or NaN in compiled code. "hold": the dynamics of the end of that range go on for ever,
            which is right where they are stationary by then, as those of a thermostat in equilibrium.
        sim_kwargs: ignored, as jax-md does.

    Returns:
        `init_fn(key, R, kT, mass=1.0, momenta=None, **kwargs)`, where `kT` is also the surrogate's parameter of that
        name, if it has one, and `apply_fn(state, **kwargs)`.

    Raises:
        ImportError: without the extra `jax-md`.
        TypeError: not a surrogate.
        ValueError: variables that are not those of the ensemble, or a bad time step. `init_fn` and `apply_fn`: another
            box, mass or shape of positions than trained, a missing parameter, a parameter or time outside its range (as
            `on_extrapolation` says; traced values give NaN, see `check`), or a changed parameter that was not trained.
        FloatingPointError: outside of compiled code, NaN from the surrogate.

    Example:
        >>> init_fn, apply_fn = jax_md.nve(liquid, shift, 0.02, parameters={"kT": 0.2})
        >>> apply_fn(init_fn(key, places, 0.2)).position.shape
        (16, 2)
    """
    return _pair("nve", surrogate, shift_fn, dt, {}, parameters, beyond, sim_kwargs)


def nvt_langevin(
    surrogate: Surrogate,
    shift_fn: Shift,
    dt: Scalar,
    kT: Scalar,
    gamma: Scalar = 0.1,
    center_velocity: bool = True,
    *,
    parameters: Parameters | None = None,
    beyond: Beyond = "raise",
    **sim_kwargs: Any,
) -> Pair:
    """`jax_md.simulate.nvt_langevin` with a surrogate; see `nve`.

    Args:
        surrogate: see `nve`.
        shift_fn: see `nve`.
        dt: time step.
        kT: temperature: that of the initial momenta, and the surrogate's parameter of that name, if it has one.
            `apply_fn(state, kT=...)` takes another value for one step, if the surrogate was trained over it.
        gamma: the surrogate's parameter of that name, if it has one; else the friction is that of the training.
        center_velocity: ignored, as jax-md does.
        parameters: see `nve`.
        beyond: see `nve`.
        sim_kwargs: ignored, as jax-md does.

    Raises:
        ImportError, TypeError, ValueError, FloatingPointError: see `nve`.

    Example:
        >>> init_fn, apply_fn = jax_md.nvt_langevin(liquid, shift, 0.02, 0.2, gamma=1.0)
        >>> apply_fn(init_fn(key, places, mass=1.0)).position.shape
        (16, 2)
    """
    return _pair("nvt_langevin", surrogate, shift_fn, dt, {"kT": kT, "gamma": gamma}, parameters, beyond, sim_kwargs)


def brownian(
    surrogate: Surrogate,
    shift_fn: Shift,
    dt: Scalar,
    kT: Scalar,
    gamma: Scalar = 0.1,
    *,
    parameters: Parameters | None = None,
    beyond: Beyond = "raise",
) -> Pair:
    """`jax_md.simulate.brownian` with a surrogate of positions alone; arguments and errors as in `nvt_langevin`.

    Args:
        surrogate: see `nve`; of positions alone.
        shift_fn: see `nve`.
        dt: time step.
        kT: temperature: the surrogate's parameter of that name, if it has one.
        gamma: friction: the surrogate's parameter of that name, if it has one.
        parameters: see `nve`.
        beyond: see `nve`.

    Example:
        >>> init_fn, apply_fn = jax_md.brownian(gas, shift, 0.02, 0.2)
        >>> apply_fn(init_fn(key, places)).position.shape
        (16, 2)
    """
    return _pair("brownian", surrogate, shift_fn, dt, {"kT": kT, "gamma": gamma}, parameters, beyond, {})


def nvt_nose_hoover(
    surrogate: Surrogate,
    shift_fn: Shift,
    dt: Scalar,
    kT: Scalar,
    chain_length: int = 5,
    chain_steps: int = 2,
    sy_steps: int = 3,
    tau: Scalar | None = None,
    *,
    parameters: Parameters | None = None,
    beyond: Beyond = "raise",
    **sim_kwargs: Any,
) -> Pair:
    """`jax_md.simulate.nvt_nose_hoover` with a surrogate; see `nvt_langevin`.

    What a thermostat does is part of the learned dynamics: `state.chain` stays at rest, so that
    `nvt_nose_hoover_invariant` is the energy of the particles.

    Args:
        surrogate: see `nve`.
        shift_fn: see `nve`.
        dt: time step.
        kT: temperature, see `nvt_langevin`.
        chain_length: length of the arrays of `state.chain`.
        chain_steps: ignored.
        sy_steps: ignored.
        tau: reported in `state.chain`.
        parameters: see `nve`.
        beyond: see `nve`.
        sim_kwargs: ignored, as jax-md does.

    Raises:
        ImportError, TypeError, ValueError, FloatingPointError: see `nve`.

    Example:
        >>> init_fn, apply_fn = jax_md.nvt_nose_hoover(liquid, shift, 0.02, 0.2)
        >>> apply_fn(init_fn(key, places)).position.shape
        (16, 2)
    """
    chain = (chain_length, dt * 100 if tau is None else tau)
    return _pair("nvt_nose_hoover", surrogate, shift_fn, dt, {"kT": kT}, parameters, beyond, sim_kwargs, chain)


def nvk(
    surrogate: Surrogate,
    shift_fn: Shift,
    dt: Scalar,
    kT: Scalar,
    *,
    parameters: Parameters | None = None,
    beyond: Beyond = "raise",
    **sim_kwargs: Any,
) -> Pair:
    """`jax_md.simulate.nvk` with a surrogate; arguments and errors as in `nvt_langevin`.

    What the thermostat does is part of the learned dynamics, which keep the kinetic energy as well as that was learned.

    Args:
        surrogate: see `nve`.
        shift_fn: see `nve`.
        dt: time step.
        kT: temperature: that of the initial momenta, and the surrogate's parameter of that name, if it has one.
        parameters: see `nve`.
        beyond: see `nve`.
        sim_kwargs: see `nve`.

    Example:
        >>> init_fn, apply_fn = jax_md.nvk(liquid, shift, 0.02, 0.2)
        >>> apply_fn(init_fn(key, places)).position.shape
        (16, 2)
    """
    return _pair("nvk", surrogate, shift_fn, dt, {"kT": kT}, parameters, beyond, sim_kwargs)


def temp_rescale(
    surrogate: Surrogate,
    shift_fn: Shift,
    dt: Scalar,
    kT: Scalar,
    window: Scalar,
    fraction: Scalar,
    *,
    parameters: Parameters | None = None,
    beyond: Beyond = "raise",
    **sim_kwargs: Any,
) -> Pair:
    """`jax_md.simulate.temp_rescale` with a surrogate; other arguments and errors as in `nvt_langevin`.

    Args:
        surrogate: see `nve`.
        shift_fn: see `nve`.
        dt: time step.
        kT: temperature, see `nvt_langevin`.
        window: the surrogate's parameter of that name, if it has one; else that of the training counts.
        fraction: likewise.
        parameters: see `nve`.
        beyond: see `nve`.
        sim_kwargs: ignored, as jax-md does.

    Example:
        >>> init_fn, apply_fn = jax_md.temp_rescale(liquid, shift, 0.02, 0.2, window=0.1, fraction=1.0)
        >>> apply_fn(init_fn(key, places)).position.shape
        (16, 2)
    """
    constants = {"kT": kT, "window": window, "fraction": fraction}
    return _pair("temp_rescale", surrogate, shift_fn, dt, constants, parameters, beyond, sim_kwargs)


def temp_berendsen(
    surrogate: Surrogate,
    shift_fn: Shift,
    dt: Scalar,
    kT: Scalar,
    tau: Scalar,
    *,
    parameters: Parameters | None = None,
    beyond: Beyond = "raise",
    **sim_kwargs: Any,
) -> Pair:
    """`jax_md.simulate.temp_berendsen` with a surrogate; other arguments and errors as in `nvt_langevin`.

    Args:
        surrogate: see `nve`.
        shift_fn: see `nve`.
        dt: time step.
        kT: temperature, see `nvt_langevin`.
        tau: the surrogate's parameter of that name, if it has one; else that of the training counts.
        parameters: see `nve`.
        beyond: see `nve`.
        sim_kwargs: ignored, as jax-md does.

    Example:
        >>> init_fn, apply_fn = jax_md.temp_berendsen(liquid, shift, 0.02, 0.2, tau=1.0)
        >>> apply_fn(init_fn(key, places)).position.shape
        (16, 2)
    """
    return _pair("temp_berendsen", surrogate, shift_fn, dt, {"kT": kT, "tau": tau}, parameters, beyond, sim_kwargs)


def temp_csvr(
    surrogate: Surrogate,
    shift_fn: Shift,
    dt: Scalar,
    kT: Scalar,
    tau: Scalar,
    *,
    parameters: Parameters | None = None,
    beyond: Beyond = "raise",
    **sim_kwargs: Any,
) -> Pair:
    """`jax_md.simulate.temp_csvr` with a surrogate; arguments and errors as in `temp_berendsen`.

    Args:
        surrogate: see `nve`.
        shift_fn: see `nve`.
        dt: time step.
        kT: see `temp_berendsen`.
        tau: see `temp_berendsen`.
        parameters: see `nve`.
        beyond: see `nve`.
        sim_kwargs: see `nve`.

    Example:
        >>> init_fn, apply_fn = jax_md.temp_csvr(liquid, shift, 0.02, 0.2, tau=1.0)
        >>> apply_fn(init_fn(key, places)).position.shape
        (16, 2)
    """
    return _pair("temp_csvr", surrogate, shift_fn, dt, {"kT": kT, "tau": tau}, parameters, beyond, sim_kwargs)


def _pair(
    ensemble: str,
    surrogate: Surrogate,
    shift_fn: Shift,
    dt: Scalar,
    constants: Mapping[str, Scalar],
    parameters: Parameters | None,
    beyond: Beyond,
    ignored: Mapping[str, object],
    chain: tuple[int, Scalar] | None = None,
) -> Pair:
    jax_md_simulate()
    variables = position_and_momentum(surrogate, ensemble, has_momentum=ensemble != "brownian")
    require_function("shift_fn", shift_fn)
    if beyond not in get_args(Beyond):
        raise ValueError(f"beyond={beyond!r} must be {' or '.join(map(repr, get_args(Beyond)))}")
    require_own_options(ignored)
    if not isinstance(parameters, Mapping | None):
        raise TypeError(f"parameters={parameters!r} must be a dict of name to value, such as {{'sigma': 1.0}}")
    given = dict(parameters or {})
    strangers = sorted(set(given) - set(surrogate.parameters))
    if strangers:
        raise ValueError(
            f"parameters={given!r} has {strangers!r}, but the surrogate was trained over {list(surrogate.parameters)!r}"
        )
    if is_of_particles(surrogate):
        own = dict(constants) | ({} if chain is None else {"chain_length": chain[0], "tau": chain[1]})
        return particle_ensemble(ensemble, variables, surrogate, shift_fn, dt, own, given)
    substeps(surrogate, dt)
    return Replacement(ensemble, variables, surrogate, shift_fn, dt, constants, given, chain, beyond).pair()

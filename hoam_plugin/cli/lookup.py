"""The steppers and quadrature rules that the texts of command-line arguments name.

Unlike the other modules of the command line but `demonstration` it imports JAX; the commands import it when they run.
"""

from __future__ import annotations

import os
from typing import cast

import jax
import numpy as np
from jax.sharding import Mesh

from hoam_plugin import quadrature, registry, shipped, surrogates
from hoam_plugin._internal.checks import positive_int, suggestion
from hoam_plugin._internal.files import as_path
from hoam_plugin.cli.parsing import PRETRAINED
from hoam_plugin.quadrature import Rule
from hoam_plugin.steppers import Stepper
from hoam_plugin.surrogates import Policy, Surrogate

_RULES = {
    "gauss": quadrature.gauss_legendre,
    "simpson": quadrature.simpson,
    "trapezoid": quadrature.trapezoid,
    "uniform": quadrature.uniform_random,
    "low-discrepancy": quadrature.low_discrepancy,
}


def parse_rule(text: str) -> Rule:
    """A quadrature rule from `gauss:64`.

    Raises:
        ValueError: another form, an unknown kind, or a number of nodes that the rule cannot have.
    """
    kind, _, count = text.partition(":")
    if kind not in _RULES:
        raise ValueError(f"--nodes={text!r} must look like gauss:64 (kind:count); {suggestion(kind, _RULES)}")
    if not count.isdecimal():
        raise ValueError(f"--nodes={text!r} must give a whole number of nodes, such as {kind}:65")
    try:
        return _RULES[kind](int(count))
    except ValueError as error:
        raise ValueError(f"--nodes={text!r}: {error}") from error


def mesh_of(devices: int | None, axis: str) -> Mesh | None:
    """The first so many devices of this process in a row; None for what the functions choose themselves.

    Raises:
        ValueError: there are not so many.
    """
    if devices is None:
        return None
    there = jax.local_devices()
    if positive_int("--devices", devices) > len(there):
        raise ValueError(f"--devices={devices!r}: this process has {len(there)}, {there[0].platform}")
    return Mesh(np.asarray(there[:devices]), (axis,))


def find_stepper(text: str, on_extrapolation: str | None = None) -> Stepper:
    """The stepper of a name, or the surrogate in a file.

    Args:
        text: a published or registered name, the path of a saved surrogate, or `pretrained:two_stream` for one that
            comes with the package.
        on_extrapolation: what the surrogate is to do outside its trained ranges.

    Raises:
        ValueError: an unknown name, not a surrogate file, or `on_extrapolation` for a simulator.
        FileNotFoundError: there is no such file.
    """
    if text.startswith(PRETRAINED):
        return _with_policy(shipped.pretrained(text.removeprefix(PRETRAINED)), on_extrapolation)
    is_path = text.endswith(".hoam") or os.sep in text or as_path(text).exists()
    if text in registry.names() or not is_path:
        if on_extrapolation is not None:
            raise ValueError(
                f"--on-extrapolation={on_extrapolation!r} applies to a saved surrogate (model.hoam), not to {text!r}"
            )
        return registry.stepper(text)
    if as_path(text).is_dir():
        raise ValueError(
            f"{text!r} is a folder, not a surrogate; give the name of a stepper or a file such as model.hoam"
        )
    return _with_policy(surrogates.load(text), on_extrapolation)


def _with_policy(model: Surrogate, on_extrapolation: str | None) -> Surrogate:
    # `with_options` refuses what is no policy.
    return model if on_extrapolation is None else model.with_options(on_extrapolation=cast(Policy, on_extrapolation))

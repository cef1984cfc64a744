"""How a surrogate steps: the default size of its steps, the kind of its noise, and its integrator."""

from __future__ import annotations

from typing import Literal

from hoam_plugin._internal.checks import refusal
from hoam_plugin._internal.static import pytree
from hoam_plugin.numerics.integrators import INTEGRATORS, Integrator
from hoam_plugin.numerics.normals import Noise


@pytree()
class Options:
    """How a surrogate steps.

    Attributes:
        dt: default (largest) time step, physical units. With a clock of the population, its mean over the horizon.
        noise: "stratified" (evenly spread over neighbours in phase space, so that averages stay quiet; see
            `hoam_plugin.numerics.normals.stratified_normals`) or "independent" for all samples. As functions of
            parameters, averages for one key have small jumps with the former, and are smooth with the latter.
        integrator: None takes, for the structure "kinetic", a drift-kick-drift splitting (order 2, one evaluation, see
            `hoam_plugin.surrogates.kinetic`), else "rk4" without and "heun" with noise, see
            `benchmarks/results/rollout.md`. "heun" is the stochastic one (with noise: weak order 2, two evaluations per
            step), "rk4" has order 4 and four evaluations (without noise only), "euler" is Euler-Maruyama with one.
        equal_in: steps from one time to another are equal in the population's "clock", or in "time".
        tables: whether `simulate` may move many samples by tables of the flow, see `surrogates.flow_tables`. Files do
            not keep it.
    """

    dt: float
    noise: Noise = "stratified"
    integrator: Integrator | None = None
    equal_in: Literal["clock", "time"] = "clock"
    tables: bool = True


def require_integrator(integrator: object, noise_text: str) -> None:
    """Raise ValueError for an integrator that is none, or does not go with noise.

    Args:
        integrator: its name, or None.
        noise_text: the noise in words, or "" where there is none.
    """
    allowed = [name for name in INTEGRATORS if name != "rk4" or not noise_text]
    if integrator is not None and integrator not in allowed:
        wanted = f"one of {', '.join(map(repr, allowed))} for {noise_text or 'epsilon=0'}"
        raise refusal(ValueError, "integrator", integrator, wanted)

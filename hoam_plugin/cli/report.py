"""`hoam report`: one page about a surrogate."""

from __future__ import annotations

from hoam_plugin.cli.messages import say
from hoam_plugin.cli.parsing import Location, Output, Overwrite, Whole, require_input, require_output


def report(
    model: str,
    /,
    *,
    output: Output,
    truth: Location | None = None,
    training: Location | None = None,
    floor: Location | None = None,
    cross_validation: Location | None = None,
    bands: Location | None = None,
    seed: Whole = 0,
    overwrite: Overwrite = False,
) -> None:
    """Write one page about a surrogate that opens in any browser, without a network.

    It tells what was learned from what, ranges, settings, versions, history and limits; with a truth also scores beside
    their references, curves, phase space and an animation.

    Args:
        model: a surrogate that `hoam fit` wrote, or pretrained:two_stream for one that comes with the package.
        output: write the page to this file, which ends in .html.
        truth: held-out runs of the simulator, which the surrogate is compared with.
        training: the training runs, for what interpolating between them gives.
        floor: a second truth with another seed, for the noise floor.
        cross_validation: scores of models of the other runs at each training run, as `hoam validate` wrote them.
        bands: bands around curves of the truth.
        seed: of the noise of the surrogate and of drawn samples.
        overwrite: replace an existing page.
    """
    given = {"truth": truth, "training": training, "floor": floor}
    given |= {"cross_validation": cross_validation, "bands": bands}
    for name, path in given.items():
        require_input(f"--{name.replace('_', '-')}", path)
    require_output(output, overwrite=overwrite, inputs=tuple(given.values()))

    import jax
    import xarray as xr

    from hoam_plugin import ensembles
    from hoam_plugin.cli.lookup import find_stepper
    from hoam_plugin.surrogates import Surrogate

    surrogate = find_stepper(model)
    if not isinstance(surrogate, Surrogate):
        raise ValueError(
            f"MODEL={model!r} is a simulator; give a surrogate such as model.hoam, or pretrained:two_stream"
        )
    read = {name: None if path is None else ensembles.load(path) for name, path in given.items()}
    loaded: dict[str, xr.Dataset | None] = {**read}
    surrogate.report(output, **loaded, key=jax.random.key(seed), overwrite=overwrite)
    say(f"report: wrote {output}")

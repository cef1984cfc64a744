"""`hoam list`: which steppers there are."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from hoam_plugin.cli.documents import AsJson, print_document
from hoam_plugin.cli.parsing import PRETRAINED

if TYPE_CHECKING:
    from hoam_plugin.registry import Listing

# Of the many scores of a surrogate that comes with the package.
_LISTED = ("electric_energy_error", "sliced_wasserstein")


def list_steppers(*, json: AsJson = False) -> None:
    """List simulators and surrogates, published and registered: parameters with trained ranges, scores, origin.

    Args:
        json: print them as one JSON document.
    """
    from hoam_plugin import registry

    listings = [*registry.catalogue(), *_shipped()]
    if json:
        print_document([_described(listing) for listing in listings])
    else:
        _print_table(listings)


def _shipped() -> list[Listing]:
    """The surrogates that come with the package, under the names by which `hoam simulate` takes them."""
    from hoam_plugin import shipped
    from hoam_plugin.registry import Listing

    origin = f"distribution hoam-plugin {importlib.metadata.version('hoam-plugin')}"
    return [
        Listing(f"{PRETRAINED}{name}", "surrogate", shipped.pretrained(name), origin, _worst(name))
        for name in shipped.names()
    ]


def _worst(name: str) -> dict[str, float]:
    """Scores at the worst of the parameters that were not trained on."""
    from hoam_plugin import shipped

    found = shipped.measured(name)["scores"]
    own = {score: [value for value in by["surrogate"] if value is not None] for score, by in found.items()}
    return {score: max(values) for score, values in own.items() if score in _LISTED and values}


def _described(listing: Listing) -> dict[str, object]:
    stepper = listing.stepper
    about: dict[str, object] = {"name": listing.name, "kind": listing.kind, "from": listing.origin}
    if stepper is None:
        return {**about, "error": listing.error}
    return {
        **about,
        "default": listing.default,
        "parameters": {name: _range(listing, name) for name in stepper.parameters},
        "variables": [variable.name for variable in stepper.variables],
        "times": list(stepper.horizon),
        "dt": stepper.dt,
        "scores": dict(listing.scores),
    }


def _range(listing: Listing, name: str) -> list[float] | None:
    """The trained range of a parameter; None of a simulator, which takes any."""
    from hoam_plugin.steppers import TrainedStepper

    stepper = listing.stepper
    return list(stepper.ranges[name]) if isinstance(stepper, TrainedStepper) and name in stepper.ranges else None


def _print_table(listings: list[Listing]) -> None:
    from rich.console import Console
    from rich.table import Table

    from hoam_plugin.scores import labels

    columns = ("name", "parameters", "variables", "times", "dt", "kind", "scores", "from")
    table = Table(*columns, box=None, header_style="bold")
    for listing in listings:
        stepper = listing.stepper
        if stepper is None:
            table.add_row(listing.name, f"cannot be built: {listing.error}", *[""] * 5, listing.origin)
            continue
        ranges = {name: _range(listing, name) for name in stepper.parameters}
        parameters = [
            name if trained is None else f"{name} {' to '.join(labels.number(end, trained) for end in trained)}"
            for name, trained in ranges.items()
        ]
        table.add_row(
            listing.name,
            ", ".join(parameters),
            ", ".join(v.name for v in stepper.variables),
            " to ".join(labels.number(end, stepper.horizon) for end in stepper.horizon),
            f"{stepper.dt:g}",
            listing.kind + (", default" if listing.default else ""),
            ", ".join(f"{name} {value:.3g}" for name, value in listing.scores.items()),
            listing.origin,
        )
    console = Console()
    # One line per stepper, also where the terminal is narrower and wraps it.
    console.width = max(console.width, Console(width=1000).measure(table).maximum)
    console.print(table)

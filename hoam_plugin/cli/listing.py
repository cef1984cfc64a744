"""`hoam list`: which steppers there are."""

from __future__ import annotations


def list_steppers() -> None:
    """List simulators and surrogates, published and registered: parameters with trained ranges, scores, origin."""
    from rich.console import Console
    from rich.table import Table

    from hoam_plugin import registry
    from hoam_plugin.scores import labels
    from hoam_plugin.steppers import TrainedStepper

    columns = ("name", "parameters", "variables", "times", "dt", "kind", "scores", "from")
    table = Table(*columns, box=None, header_style="bold")
    for listing in registry.catalogue():
        stepper = listing.stepper
        if stepper is None:
            table.add_row(listing.name, f"cannot be built: {listing.error}", *[""] * 5, listing.origin)
            continue
        ranges = stepper.ranges if isinstance(stepper, TrainedStepper) else {}
        parameters = [
            f"{name} {' to '.join(labels.number(end, ranges[name]) for end in ranges[name])}"
            if name in ranges
            else name
            for name in stepper.parameters
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

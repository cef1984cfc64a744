"""Runs that were saved at different times, or have different numbers of samples: an `xarray.DataTree`, a node each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import xarray as xr

from hoam_plugin.ensembles.names import DIMS, parameter_names
from hoam_plugin.ensembles.schema import variables
from hoam_plugin.ensembles.validation import validate


def tree(runs: Mapping[str, xr.Dataset] | Iterable[xr.Dataset]) -> xr.DataTree:
    """A tree of ensembles, of which each has times, and a number of samples, of its own.

    `fit` takes it: runs are then brought to the saved times of the one with the fewest in the range that all of them
    have, and said is how many had to be interpolated.

    Args:
        runs: ensembles of one or several runs each, by the name of their node; those of a list are called run_0, ...

    Raises:
        TypeError: an entry that is no Dataset.
        ValueError: no entry, or one that is no valid ensemble, or with other variables or parameters than the first.

    Example:
        >>> short = truth.isel(run=[1], time=slice(3))
        >>> runs = hoam.ensemble.tree([truth.isel(run=[0]), short])
        >>> [(name, node.sizes["time"]) for name, node in runs.children.items()]
        [('run_0', 5), ('run_1', 3)]
    """
    named = runs if isinstance(runs, Mapping) else {f"run_{i}": ds for i, ds in enumerate(runs)}
    if not named:
        raise ValueError("runs is empty; give at least one ensemble")
    nodes = {}
    for name, ds in named.items():
        try:
            nodes[name] = validate(ds)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
    require_alike(nodes)
    return xr.DataTree.from_dict(nodes)


def require_alike(nodes: Mapping[str, xr.Dataset]) -> None:
    """Raise ValueError where an ensemble has other variables or parameters than the first one."""
    (first, model), *others = nodes.items()
    for name, ds in others:
        for what, find in (("variables", variables), ("parameters", parameter_names)):
            own, wanted = find(ds), find(model)
            if own != wanted:
                raise ValueError(f"{name} has the {what} {own!r}, and {first} has {wanted!r}; they must be the same")


def nodes_of(runs: xr.DataTree) -> dict[str, xr.Dataset]:
    """The ensembles of a tree, by their paths.

    Raises:
        ValueError: it has none.
    """
    found = {
        node.path.strip("/") or "the root": node.to_dataset()
        for node in runs.subtree
        if set(DIMS) <= set(map(str, node.dims))
    }
    if not found:
        raise ValueError(f"no node of the tree has all of the dims {DIMS}; give each run a node, see ensemble.tree")
    return found

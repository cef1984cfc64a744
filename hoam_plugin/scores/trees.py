"""Scores of runs of different times: a tree is compared with another one, node by node."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import xarray as xr

from hoam_plugin import ensembles

# A Dataset for one ensemble, a tree for runs of different times.
Runs = xr.Dataset | xr.DataTree


def node_by_node(
    compare: Callable[..., xr.Dataset],
    truth: xr.DataTree,
    prediction: Runs | Sequence[Runs],
    floor: Runs | Sequence[Runs] | None,
) -> xr.Dataset:
    """The scores of every node, one after the other along `run`.

    Args:
        compare: scores of one node, of its truth, prediction and `floor`.
        truth: what the simulator did.
        prediction: a tree of the same nodes, or several.
        floor: likewise, or None.

    Raises:
        TypeError: a prediction or floor that is no tree.
        ValueError: one of other nodes; errors of `compare`, which name the node.
    """
    own = ensembles.nodes_of(truth)
    predictions = [_nodes("prediction", one, own) for one in _several(prediction)]
    floors = [_nodes("floor", one, own) for one in _several(floor)] if floor is not None else []
    tables = []
    for name, ds in own.items():
        try:
            others = [nodes[name] for nodes in predictions]
            tables.append(compare(ds, others, floor=[nodes[name] for nodes in floors] or None))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from error
    return xr.concat(tables, "run", combine_attrs="drop_conflicts", join="outer")


def _several(given: Runs | Sequence[Runs]) -> list[Runs]:
    return [given] if isinstance(given, xr.Dataset | xr.DataTree) else list(given)


def _nodes(argument: str, given: Runs, truth: dict[str, xr.Dataset]) -> dict[str, xr.Dataset]:
    if not isinstance(given, xr.DataTree):
        raise TypeError(
            f"{argument} is {type(given).__name__}, and truth is a tree of runs; give a tree with the same nodes, see "
            "ensemble.tree"
        )
    found = ensembles.nodes_of(given)
    if set(found) != set(truth):
        raise ValueError(f"{argument} has the nodes {sorted(found)!r}, and truth has {sorted(truth)!r}; give the same")
    return found

"""All metadata of a Zarr folder in its first file, from where readers over a network take them at once.

zarr does the same with a warning, since the format does not have it yet; xarray warns readers where it is missing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

_FILE, _KEY = "zarr.json", "consolidated_metadata"


def consolidate(folder: Path) -> None:
    """Write the metadata of all arrays and groups of a folder of format 3 into that of the root."""
    root = folder / _FILE
    nodes = {}
    for path in sorted(folder.rglob(_FILE)):
        if path != root:
            node = json.loads(path.read_text())
            own = {_KEY: _inline({})} if node["node_type"] == "group" else {}
            nodes[path.parent.relative_to(folder).as_posix()] = node | own
    text = json.dumps(json.loads(root.read_text()) | {_KEY: _inline(nodes)}, indent=2)
    aside = root.with_name(f"{_FILE}.partial")
    aside.write_text(text)
    os.replace(aside, root)


def _inline(nodes: dict[str, object]) -> dict[str, object]:
    return {"kind": "inline", "must_understand": False, "metadata": nodes}

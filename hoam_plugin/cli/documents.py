"""Results as one JSON document on standard output, for scripts; imports no JAX."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from cyclopts import Parameter

AsJson = Annotated[bool, Parameter(name="--json", negative=())]


def print_document(document: object) -> None:
    """Print it; numbers that JSON does not have (NaN, infinity) are null."""
    print(json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)

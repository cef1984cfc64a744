"""Surrogates that installed distributions publish; see `hoam_plugin.steppers.published`."""

from __future__ import annotations

import os
import threading
from typing import cast

from hoam_plugin._internal import warned
from hoam_plugin.steppers import published
from hoam_plugin.surrogates import Surrogate, load

_loaded: dict[tuple[str, ...], tuple[Surrogate, ...]] = {}
_lock = threading.Lock()


def surrogates(name: str) -> tuple[tuple[Surrogate, str], ...]:
    """The published surrogates of a name with their origins; saved ones are read once.

    Warns of what cannot be loaded and of simulators that stand behind ours, and leaves them out.
    """
    found = []
    all_points = published.entry_points().get(name, ())
    has_own = any(point.own for point in all_points)
    for point in all_points:
        if point.own or published.is_loading(point):
            continue
        try:
            content = published.content(point)
            models = _models(point, content)
        except Exception as error:  # a broken package must not hide the others
            warned.warn(f"{point.origin} publishes {name!r}, which cannot be loaded: {error}", stacklevel=2)
            continue
        if content.simulator is not None and has_own:
            warned.warn(
                f"{point.origin} publishes a simulator as {name!r}, the name of one of hoam-plugin's, which stays in "
                "its place; publish it under a name of its own",
                stacklevel=2,
            )
        found += [(model, point.origin) for model in models]
    return tuple(found)


def _models(point: published.EntryPoint, content: published.Content) -> tuple[Surrogate, ...]:
    """The surrogates of an entry point; without a lock, since a rebuilt simulator runs other packages' code."""
    if point.key not in _loaded:
        parts = content.surrogates
        models = tuple(load(p) if isinstance(p, str | os.PathLike) else cast(Surrogate, p) for p in parts)
        with _lock:
            _loaded.setdefault(point.key, models)
    return _loaded[point.key]

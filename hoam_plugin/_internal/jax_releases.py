"""Releases of JAX whose compiler computes wrong numbers or crashes; `pyproject.toml` excludes the same ones."""

from __future__ import annotations

import importlib.metadata

# By release of jaxlib, which is the compiler.
BAD_RELEASES = {
    "0.10.2": "miscompiles reductions of vmapped matrix-vector products on CPUs, silently (jax issue 39103), and "
    "crashes or hangs in fused reductions of rank 7 and 8 (39257)",
    "0.11.0": "crashes or hangs in fused reductions of rank 7 and 8 on CPUs (jax issue 39257)",
}


def require_sound_release(version: str | None = None) -> None:
    """Raise ImportError where the installed compiler is known to compute wrong numbers.

    Args:
        version: of jaxlib; the installed one by default.
    """
    version = importlib.metadata.version("jaxlib") if version is None else version
    # A build of a release, such as 0.10.2+cuda12, is that release.
    wrong = BAD_RELEASES.get(version.split("+")[0])
    if wrong is not None:
        others = ", ".join(f"!={release}" for release in BAD_RELEASES)
        raise ImportError(
            f"jaxlib {version} {wrong}; install another release: python -m pip install 'jax{others.replace(' ', '')}' "
            f"'jaxlib{others.replace(' ', '')}'"
        )

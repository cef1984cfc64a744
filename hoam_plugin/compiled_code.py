"""Compiled code that outlives the process, by JAX's persistent compilation cache."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

__all__ = ["keep_compiled_code", "keep_in_new_process"]

_FOLDER = "jax_compilation_cache_dir"
# What has not been used for longest goes first. Reading a file back takes a few milliseconds.
_LIMITS = {"jax_compilation_cache_max_size": 1 << 30, "jax_persistent_cache_min_compile_time_secs": 0.03}


def keep_compiled_code(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Keep what is compiled from here on for later processes; what an earlier one compiled is read back.

    A process that does what another did before compiles next to nothing. The command line does this by itself. Where
    JAX has a folder already (`JAX_COMPILATION_CACHE_DIR`), that one stays; with `JAX_ENABLE_COMPILATION_CACHE=0`
    nothing is kept. On CPUs with AVX-512, XLA logs an error about `prefer-no-gather` with everything that it reads
    back, which means nothing (jax issue 38445); `TF_CPP_MIN_LOG_LEVEL=3` in the environment turns it off.

    Args:
        folder: may be deleted at any time, and holds at most 1 GiB; one in the user's cache folder by default, for this
            release of JAX and this kind of processor.

    Returns:
        The folder, or None where nothing is kept.

    Example:
        >>> folder = hoam.keep_compiled_code()  # doctest: +SKIP
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    if not jax.config.values["jax_enable_compilation_cache"]:
        return None
    theirs = jax.config.values[_FOLDER]
    if theirs is not None and folder is None:
        return Path(theirs)
    path = _own_folder() if folder is None else Path(folder)
    for name, value in {_FOLDER: os.fspath(path), **_LIMITS}.items():
        jax.config.update(name, value)
    # JAX has decided that there is none when it first compiled something.
    compilation_cache.reset_cache()
    return path


def keep_in_new_process() -> None:
    """The same by the environment, before JAX is imported; does nothing afterwards."""
    if "jax" in sys.modules:
        return
    for name, value in {_FOLDER: _own_folder(), **_LIMITS, "tf_cpp_min_log_level": 3}.items():
        os.environ.setdefault(name.upper(), str(value))


def _own_folder() -> Path:
    """Code for one kind of processor must not reach another, in a home folder that machines share."""
    import platformdirs

    described = Path("/proc/cpuinfo")
    lines = described.read_text(errors="replace").splitlines() if described.exists() else []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    processor = hashlib.sha256(f"{platform.machine()} {platform.processor()} {flags}".encode()).hexdigest()[:8]
    release = importlib.metadata.version("jaxlib")
    return Path(platformdirs.user_cache_path("hoam-plugin")) / f"jaxlib-{release}-{processor}"

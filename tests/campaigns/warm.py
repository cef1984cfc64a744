"""Processes for campaigns: forks of one that has imported everything and computed nothing.

JAX does not survive a fork once it has computed. What is to be killed is therefore forked from a process that never
does, and what goes on with the work of the killed is one long-lived fork, which compiles once.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import kills
import numpy as np
import xarray as xr
from jax._src import xla_bridge

# Nothing has been computed, as is checked.
warnings.filterwarnings("ignore", r"os\.fork\(\) was called")
_FORK = multiprocessing.get_context("fork")
_LEAST_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def begun(work: Callable[[], object]) -> int:
    """The number of a fork that does something; it ends with 0, 3 after an error that says what it is of, or 1."""
    assert not xla_bridge.backends_are_initialized()
    child = os.fork()
    if child == 0:
        # What is killed while it writes compiled code would leave it damaged.
        jax.config.update(_LEAST_SECONDS, 1e9)
        try:
            work()
        except (OSError, RuntimeError) as error:
            is_clear = re.fullmatch(kills.SENTENCE, str(error))
            with contextlib.suppress(OSError):  # on a full disk that is what standard error goes to
                said(str(error) if is_clear else traceback.format_exc())
            os._exit(3 if is_clear else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return child


def ended(child: int) -> int:
    """How a fork ended, once it has: its code, or the signal, negative."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Other:
    """A long-lived fork, which does what it is asked to do with one folder after the other.

    Args:
        work: what it does; its result can be pickled.
    """

    def __init__(self, work: Callable[[Path], object]) -> None:
        assert not xla_bridge.backends_are_initialized()
        self._here, there = _FORK.Pipe()

        def serve() -> None:
            jax.config.update(_LEAST_SECONDS, 0.0)
            self._here.close()  # so that it ends with the campaign, where that is killed
            with contextlib.suppress(EOFError):
                while True:
                    folder = there.recv()
                    try:
                        there.send(work(folder))
                    except BaseException as error:
                        traceback.print_exc()
                        there.send(error)

        self._process = _FORK.Process(target=serve, daemon=True)
        self._process.start()

    def __call__(self, folder: Path) -> object:
        """The result for a folder; what it raises is raised here."""
        self._here.send(folder)
        result = self._here.recv()
        if isinstance(result, BaseException):
            raise result
        return result


@contextlib.contextmanager
def compiled_code_kept() -> Iterator[None]:
    """Within the block forks read what the long-lived one has compiled."""
    folder = tempfile.mkdtemp()
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def digest_of_ensemble(ds: xr.Dataset) -> str:
    """Of all numbers, to the bit."""
    digest = hashlib.sha256()
    for name in sorted(map(str, ds.variables)):
        values = np.ascontiguousarray(ds[name].values)
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:16]


def digest_of_arrays(arrays: list[np.ndarray]) -> str:
    """Of some arrays, to the bit."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def said(message: str) -> None:
    """Progress, for who waits."""
    print(message, file=sys.stderr, flush=True)

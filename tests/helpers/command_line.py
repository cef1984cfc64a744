"""The command `hoam`, in process."""

from collections.abc import Callable
from pathlib import Path

import hoam_plugin as hoam
from hoam_plugin.cli.app import main

# Runs a command that must fail, and returns the one line that it prints.
FailingCommand = Callable[..., str]

# One compilation of the training loop serves the folder of the tests, the demo and the example's test.
SAMPLES, ITERATIONS = 400, 10


def hoam_command(*words: object) -> int:
    return main([str(word) for word in words])


def n_iterations(path: Path) -> int:
    history = hoam.load(path).history
    assert history is not None
    return history.sizes["iteration"]

"""Trainings that are driven into run-aways keep nothing worse than no model, and long runs keep what they say."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def run(script: str, *words: str) -> list[dict[str, Any]]:
    command = [sys.executable, str(Path(__file__).with_name(script)), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["lorenz9", "duffing"])
def test_what_is_kept_is_not_worse_than_no_model(problem: str) -> None:
    """On eight nodes with up to ten times the learning rate, where losses run away."""
    options = ("--rules", "8", "--epsilons", "0", "--seeds", "2", "--forms", "network", "data")
    found = run("trainings.py", "--problems", problem, *options)
    assert len(found) == 12
    for training in found:
        assert training.get("finite", True)
        # By no more than a hundredth of what the best model on the way had gained, beyond the scatter of the score.
        above = training.get("final", 0.0) - 2 * training.get("standard_error", 0.0)
        assert above <= -0.01 * training["lowest"], training


@pytest.mark.slow
def test_a_million_steps_of_particles_keep_momentum_and_energy() -> None:
    linear, cubic = run("long_runs.py", "particles", "1000000")
    # What the grid heats; of smooth shapes it is less.
    assert linear["energy_most_off"] < 0.07
    assert cubic["energy_most_off"] < 0.01
    for found in (linear, cubic):
        assert found["momentum_most_off"] < 1e-4


@pytest.mark.slow
def test_a_long_training_grows_by_less_than_a_hundredth_and_is_resumed_bit_for_bit() -> None:
    (found,) = run("long_runs.py", "training", "100000")
    assert found["grown"] < 0.01
    assert found["same_weights"]
    assert found["same_history"]

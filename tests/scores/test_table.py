"""The table of scores, and the page that defines them."""

import re

import numpy as np
import pytest
from repository import ROOT
from scored import ensemble

from hoam_plugin.scores import compare, verdict_table
from hoam_plugin.scores.comparison import REFERENCES


def test_verdict_table():
    truth = ensemble(mu=[1.25, 1.75])
    other = truth.assign(electric_energy=truth["electric_energy"] * 1.25)
    scores = compare(truth, other, floor=truth, training=ensemble(mu=[1.0, 2.0]))
    lines = verdict_table(scores).splitlines()
    assert lines[0].split() == ["score", "run", "surrogate", "noise", "floor", "interpolation", "gaussian", "frozen"]
    assert lines[2].split()[:8] == ["electric", "energy", "error", "mu", "=", "1.25", "0.25", "0"]
    assert lines[3].split()[:3] == ["mu", "=", "1.75"]
    assert lines[12].split()[:6] == ["histogram", "l1", "mu", "=", "1.25", "0"]
    below = " ".join(" ".join(lines[2 + 2 * 7 :]).split())
    assert "interpolation of histogram l1, sliced wasserstein: not defined: only scalar curves" in below
    assert below.startswith("gaussian of electric energy error: the truth's attributes do not name a stepper")
    assert "floor" not in below


def test_verdict_table_without_a_floor_calls_the_bootstrap_by_its_name_and_says_what_it_is():
    truth = ensemble(mu=[1.25, 1.75])
    lines = verdict_table(compare(truth, truth, training=ensemble(mu=[1.5, 2.0]))).splitlines()
    assert lines[0].split() == ["score", "run", "surrogate", "bootstrap", "interpolation", "gaussian", "frozen"]
    below = " ".join(" ".join(lines[2 + 2 * 7 :]).split())
    for phrase in (
        "bootstrap: the truth's samples drawn again with replacement, no noise floor",
        "far too high for a quiet start",
        "--floor",
        "bootstrap of electric energy error: the truth's attributes do not name a stepper",
        "interpolation of electric energy error, mean error, covariance error, mean l2, variance l2: run 0: mu=1.25 is",
    ):
        assert phrase in below
    assert "no interpolation: no training ensemble was given" in verdict_table(compare(truth, truth))


@pytest.mark.long
def test_page_of_scores_runs_and_defines_every_score_and_reference():
    page = (ROOT / "docs" / "scores.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for large, small in {
        "two_stream()": "two_stream(n_cells=64, dt=0.5)",
        "(0, 40, 129)": "(0, 4, 5)",
        "n_samples=25_000": "n_samples=64, progress=False",
    }.items():
        assert large in block
        block = block.replace(large, small)
    scope: dict = {}
    exec(compile(block, "scores.md", "exec"), scope)
    scores = scope["scores"]
    assert np.isfinite(scores["electric_energy_error"].sel(reference="interpolation")).all()
    for name in [*scores, *REFERENCES, "sinkhorn_divergence"]:
        assert f"| `{name}`" in page

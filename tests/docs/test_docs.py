"""The code in the README and the docs runs (at small size), and what they promise exists."""

import dataclasses
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from repository import ROOT

from hoam_plugin import ensembles, registry, simulators
from hoam_plugin.cli.fit import fit
from hoam_plugin.cli.simulate import simulate
from hoam_plugin.registry import rebuild_stepper

# Sizes only: everything else runs as written.
SMALLER = {
    "n_samples=25_000": "n_samples=128",
    "gauss_legendre(256)": "gauss_legendre(8)",
    "hoam.fit(truth, key=key)": (
        "hoam.fit(truth, key=key, potential=hoam.CoLoRA(width=8, depth=2), "
        "training=hoam.Training(iterations=2, n_samples=16))"
    ),
    'hoam.fit(truth, key=key, structure="kinetic")': (
        'hoam.fit(truth, key=key, structure="kinetic", potential=hoam.VectorField(width=8, depth=2), '
        "training=hoam.Training(iterations=2, n_samples=16))"
    ),
    'key=key, structure="kinetic", store="folds"': (
        'key=key, structure="kinetic", store=folder / "folds", potential=hoam.VectorField(width=8, depth=2), '
        "training=hoam.Training(iterations=2, n_samples=16)"
    ),
    'key=key, structure="kinetic", members=4': (
        'key=key, structure="kinetic", members=2, potential=hoam.VectorField(width=8, depth=2), '
        "training=hoam.Training(iterations=2, n_samples=16)"
    ),
    "np.linspace(0, 40, 129)": "np.linspace(0, 40, 5)",
    "model.init(key, 1_000,": "model.init(key, 16,",
    "hoam.CoLoRA(), training=hoam.Training(iterations=8_000)": (
        "hoam.CoLoRA(width=8, depth=2), training=hoam.Training(iterations=2, n_samples=16, n_end_samples=16)"
    ),
    "subsample(truth, 1_000,": "subsample(truth, 64,",
    'hoam.fit(particles, key=key, structure="kinetic")': (
        'hoam.fit(particles, key=key, structure="kinetic", potential=hoam.VectorField(width=8, depth=2), '
        "training=hoam.Training(iterations=2, n_samples=16))"
    ),
    "initial(key, 25_000,": "initial(key, 128,",
    "iterations=400, n_samples=64": "iterations=2, n_samples=16",
    "hoam.fit(truth, key=key, progress=False)": (
        "hoam.fit(truth, key=key, progress=False, potential=hoam.CoLoRA(width=8, depth=2), "
        "training=hoam.Training(iterations=2, n_samples=16))"
    ),
    "n_samples=4_000": "n_samples=128",
    "sim.init(key, 2_000,": "sim.init(key, 64,",
    "range(30)": "range(2)",
}


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def run(page: str, scope: dict[str, Any]) -> dict[str, Any]:
    blocks = python_blocks(page)
    assert blocks
    for block in blocks:
        for large, small in SMALLER.items():
            block = block.replace(large, small)
        exec(compile(block, page, "exec"), scope)
    return scope


@pytest.fixture(autouse=True)
def coarse_plasma(monkeypatch: pytest.MonkeyPatch) -> None:
    two_stream = simulators.two_stream

    def coarse(**options: Any) -> simulators.VlasovPoissonPIC | simulators.VlasovPoissonGrid:
        smaller = {} if options.get("solver") == "grid" else {"n_cells": 64, "dt": 0.5}
        return two_stream(**(smaller | options))

    monkeypatch.setattr(simulators, "two_stream", coarse)


@pytest.mark.long
def test_readme_swap_and_gradient() -> None:
    scope = run("README.md", {})
    assert scope["energy"].shape == (2, 5)
    assert np.isfinite(scope["energy"]).all()
    assert np.isfinite(scope["slope"])


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the .* saved times do not resolve")
def test_docs_of_the_swap() -> None:
    scope = run("docs/swap.md", {})
    assert np.isfinite(scope["state"].v).all()
    assert np.isfinite(scope["energies"]).all()
    assert scope["one"] is registry.surrogates("two_stream")[0]


def test_docs_of_differentiable_use() -> None:
    scope = run("docs/differentiable.md", {})
    assert scope["sensitivity"].shape == (5,)
    assert np.isfinite(scope["sensitivity"]).all()


@pytest.mark.long
def test_docs_of_several_devices() -> None:
    scope = run("docs/devices.md", {})
    assert scope["model"].history.attrs["judged_on"]
    assert scope["more"].sizes["run"] == 3
    assert np.isfinite(scope["more"]["x"]).all()


@pytest.mark.long
def test_docs_of_the_clock_of_a_population() -> None:
    scope = run("docs/population_clock.md", {})
    truth, clock = scope["truth"], scope["model"].learned.normalisation.clock
    nodes = scope["rule"].nodes_and_weights()[0]
    np.testing.assert_allclose(clock.tau_on_host(truth["time"].values[1:-1] / 12), nodes, atol=1e-5)
    # It falls in fast and then swings, as the saved times of the picture show.
    assert truth["time"].values[1] < 0.7 * 12 * nodes[0]
    times, reading = scope["figure"].axes[0].lines[2].get_data()
    np.testing.assert_allclose(times, scope["foreign"]["time"])
    assert np.diff(reading)[0] > 2 * np.diff(reading)[-1]


@pytest.mark.long
def test_docs_of_simulators() -> None:
    scope = run("docs/simulators.md", {})
    assert abs(float(scope["fit"]["rate"]) / scope["expected"].imag - 1) < 0.02
    assert abs(scope["drifts"]["total_energy_drift"]).max() < 1e-3
    np.testing.assert_allclose(scope["paths"]["x"].mean(("sample", "axis"))[:, -1], np.exp([-1.0, -2.0]), atol=0.05)


@pytest.mark.long
def test_docs_of_ensembles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = run("docs/ensembles.md", {})
    truth = scope["truth"]
    assert scope["one"].sizes["run"] == 1
    assert scope["few"].sizes["sample"] == 64
    assert scope["some"].sizes["run"] == 1
    assert scope["campaign"].sizes["run"] == 3
    assert (scope["scores"]["sliced_wasserstein"].sel(reference="surrogate") > 0.01).all()
    assert len(scope["figure"].axes) > 1
    assert scope["samples"].sizes["component"] == 2
    assert scope["mean"]["v"].attrs == truth["v"].attrs


@pytest.mark.long
def test_docs_of_the_command_line(tmp_path: Path) -> None:
    scope = run("docs/howto/command_line.md", {})
    assert scope["energy"].shape == (1, 5)
    page = (ROOT / "docs" / "howto" / "command_line.md").read_text()
    (campaign,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    tables = tomllib.loads(campaign)
    # Every option is known to its command.
    for name, command in {"simulate": simulate, "fit": fit}.items():
        known = {*inspect.signature(command).parameters}
        for parameter in inspect.signature(command, eval_str=True).parameters.values():
            known |= (
                {field.name for field in dataclasses.fields(parameter.default)}
                if dataclasses.is_dataclass(parameter.default)
                else set()
            )
        assert tables[name].keys() <= known


@pytest.mark.long
def test_docs_of_my_codes_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = run("docs/howto/my_codes_output.md", {})
    assert scope["truth"].sizes == {"run": 4, "time": 41, "sample": 2000}
    np.testing.assert_array_equal(scope["new"]["x"][0, 0], scope["truth"]["x"][1, 0])
    assert np.isfinite(scope["new"]["x"]).all()


@pytest.mark.long
def test_docs_of_inference() -> None:
    scope = run("docs/howto/infer_a_parameter.md", {})
    assert 0.5 <= scope["theta"] <= 2
    assert np.isfinite(scope["value"])


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the .* saved times do not resolve")
def test_docs_of_clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = run("docs/howto/run_on_a_cluster.md", {})
    assert scope["truth"].sizes["run"] == 4
    assert np.isfinite(scope["model"].history["loss"]).all()


@pytest.mark.long
def test_docs_of_long_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scope = run("docs/howto/long_trainings.md", {})
    assert scope["checkpoint"].exists()
    # Again, from where it was.
    assert np.isfinite(run("docs/howto/long_trainings.md", {})["model"].history["loss"]).all()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the .* saved times do not resolve")
def test_docs_of_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = run("docs/howto/report.md", {})["page"].read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "times the noise floor" in page


@pytest.mark.long
def test_docs_of_diffrax() -> None:
    scope = run("docs/diffrax.md", {})
    assert scope["sol"].ys.shape == (1, 1000, 1)
    assert np.isfinite(scope["sol"].ys).all()
    assert scope["paths"].sizes["sample"] == 10_000
    assert np.isfinite(scope["log_p"]).all()


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the .* saved times do not resolve")
def test_docs_of_vlasov_adapters() -> None:
    scope = run("docs/vlasov_adapters.md", {})
    assert np.isfinite(scope["run"]["distribution"]).all()
    assert scope["sol"].ys["electron"].shape[0] == 5


@pytest.mark.long
def test_docs_of_parts_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    scope = run("docs/extending.md", {})
    velocity = scope["model"].velocity(np.asarray([[0.0], [1.0]], np.float32), 1.0, {"mu": 1.25})
    np.testing.assert_allclose(velocity[:, 0], [1.25, 0.25], atol=0.3)
    assert np.isfinite(scope["tilted"].history["loss"]).all()
    pushed = scope["push"](np.zeros(3), 0.5, 0.1, 1.25)
    np.testing.assert_allclose(pushed, 0.125, atol=0.04)


def test_command_lines_of_pages_are_known_to_the_command_line() -> None:
    from hoam_plugin.cli.app import app

    pages = (ROOT / "README.md", ROOT / "docs" / "howto" / "command_line.md")
    commands = re.findall(r"^hoam (\w+)", "\n".join(page.read_text() for page in pages), re.MULTILINE)
    assert {"list", "simulate", "fit", "compare"} <= set(commands)
    for command in commands:
        assert command in app


def test_links_of_the_pages_lead_somewhere() -> None:
    others = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")]
    for page in [*others, *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_code_of_every_page_runs() -> None:
    """Here, or in a test that names the page."""
    tests = [*(ROOT / "tests" / "docs").glob("*.py"), ROOT / "tests" / "scores" / "test_table.py"]
    sources = "\n".join(path.read_text() for path in tests)
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        if "```python" in page.read_text() and page.parent.name != "problems":
            assert re.search(rf"\b{page.stem}\b", sources), f"no test runs {page.name}"


PROBLEMS = sorted(page.stem for page in (ROOT / "docs" / "problems").glob("*.md") if page.stem != "README")


@pytest.mark.long
@pytest.mark.parametrize("name", PROBLEMS)
def test_problem_pages_run_and_show_a_picture(name: str) -> None:
    page = ROOT / "docs" / "problems" / f"{name}.md"
    code = "\n".join(python_blocks(f"docs/problems/{name}.md"))
    code = re.sub(r"n_samples=[\d_ *]+", f"n_samples={512 if name == 'yukawa_quench' else 64}", code)
    code = re.sub(r"np.linspace\(0, ([\d.]+), \d+\)", r"np.linspace(0, \1 / 40, 2)", code)
    scope: dict[str, Any] = {}
    exec(compile(code, str(page), "exec"), scope)
    assert all(np.isfinite(scope["ds"][v.name]).all() for v in ensembles.variables(scope["ds"]))
    assert rebuild_stepper(scope["ds"]) is not None
    pictures = [page.parent / target for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text())]
    assert pictures
    assert all(0 < picture.stat().st_size < 500_000 for picture in pictures)


def test_every_problem_has_a_page() -> None:
    solvers = {"vlasov_poisson_pic", "vlasov_poisson_3d", "vlasov_poisson_grid"}
    assert set(PROBLEMS) == set(registry.names()) - solvers


@pytest.mark.slow
def test_the_page_on_trust(tmp_path: Path) -> None:
    scope = run("docs/trust.md", {"folder": tmp_path})
    assert scope["left_out"].sizes["run"] == 6
    assert scope["ranked"].sizes["candidate"] == 29

"""The reference has every public name, public namespaces show nothing else, and examples in docstrings hold."""

import doctest
import importlib
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from repository import ROOT

PAGES = sorted((ROOT / "docs" / "api").glob("*.md"))
DOCUMENTED = [
    name
    for page in PAGES
    for name in re.findall(r"^\.\. (?:auto\w+|py:data):: (\S+)", page.read_text(), flags=re.MULTILINE)
]
# Names without an example of their own, and the page that shows them at work.
SHOWN_ELSEWHERE = {
    "Checkup": "docs/ensembles.md",
    "read": "docs/howto/my_codes_output.md",
    "Surrogate": "docs/api/surrogates.md",
    "Ensemble": "docs/ensembles.md",
}
CONSTANTS = {"DIMS", "INVARIANTS"}
# What users are told to import, beside the package itself.
NAMESPACES = (
    "adapters.adept",
    "adapters.diffrax",
    "adapters.epoch",
    "adapters.jax_md",
    "adapters.mdanalysis",
    "adapters.openpmd",
    "adapters.vlasov",
    "baselines",
    "diagnostics",
    "dispersion",
    "ensemble",
    "log_density",
    "observables",
    "plots",
    "quadrature",
    "recipes",
    "simulators",
    "simulators.sampling",
    "trust",
)
# Names of types that annotations show and nobody calls.
TYPES = {"hoam_plugin.quadrature.Kind"}


def module(name: str) -> ModuleType:
    return importlib.import_module(f"hoam_plugin.{name}" if name else "hoam_plugin")


def public(name: str) -> set[str]:
    """Full names in a namespace, modules in it left out."""
    space = module(name)
    listed: list[str] = space.__all__
    return {f"{space.__name__}.{n}" for n in listed if not isinstance(getattr(space, n), ModuleType)} - TYPES


@pytest.mark.parametrize("name", ["", *NAMESPACES])
def test_every_public_name_is_in_the_reference(name: str) -> None:
    # A name that two namespaces have, stands in one of them.
    objects = {id(resolved(documented)) for documented in DOCUMENTED}
    missing = [n for n in public(name) if n not in DOCUMENTED and id(resolved(n)) not in objects]
    assert not missing


@pytest.mark.parametrize("name", ["", *NAMESPACES])
def test_namespaces_show_public_names_only(name: str) -> None:
    space = module(name)
    assert dir(space) == sorted(space.__all__)
    assert not [shown for shown in dir(space) if shown.startswith("_")]
    assert all(hasattr(space, shown) for shown in dir(space))


def resolved(documented: str) -> object:
    """The object of a full name."""
    home, _, name = documented.rpartition(".")
    return getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("documented", DOCUMENTED)
def test_names_in_the_reference_are_documented(documented: str) -> None:
    found = resolved(documented)
    assert inspect.getdoc(found)
    if inspect.isfunction(found):
        described = inspect.getdoc(found) or ""
        raised = "raise ValueError" in inspect.getsource(found)
        assert not raised or "Raises:" in described or "errors as" in described.lower(), "which errors?"
        assert not inspect.signature(found).parameters or "Args:" in described


def test_a_name_stands_in_the_reference_once() -> None:
    assert len(set(DOCUMENTED)) == len(DOCUMENTED)


def test_what_pages_import_is_in_the_reference() -> None:
    """`from hoam_plugin.room import name` in code of a page."""
    told = set()
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            for home, names in re.findall(r"^from (hoam_plugin[\w.]*) import ([\w, ]+)", block, re.MULTILINE):
                told |= {f"{home}.{name.split(' as ')[0].strip()}" for name in names.split(",")}
    objects = {id(resolved(documented)) for documented in DOCUMENTED}
    found = {name: resolved(name) for name in told}
    assert not [n for n, value in found.items() if not isinstance(value, ModuleType) and id(value) not in objects]


@pytest.fixture(scope="module")
def prelude() -> dict[str, object]:
    """What examples begin with, as the first page of the reference says it."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api" / "index.md").read_text(), re.DOTALL)
    scope: dict[str, object] = {}
    exec(compile(code, "docs/api/index.md", "exec"), scope)
    return scope


@pytest.fixture(scope="module")
def prelude_of_jax_md(prelude: dict[str, object]) -> Iterator[dict[str, object]]:
    """What examples of the adapter to jax-md begin with besides."""
    from hoam_plugin.adapters.jax_md.jax_md_modules import usual_promotions

    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api" / "adapters.md").read_text(), re.DOTALL)
    scope = dict(prelude)
    with usual_promotions(), warnings.catch_warnings(action="ignore"):
        exec(compile(code, "docs/api/adapters.md", "exec"), scope)
        yield scope


WITH_EXAMPLE = [name for name in DOCUMENTED if name.rpartition(".")[2] not in {*SHOWN_ELSEWHERE, *CONSTANTS}]


@pytest.mark.long
@pytest.mark.parametrize("documented", [name for name in WITH_EXAMPLE if ".jax_md." not in name])
def test_examples_hold(documented: str, prelude: dict[str, object]) -> None:
    check_example(documented, prelude)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
@pytest.mark.parametrize("documented", [name for name in WITH_EXAMPLE if ".jax_md." in name])
def test_examples_of_jax_md_hold(documented: str, prelude_of_jax_md: dict[str, object]) -> None:
    check_example(documented, prelude_of_jax_md)


def check_example(documented: str, scope: dict[str, object]) -> None:
    found = inspect.getdoc(resolved(documented)) or ""
    assert ">>>" in found
    example = doctest.DocTestParser().get_doctest(found, dict(scope), documented, None, None)
    runner = doctest.DocTestRunner(verbose=False)
    said: list[str] = []
    assert not runner.run(example, out=said.append).failed, "".join(said)


def test_names_without_an_example_need_none() -> None:
    assert {*SHOWN_ELSEWHERE, *CONSTANTS} <= {documented.rpartition(".")[2] for documented in DOCUMENTED}
    assert not [name for name, page in SHOWN_ELSEWHERE.items() if name not in (ROOT / page).read_text()]


@pytest.mark.long
def test_code_of_the_page_on_surrogates(prelude: dict[str, object], tmp_path: Path) -> None:
    scope = {**prelude, "folder": tmp_path}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api" / "surrogates.md").read_text(), re.DOTALL):
        exec(compile(block, "docs/api/surrogates.md", "exec"), scope)

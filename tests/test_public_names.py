"""The public names: one table says where they are, for Python and for type checkers alike."""

import ast
import importlib.metadata
import subprocess
import sys

import pytest
from repository import ROOT

import hoam_plugin as hoam

TREE = ast.parse((ROOT / "hoam_plugin" / "__init__.py").read_text())


def for_type_checkers() -> dict[str, str]:
    """Names that the block for type checkers imports, and the room of each; "" for modules of the package itself."""
    (block,) = (node for node in TREE.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    found = {}
    for node in block.body:
        if isinstance(node, ast.ImportFrom):
            assert node.module is not None
            for alias in node.names:
                assert alias.asname == alias.name, "`as` makes a name public to type checkers"
                found[alias.name] = node.module.removeprefix("hoam_plugin").removeprefix(".")
    return found


def test_the_table_of_names_is_that_of_type_checkers() -> None:
    assert for_type_checkers() == hoam._HOMES
    assert hoam.__all__ == sorted(hoam._HOMES)


@pytest.mark.parametrize("name", hoam.__all__)
def test_every_public_name_is_there(name: str) -> None:
    home = hoam._HOMES[name]
    value = getattr(hoam, name)
    expected = importlib.import_module(f"hoam_plugin.{home or name}")
    assert value is (getattr(expected, name) if home else expected)


def test_the_version_is_that_of_the_installation() -> None:
    assert hoam.__version__ == importlib.metadata.version("hoam-plugin")


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(AttributeError, match="module 'hoam_plugin' has no attribute 'fitt'"):
        hoam.fitt  # noqa: B018


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"jax", "numpy", "xarray", "matplotlib", "diffrax", "flax", "optax", "zarr", "scipy", "rich", "cyclopts"}
    code = "import sys, hoam_plugin; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not heavy & set(done.stdout.split())

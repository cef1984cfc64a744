"""The page of errors and warnings quotes what the package says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

QUOTED = re.findall(r"```text\n(.*?)\n```", (ROOT / "docs" / "faq.md").read_text(), re.DOTALL)


def messages(path: Path) -> Iterator[str]:
    """Texts in a module, with an ellipsis for what is put in."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


SAID = [
    m for room in ("hoam_plugin", "adapters", "simulators") for p in (ROOT / room).rglob("*.py") for m in messages(p)
]


@pytest.mark.parametrize("quoted", QUOTED)
def test_quoted_messages_are_in_the_source(quoted: str) -> None:
    assert any(quoted in said for said in SAID)


def test_there_are_messages_of_all_kinds() -> None:
    assert len(QUOTED) > 40

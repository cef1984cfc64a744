"""Stored notebooks as pages: their cells and outputs as Markdown, pictures inside of the page. Nothing is run."""

import json
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

# Below the heading of each page; relative to the notebook.
PREAMBLE = (
    "*Run by `python docs/notebooks/run.py {name}`; all outputs are real. To run it oneself: {{download}}`the notebook "
    "<{name}.ipynb>`, or {{download}}`its source <{name}.py>`, a script in cells.*"
)


def markdown(notebook: dict, name: str) -> str:
    """A whole notebook."""
    parts: list[str] = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        else:
            parts += [f"```python\n{source}\n```", *outputs(cell["outputs"], heading(parts))]
    first, _, rest = parts[0].partition("\n")
    return "\n\n".join([first, PREAMBLE.format(name=name), rest, *parts[1:]])


def outputs(found: list[dict], title: str) -> Iterator[str]:
    """What a cell printed and drew."""
    for output in found:
        data = output.get("data", {})
        text = output.get("text") or data.get("text/plain")
        if "image/png" in data:
            yield f"![{title}](data:image/png;base64,{''.join(data['image/png']).strip()})"
        elif text:
            yield f"```text\n{''.join(text).rstrip()}\n```"


def heading(parts: list[str]) -> str:
    """The last one so far: what pictures below it show."""
    lines = [line for part in parts for line in part.splitlines() if line.startswith("#") and not part.startswith("`")]
    return lines[-1].lstrip("# ") if lines else ""


class NotebookParser(MystParser):
    """Markdown of a notebook, parsed as all other pages."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Called by Sphinx."""
        super().parse(markdown(json.loads(inputstring), Path(document["source"]).stem), document)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

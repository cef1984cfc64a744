"""Run the notebooks at full size and save their outputs: `python docs/notebooks/run.py [name ...]`.

Needs the extra `docs`. Every notebook `<name>.py` (jupytext's percent format) is executed in a kernel of its own and
written as `<name>.md`, with its pictures as `images/<name>_<number>.png`. Files are written when the whole notebook has
run, in the place of the old ones.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from pathlib import Path
from typing import Any

import jupytext
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

FOLDER = Path(__file__).parent
NAMES = ("oscillator", "vlasov")
_PREAMBLE = "*Written by `python docs/notebooks/run.py {name}` from [{name}.py]({name}.py); all outputs are real.*\n\n"


def run(name: str) -> None:
    """Execute one notebook and write its page and pictures."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(FOLDER)}}).execute()
    pictures = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = tidy(cell.outputs)
            pictures += [output for output in cell.outputs if "image/png" in output.get("data", {})]

    images = FOLDER / "images"
    images.mkdir(exist_ok=True)
    for old in images.glob(f"{name}_*.png"):
        old.unlink()
    for number, output in enumerate(pictures, start=1):
        file = images / f"{name}_{number}.png"
        file.write_bytes(base64.b64decode(output["data"]["image/png"]))
        output["data"] = {"text/markdown": f"![{file.stem}](images/{file.name})"}
    page, _ = MarkdownExporter().from_notebook_node(notebook)
    heading, _, rest = page.strip().partition("\n\n")
    text = f"{heading}\n\n{_PREAMBLE.format(name=name)}{rest.strip()}\n"
    (FOLDER / f"{name}.md").write_text(re.sub(r"\n{3,}", "\n\n", text))
    print(f"{name}.md, {len(pictures)} pictures")


def tidy(outputs: list[Any]) -> list[Any]:
    """The outputs of a cell with printed lines in one piece and without the names of matplotlib's objects."""
    kept: list[Any] = []
    for output in outputs:
        text = output.get("data", {}).get("text/plain", "")
        if "image/png" not in output.get("data", {}) and text.startswith("<matplotlib"):
            continue
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


if __name__ == "__main__":
    # A notebook must not see the small size of the tests, and its kernel shows pictures where no backend is named.
    for variable in ("HOAM_NOTEBOOK_SIZE", "MPLBACKEND"):
        os.environ.pop(variable, None)
    for chosen in sys.argv[1:] or NAMES:
        run(chosen)

"""Run the notebooks at full size and store them with their outputs: `python docs/notebooks/run.py [name ...]`.

Needs the extra `docs`. The source of a notebook is `<name>.py` (jupytext's percent format); it is executed in a kernel
of its own and written as `<name>.ipynb`, in the place of the old one when all of it has run. `--text` takes text alone
from the source, and the outputs as they are stored.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

FOLDER = Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.py") if path != Path(__file__)))
LARGEST_PICTURE, LARGEST_NOTEBOOK = 500_000, 1_000_000
# Of a picture in the palette of a PNG.
COLOURS = 256
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def source_of(name: str) -> NotebookNode:
    """The cells of a source, without outputs, numbered so that the same source gives the same file."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = {}, f"cell-{number}"
    notebook.metadata = METADATA
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return notebook


def run(name: str) -> NotebookNode:
    """Execute a notebook."""
    notebook = source_of(name)
    NotebookClient(notebook, timeout=7200, resources={"metadata": {"path": str(FOLDER)}}).execute()
    notebook.metadata = METADATA
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = tidy(cell.outputs)
    return notebook


def with_new_text(name: str) -> NotebookNode:
    """A stored notebook with the text of its source.

    Raises:
        ValueError: its code has changed, so that it has to be run.
    """
    notebook, stored = source_of(name), nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    own, old = ([cell for cell in nb.cells if cell.cell_type == "code"] for nb in (notebook, stored))
    if [cell.source for cell in own] != [cell.source for cell in old]:
        raise ValueError(f"the code of {name}.py is not that of the stored notebook; run it")
    for cell, before in zip(own, old, strict=True):
        cell.outputs, cell.execution_count = before.outputs, before.execution_count
    return notebook


def tidy(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with printed lines in one piece, pictures as small PNG alone, and no names of matplotlib's objects."""
    kept: list[NotebookNode] = []
    for output in outputs:
        data = output.get("data", {})
        if "image/png" in data:
            output.data, output.metadata = {"image/png": smaller(data["image/png"])}, {}
            kept.append(output)
        elif output.get("name") == "stderr":
            # Warnings by their text alone, without the place in the source.
            output.text = "".join(f"{warning}\n" for warning in re.findall(r"\w*Warning: .*", output.text))
            kept += [output] if output.text else []
        elif output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        elif "text/plain" in data and not data["text/plain"].startswith(("<matplotlib", "[<matplotlib", "Text(")):
            output.data = {"text/plain": data["text/plain"]}
            kept.append(output)
        elif output.output_type == "stream":
            kept.append(output)
    return kept


def smaller(encoded: str) -> str:
    """A PNG in base64 with a palette of few colours."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(out, format="PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def write(name: str, notebook: NotebookNode) -> None:
    """Store a notebook that is small enough, tells no paths of this machine, and is valid.

    Raises:
        ValueError: it is not.
    """
    nbformat.validate(notebook)
    text = nbformat.writes(notebook) + "\n"
    pictures = re.findall(r'"image/png": "([^"]*)"', text)
    largest = max(map(len, pictures), default=0) * 3 // 4
    if largest > LARGEST_PICTURE or len(text) > LARGEST_NOTEBOOK:
        raise ValueError(f"{name}: {len(text)} bytes, and {largest} of the largest picture, are too many")
    told = [path for path in (str(FOLDER.parents[1]), str(Path.home())) if path in text and len(path) > 1]
    if told:
        raise ValueError(f"{name}: the outputs hold {told[0]!r}")
    aside = FOLDER / f".{name}.ipynb.part"
    aside.write_text(text)
    aside.rename(FOLDER / f"{name}.ipynb")
    print(f"{name}.ipynb: {len(text) / 1000:.0f} kB, {len(pictures)} pictures")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--text", action="store_true", help="run nothing: text from the source, outputs as stored")
    options = parser.parse_args()
    # A notebook must not see the small size of the tests, and its kernel shows pictures where no backend is named.
    for variable in ("HOAM_NOTEBOOK_SIZE", "MPLBACKEND"):
        os.environ.pop(variable, None)
    for chosen in options.names or NAMES:
        write(chosen, (with_new_text if options.text else run)(chosen))

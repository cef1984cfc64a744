"""Pieces of HTML: text, tables, lists and pictures, everything in the page itself."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Iterable, Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Markup:
    """HTML, as opposed to text that has to be escaped."""

    html: str


Cell = str | Markup


def markup_of(content: Cell) -> str:
    """HTML of what is text or HTML."""
    return content.html if isinstance(content, Markup) else html.escape(content)


def paragraph(content: Cell, kind: str = "") -> Markup:
    """A paragraph of a class of the style."""
    of_kind = f' class="{kind}"' if kind else ""
    return Markup(f"<p{of_kind}>{markup_of(content)}</p>")


def facts(rows: Mapping[str, Cell]) -> Markup:
    """Names and what they are."""
    lines = (f"<dt>{html.escape(name)}</dt><dd>{markup_of(value)}</dd>" for name, value in rows.items())
    return Markup(f'<dl class="facts">{"".join(lines)}</dl>')


def table(head: Sequence[Cell], rows: Iterable[Sequence[Cell]], caption: str) -> Markup:
    """A table that scrolls sideways by itself where the page is narrower; rows of one cell are headings."""
    top = "".join(f'<th scope="col">{markup_of(cell)}</th>' for cell in head)
    body = "".join(f"<tr>{_row(row, len(head))}</tr>" for row in rows)
    return Markup(
        f'<div class="table" tabindex="0" role="region" aria-label="{html.escape(caption)}"><table>'
        f"<caption>{html.escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[Cell], n_columns: int) -> str:
    first, *rest = map(markup_of, row)
    if not rest:
        return f'<th scope="rowgroup" class="group" colspan="{n_columns}">{first}</th>'
    return f'<th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}'


def listing(items: Iterable[Cell]) -> Markup:
    """A list of points."""
    return Markup(f"<ul>{''.join(f'<li>{markup_of(item)}</li>' for item in items)}</ul>")


def folded(title: str, content: Markup) -> Markup:
    """What is shown on request; in print always."""
    return Markup(f"<details><summary>{html.escape(title)}</summary>{content.html}</details>")


def badge(text: str, kind: str) -> Markup:
    """A word in the colours of "good", "fair" or "poor"."""
    return Markup(f'<span class="badge {kind}">{html.escape(text)}</span>')


def picture(data: bytes, caption: str, *, still: bytes | None = None, lines: bool = False) -> Markup:
    """A picture with its caption.

    Args:
        data: a PNG or GIF file.
        caption: says what it shows, also to those who do not see it.
        still: a PNG in the place of a moving one, for those who want none.
        lines: curves on white, whose brightness may be turned over for dark pages.
    """
    kind = "gif" if data.startswith(b"GIF") else "png"
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    image = f'<img src="{source}" alt="{html.escape(caption)}">'
    if still is not None:
        quiet = f"data:image/png;base64,{base64.b64encode(still).decode()}"
        wanted = "(prefers-reduced-motion: reduce), print"
        image = f'<picture><source media="{wanted}" srcset="{quiet}">{image}</picture>'
    return Markup(
        f'<figure class="{"lines" if lines else "areas"}">{image}'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def section(title: str, *content: Markup) -> Markup:
    """A part of the page under a heading, to which the list of contents leads."""
    inner = "".join(piece.html for piece in content)
    return Markup(f'<section id="{anchor(title)}"><h2>{html.escape(title)}</h2>{inner}</section>')


def anchor(title: str) -> str:
    """The address of a heading within the page."""
    return "-".join(title.lower().split())

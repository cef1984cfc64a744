"""Links of the built site: `python docs/site/check_links.py build/site` fails where one leads nowhere.

Sphinx checks what it resolves itself; here is what browsers will see: every link and anchor, every picture, script and
style sheet, of which none may come from elsewhere.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """What a page has: its anchors, its links, and the files that it loads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Of an element."""
        given = {name: value for name, value in attrs if value}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if "src" in given:
            self.loads.append(given["src"])
        if tag == "link" and "href" in given and given.get("rel") != "canonical":
            self.loads.append(given["href"])


def broken(site: Path) -> list[str]:
    """Sentences about links that lead nowhere."""
    # The theme leaves a template among its files.
    paths = [path.resolve() for path in site.rglob("*.html") if "_static" not in path.parts]
    pages = {path: Page(path) for path in paths}
    sheets = [path for path in site.rglob("*.css") if re.search(r"""url\(["']?(https?:)?//""", path.read_text())]
    found = [f"{path.relative_to(site)} loads from elsewhere" for path in sheets]
    for path, page in pages.items():
        where = path.relative_to(site.resolve())
        found += [
            f"{where} loads {load} from elsewhere" for load in page.loads if urlsplit(load).scheme not in ("", "data")
        ]
        for link in (*page.links, *(load for load in page.loads if not urlsplit(load).scheme)):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                found.append(f"{where} links to {link}, which is not there")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{where} links to {link}, whose anchor is not there")
    return found


def main(arguments: list[str]) -> int:
    """Print what is broken, and how much was looked at."""
    site = Path(arguments[0])
    sentences = broken(site)
    print("\n".join(sentences) or "all links and anchors lead somewhere")
    return int(bool(sentences))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

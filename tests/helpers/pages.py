"""A page as its text, headings, addresses and tags."""

import html.parser


class Page(html.parser.HTMLParser):
    """What is on a page; fails where tags are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.addresses: list[str] = []
        self.anchors: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert name not in ("onload", "onclick", "onerror")
            if name in ("src", "href", "srcset", "data", "action"):
                self.addresses.append(value or "")
            if name == "id":
                self.anchors.append(value or "")
        if tag not in ("meta", "img", "source", "link", "br"):
            self._open.append(tag)
        assert tag != "img" or dict(attrs)["alt"]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._open and self._open[-1] == "h2":
            self.headings.append(data)


def self_contained(text: str) -> Page:
    """The page, which must need nothing but itself."""
    page = Page(text)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    inside = {f"#{anchor}" for anchor in page.anchors}
    for address in page.addresses:
        assert address.startswith("data:image/") or address in inside, address[:60]
    return page

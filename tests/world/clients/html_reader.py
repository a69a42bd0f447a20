"""Reader for HTML pages, which checks that no element or text was injected by an attacker."""

from __future__ import annotations

from html.parser import HTMLParser

ALLOWED_ELEMENTS = """
html head meta link title style body header nav main footer section form fieldset legend label input datalist option
button a p h1 h2 h3 pre code div span strong textarea ul ol li dl dt dd table thead tbody tr th td details summary
svg desc line text circle path polyline rect select
"""
URL_ATTRIBUTES = frozenset({"href", "src", "action", "srcset", "data", "poster", "xlink:href", "formaction", "content"})


class HtmlReader(HTMLParser):
    """Elements and text of an HTML page."""

    def __init__(self, body: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self._style = False
        self.feed(body.decode())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attributes}))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = self._style and tag != "style"

    def handle_data(self, data: str) -> None:
        self.text += "" if self._style else data

    @property
    def links(self) -> list[str]:
        return [attributes["href"] for tag, attributes in self.elements if "href" in attributes]


def read_harmless_page(body: bytes) -> HtmlReader:
    """Parse a page, and check that it has only permitted elements, attributes, URLs and characters."""
    found = HtmlReader(body)
    for tag, attributes in found.elements:
        assert tag in ALLOWED_ELEMENTS.split(), tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"], attributes
        for name in URL_ATTRIBUTES & set(attributes):
            value = attributes[name]
            assert tag == "meta" or ":" not in value or value.startswith("https://"), (tag, name, value)
    assert all(character.isprintable() or character == "\n" for character in found.text)
    return found

"""HTML from nested calls: text is escaped and every element closed, because nothing is pasted together by hand."""

import base64
from html import escape

VOID = {"meta", "img", "line", "rect", "image", "polyline", "polygon", "circle"}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def el(name: str, /, *children: str | list[Markup], **attributes: object) -> Markup:
    """An element. Children that are not Markup are text and get escaped, lists of Markup are opened.

    An attribute is spelled with `_` for `-` and a trailing `_` after a Python keyword (`class_`); None and False
    leave it out, True makes it bare.
    """
    shown = ""
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            shown += f" {key}"
        elif value is not None and value is not False:
            shown += f' {key}="{escape(_plain(value))}"'
    if name in VOID:
        return Markup(f"<{name}{shown}>" if name == "meta" else f"<{name}{shown}/>")
    inner = "".join("".join(child) if isinstance(child, list) else text(child) for child in children)
    return Markup(f"<{name}{shown}>{inner}</{name}>")


def text(content: str) -> Markup:
    """Text as HTML; Markup stays as it is."""
    return content if isinstance(content, Markup) else Markup(escape(content))


def _plain(value: object) -> str:
    """Numbers with a tenth of a pixel: more digits would only make the page larger."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def data_uri(kind: str, content: bytes) -> str:
    """The content itself as an address, so that the page asks for no other file (RFC 2397)."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def table(names: list[str], rows: list[list[str]], marked: set[int] | None = None) -> Markup:
    """A table in a box of its own, in which it scrolls where the screen is narrow; rows of `marked` stand out.

    Columns of numbers stand to the right.
    """
    right = [
        all(row[place].lstrip("+-")[:1].isdigit() or row[place] in ("-", "") for row in rows) and bool(rows)
        for place in range(len(names))
    ]
    head = [el("th", name, scope="col", class_="n" if to_right else None)
            for name, to_right in zip(names, right, strict=True)]  # fmt: skip
    body = [
        el("tr", [el("td", cell, class_="n" if to_right else None) for cell, to_right in zip(row, right, strict=True)],
           class_="best" if marked and number in marked else None)
        for number, row in enumerate(rows)
    ]  # fmt: skip
    return el("div", el("table", el("thead", el("tr", head)), el("tbody", body)), class_="wide")

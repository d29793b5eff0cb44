"""An SVG element, for a file and for a page that draws it itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

__all__ = ["Shape"]


@dataclass(frozen=True)
class Shape:
    """An SVG element. ``part`` says what it shows, and ``key`` which one: both are for a view, not part of the SVG."""

    tag: str
    attributes: Mapping[str, str]
    content: tuple[Shape | str, ...] = ()
    part: str = ""
    key: str = ""

    def markup(self) -> str:
        """As text, everything escaped."""
        attributes = "".join(f' {name}="{escape(value)}"' for name, value in self.attributes.items())
        inside = "".join(escape(each) if isinstance(each, str) else each.markup() for each in self.content)
        return f"<{self.tag}{attributes}>{inside}</{self.tag}>" if self.content else f"<{self.tag}{attributes}/>"

    def json(self) -> dict[str, Any]:
        """As plain JSON, nothing escaped: whoever draws it makes text nodes."""
        inside = [each if isinstance(each, str) else each.json() for each in self.content]
        return {"tag": self.tag, "at": dict(self.attributes), "in": inside, "part": self.part, "key": self.key}

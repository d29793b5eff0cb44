"""A text in English and in Chinese, and the words for a verdict in both."""

from __future__ import annotations

import html
from dataclasses import dataclass
from enum import Enum

__all__ = ["KMESH_COMMIT", "Text", "Verdict", "both_cells", "source_link"]

KMESH_COMMIT = "ec501a9887b53899ba2760f69740d3d78434d7c8"

_OF_KMESH = ("README.md", "bpf/", "daemon/", "docs/", "pkg/", "test/")
LEFT = 'style="text-align:left;vertical-align:top"'


@dataclass(frozen=True, slots=True)
class Text:
    """The same in English and in Chinese; neither is ever empty."""

    en: str
    zh: str

    def __post_init__(self) -> None:
        if not self.en.strip() or not self.zh.strip():
            raise ValueError(f"a text needs both languages, not {self.en!r} and {self.zh!r}")

    def __str__(self) -> str:
        return f"{self.en}\n{self.zh}"


class Verdict(Enum):
    """What became of a claim on the running lab."""

    HOLDS = Text("holds", "成立")
    CORRECTED = Text("holds with a correction", "基本成立，但需更正")
    WRONG = Text("is wrong", "不成立")

    @property
    def mark(self) -> str:
        """A sign that needs no colour."""
        return {"HOLDS": "✓", "CORRECTED": "≈", "WRONG": "✗"}[self.name]

    def __str__(self) -> str:
        return f"{self.mark} {self.value.en} / {self.value.zh}"


def both_cells(text: Text, width: int = 50) -> str:
    """Two table cells side by side, escaped, each ``width`` per cent of the table wide."""
    style = f'style="text-align:left;vertical-align:top;width:{width}%"'
    return f'<td {style} lang="en">{html.escape(text.en)}</td><td {style} lang="zh">{html.escape(text.zh)}</td>'


def source_link(source: str) -> str:
    """``bpf/…/service.h:106-143`` as a link into Kmesh at the commit that was read; anything else as it is."""
    path, _, lines = source.partition(":")
    if not path.startswith(_OF_KMESH) or " " in source:
        return html.escape(source)
    first, _, last = lines.partition("-")
    anchor = f"#L{first}" + (f"-L{last}" if last else "") if first else ""
    url = f"https://github.com/kmesh-net/kmesh/blob/{KMESH_COMMIT}/{path}{anchor}"
    return f'<a href="{html.escape(url)}"><code>{html.escape(source)}</code></a>'

"""What the coach says about a cell of C: one line, what it means, the smallest fix, and the whole log folded away."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kmesh_lab.coach.advice import Advice
from kmesh_lab.display import counted, one_line

__all__ = ["Loaded", "Outcome", "Verdict"]

Outcome = Literal["accepted", "rejected", "not compiled", "not loaded"]

_MARK = {"accepted": "✓", "rejected": "✗", "not compiled": "✗", "not loaded": "✗"}
_EDGE = {"accepted": "#15803d", "rejected": "#b91c1c", "not compiled": "#b91c1c", "not loaded": "#b91c1c"}
_UNKNOWN = (
    "The coach does not know this rejection, and does not guess. These are the verifier's own words; the last lines "
    "of the log say how it came to them."
)
_UNKNOWN_TO_CLANG = "These are the compiler's own words."
_SHOWN_LINES = 1000  # of a log in a notebook; `Verdict.log` has all of it

_FONT = "font-family:var(--jp-code-font-family,monospace);font-size:var(--jp-code-font-size,13px)"
_BOX = (
    f"{_FONT};margin:4px 0;padding:6px 10px;overflow-x:auto;color:var(--jp-content-font-color1,inherit);"
    "background:var(--jp-layout-color2,rgba(128,128,128,.15));border-radius:2px"
)


@dataclass(frozen=True)
class Loaded:
    """A program that the kernel took; ``instructions`` are those of the compiled program."""

    name: str
    section: str
    instructions: int


@dataclass(frozen=True, repr=False)
class Verdict:
    """The kernel's answer to a cell of C; true when every program was accepted.

    ``why`` is the answer in one sentence, ``source`` the blamed line of C, ``advice`` what the coach knows about it,
    ``loaded`` the programs that were taken, ``notes`` what else was done with them.
    """

    outcome: Outcome
    why: str
    source: str = ""
    advice: Advice | None = None
    loaded: Sequence[Loaded] = field(default=())
    notes: Sequence[str] = field(default=())

    def __bool__(self) -> bool:
        return self.outcome == "accepted"

    @property
    def log(self) -> str:
        """Everything that the verifier, or the compiler, printed."""
        return self.advice.log if self.advice else ""

    @property
    def rule(self) -> str:
        """The name of the rule that fits; "" when the coach does not know the rejection."""
        return self.advice.rule.name if self.advice and self.advice.rule else ""

    @property
    def headline(self) -> str:
        """``✗ rejected: program learn, line 6``"""
        return f"{_MARK[self.outcome]} {self.outcome}: {self.why}"

    def _parts(self) -> Iterator[tuple[str, str, str]]:
        """(title, words, C) of each part that there is something to say in."""
        advice = self.advice
        if self.source and advice:
            inside = f"The verifier stopped inside {advice.inside}." if advice.inside else ""
            yield f"Line {advice.line}", inside, self.source
        if advice is None or advice.reason == self.why:
            return
        yield ("The verifier says" if self.outcome == "rejected" else "The compiler says"), "", advice.reason
        if advice.rule is None:
            yield "", (_UNKNOWN if self.outcome == "rejected" else _UNKNOWN_TO_CLANG), ""
            return
        yield "What it means", advice.means, ""
        yield "The smallest fix", advice.fix, advice.code

    def __str__(self) -> str:
        lines = [self.headline]
        for title, words, code in self._parts():
            lines.append(f"  {title}{': ' if title and words else ':' if title else ''}{words}")
            lines += [f"    {line}" for line in code.expandtabs(4).splitlines()]
        lines += [f"  {each.name}, {each.section}: {each.instructions} instructions" for each in self.loaded]
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return one_line(f"<Verdict {self.headline}>")

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        parts = [f"<b>{html.escape(self.headline)}</b>"]
        for title, words, code in self._parts():
            head = f"<b>{html.escape(title)}.</b> " if title else ""
            parts.append(f'<div style="margin-top:6px">{head}{html.escape(words)}</div>')
            parts.append(f'<pre style="{_BOX}">{html.escape(code.expandtabs(4))}</pre>' if code else "")
        parts += [
            f"<div><code>{html.escape(each.name)}</code>, {html.escape(each.section)}: "
            f"{each.instructions} instructions</div>"
            for each in self.loaded
        ]
        parts += [f"<div>{html.escape(note)}</div>" for note in self.notes]
        parts.append(self._folded_log())
        edge = f"border-left:4px solid {_EDGE[self.outcome]};padding:2px 12px"
        return f'<div style="{edge}">{"".join(parts)}</div>'

    def _folded_log(self) -> str:
        lines = self.log.strip().splitlines()
        if not lines:
            return ""
        left_out = len(lines) - _SHOWN_LINES
        shown = (
            [f"… {left_out} lines before these are in the verdict's .log", *lines[left_out:]] if left_out > 0 else lines
        )
        cut = self.outcome == "rejected" and not lines[0].startswith("0: ") and len(lines) > 10
        title = f"The {'end of the' if cut else 'whole'} log, {counted(len(lines), 'line')}"
        text = html.escape("\n".join(shown))
        summary = f'<summary style="cursor:pointer">{title}</summary>'
        return f'<details style="margin-top:6px">{summary}<pre style="{_BOX};max-height:24em">{text}</pre></details>'

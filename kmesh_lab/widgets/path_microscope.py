"""One request over two paths, side by side on one clock, to be moved through step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, ClassVar

from kmesh_lab.comparison import Moment, Recording
from kmesh_lab.comparison.timeline import draw, summary
from kmesh_lab.display import counted, one_line
from kmesh_lab.widgets.excerpt import Lines, compiled, excerpt
from kmesh_lab.widgets.view import View

__all__ = ["PathMicroscope"]

_MOST = 4  # lanes
_WIRE = "wire"
_GROUP = 4  # bytes


class PathMicroscope(View):
    """Recordings on one clock: ``PathMicroscope(follow("kernel"), follow("sidecars http"))``.

    Each lane has a row for every process and one for the wire; a scrubber moves through all steps of all lanes, and
    beside it stands what the step did, its bytes and, where it is ours, the C that reported it. All of it was recorded:
    nothing is asked of the kernel again.
    """

    name: ClassVar[str] = "path_microscope"

    def __init__(self, *recordings: Recording) -> None:
        strange = [each for each in recordings if not isinstance(each, Recording)]
        if strange:
            raise ValueError(
                f"a lane of {strange[0]!r}? expected a recording, as kmesh_lab.comparison.follow makes one"
            )
        if not 1 <= len(recordings) <= _MOST:
            raise ValueError(f"{counted(len(recordings), 'recording')}: expected 1 to {_MOST}, one for each lane")
        self._recordings = recordings
        super().__init__(lanes=[_lane(each) for each in recordings])

    def __repr__(self) -> str:
        said = "; ".join(f"{lane['name']}: {lane['summary']}" for lane in self.frame["lanes"])
        return one_line(f"<PathMicroscope {said}>")

    def html(self) -> str:
        """The timelines as a picture, and under it every step of each lane with its bytes and its C."""
        return draw(self._recordings) + "".join(_static(lane) for lane in self.frame["lanes"])


# ---- from a recording to what the page shows


def _lane(recording: Recording) -> dict[str, Any]:
    rows = [*recording.actors, _WIRE]
    files = compiled(recording.text)
    return {
        "name": recording.path.name,
        "way": recording.path.way,
        "summary": summary(recording),
        "duration": recording.duration,
        "rows": rows,
        "shares": [[actor, *map(_tenths, share)] for actor, share in recording.shares.items()],
        "stretches": [
            [_tenths(each.start), _tenths(each.end), rows.index(each.actor)]
            for each in recording.stretches
            if each.actor
        ],
        "moments": [_moment(each, rows, files) for each in recording.moments],
    }


def _moment(moment: Moment, rows: Sequence[str], files: Mapping[str, Lines]) -> dict[str, Any]:
    in_process = moment.kind in ("call", "switch") and moment.actor in rows
    return {
        "start": _tenths(moment.start),
        "end": _tenths(moment.end),
        "row": rows.index(moment.actor if in_process else _WIRE),
        "actor": moment.actor,
        "kind": moment.kind,
        "label": moment.label,
        "story": moment.story,
        "length": moment.length,
        "bytes": _preview(moment.data, moment.length),
        "source": excerpt(moment.location, files),
    }


def _tenths(time: float) -> float:
    return round(time, 1)


def _preview(data: bytes, length: int) -> str:
    """Text where it is text, and otherwise hex in groups of four."""
    more = f"\n… and {counted(length - len(data), 'byte')} more" if length > len(data) else ""
    text = data.decode("latin-1")
    if all(sign in "\r\n\t" or (sign.isascii() and sign.isprintable()) for sign in text):
        return text.replace("\r\n", "\n").rstrip("\n") + more
    return data.hex(" ", -_GROUP) + more


# ---- the static form


def _static(lane: Mapping[str, Any]) -> str:
    title = f"{lane['name']}: every step ({lane['summary']})"
    head = "".join(f'<th style="text-align:left">{name}</th>' for name in ("", "µs", "who", "step", "what happened"))
    rows = "".join(_static_row(number, moment) for number, moment in enumerate(lane["moments"], 1))
    shares = "; ".join(
        f"{who}: {own} µs in its own code, {kernel} µs in the kernel" for who, own, kernel in lane["shares"]
    )
    return (
        f"<details><summary>{escape(title)}</summary><p>{escape(lane['way'])}. {escape(shares)}.</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></details>"
    )


def _static_row(number: int, moment: Mapping[str, Any]) -> str:
    cells = (number, moment["start"], moment["actor"], moment["label"], moment["story"])
    row = "".join(f'<td style="text-align:left">{escape(str(cell))}</td>' for cell in cells)
    below = "\n".join(_below(moment))
    more = f'<tr><td></td><td colspan="4" style="text-align:left"><pre>{escape(below)}</pre></td></tr>' if below else ""
    return f"<tr>{row}</tr>{more}"


def _below(moment: Mapping[str, Any]) -> Iterator[str]:
    if moment["bytes"]:
        yield moment["bytes"]
    source = moment["source"]
    if source:
        yield f"{source['file']} line {source['line']}, {source['function']}()"
        yield source["lines"][source["line"] - source["first"]].strip()

"""The static form of a LocalityPanel: what its frame says, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

__all__ = ["static_form"]

_BAR = 20  # characters


def static_form(frame: Mapping[str, Any], balancing: str) -> str:
    """The settings, the prediction and the last run."""
    client = next(each for each in frame["clients"] if each["name"] == frame["client"])
    rows = [
        [
            each["name"],
            each["where"],
            ("in" if each["healthy"] else "out") + (f", {each['trouble']}" if each["trouble"] else ""),
            "not yet" if each["guess"] is None else each["guess"],
            *((_bar(each["seen"], frame["made"]), _priority_text(each)) if "seen" in each else ("", "")),
        ]
        for each in frame["endpoints"]
    ]
    rows += [[name, "no endpoint", "", "", _bar(number, frame["made"]), ""] for name, number in frame["others"]]
    columns = ("endpoint", "place", "health", "predicted", "observed", "priority")
    head = "".join(f"<th>{name}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    way = f"{frame['client']} ({client['where']}) → {frame['service']['name']}"
    title = f"{way}, {balancing}, {frame['made'] or 'no'} connects"
    lines = [frame["state"], frame["note"], frame["error"], frame["verdict"], *frame["why"]]
    lines += [f"Earlier: {text} ({past})" for past, text in frame["history"]]
    lines += [f"Published now: {frame['published']}{', changed by this panel' if frame['changed'] else ''}."]
    said = "".join(f"<p>{escape(line)}</p>" for line in lines if line)
    top = f"<caption>{escape(title)}</caption><thead><tr>{head}</tr></thead>"
    return f"<table>{top}<tbody>{body}</tbody></table>{said}"


def _bar(number: int, total: int) -> str:
    return f"{'█' * round(_BAR * number / max(1, total))} {number}".strip()


def _priority_text(each: Mapping[str, Any]) -> str:
    if each["priority"] is None:
        return "no row: out"
    compared = ", ".join(f"{scope} {outcome}" for scope, outcome in each["scopes"])
    return f"{each['priority']}{' (chosen)' if each['chosen'] else ''}{f': {compared}' if compared else ''}"

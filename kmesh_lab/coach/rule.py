"""A rejection that the coach knows: how the verifier says it, what it means, and the smallest change that helps.

``says`` is searched for in the verifier's last words, ``log`` in its whole log; the first rule that fits is taken, so
the narrower one stands first. In ``means``, ``fix`` and ``code`` a {name} is a named group of either, or one of

    {pointer}   what the line of C dereferences, if that is one thing; else "pointer"
    {type}      what it points to
    {index}  {count}  the index of an array in the line, and the number of its elements; else "index" and "N"
    {context}   the argument of the program
    {go_on}     how the hook lets a connection go on
    {readable}  {writable}  the fields of the hook's context

Each rule has a file of the same name in tests/coach/rejections: C that the kernel refuses, and with the fix does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """One kind of rejection; ``source``, if given, must fit the blamed line of C."""

    name: str
    says: str
    means: str
    fix: str
    code: str = ""
    log: str = ""
    source: str = ""

    def match(self, reason: str, log: str, source: str) -> Mapping[str, str] | None:
        """The named groups, if this is the rule for these words; None if not."""
        said = re.search(self.says, reason)
        wider = re.search(self.log, log, re.MULTILINE) if said else None
        if said is None or wider is None or not re.search(self.source, source):
            return None
        return {**wider.groupdict(), **said.groupdict()}

"""``%%bpf``: the cell is C, and the answer is the kernel's."""

from __future__ import annotations

import shlex

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class

from kmesh_lab.coach.cell import coach
from kmesh_lab.coach.verdict import Verdict
from kmesh_lab.lab import Node

__all__ = ["BpfMagics"]

_USAGE = "write %%bpf, or %%bpf --attach n1 with the name of a variable that is a node"


@magics_class
class BpfMagics(Magics):
    """The magic of the coach."""

    @cell_magic
    def bpf(self, line: str, cell: str) -> Verdict:
        """Compile the cell and show it to the verifier; ``--attach n1`` runs what is accepted on a node."""
        # The line of %%bpf itself counts, as it does in the editor.
        return coach(f"\n{cell}", attach=self._node(shlex.split(line)))

    def _node(self, words: list[str]) -> Node | None:
        if not words:
            return None
        if len(words) != 2 or words[0] != "--attach":
            raise UsageError(f"%%bpf does not know {' '.join(words)!r}: {_USAGE}")
        names = self.shell.user_ns if self.shell else {}
        node = names.get(words[1])
        if not isinstance(node, Node):
            raise UsageError(f"{words[1]!r} is {'no node' if words[1] in names else 'not defined'}: {_USAGE}")
        return node

"""What a learner waits for: the verdict on a cell of C, and the grade of tests. Each sample is a new Python process."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from typing import Any

from benchmarks.fresh import in_fresh_process
from benchmarks.report import Figure

ROUNDS = 3

_CELL = 'SEC("cgroup/connect4")\nint learn(struct bpf_sock_addr *ctx)\n{\n%s}\n'
_BODIES = {
    "accepted": "\tctx->user_port = bpf_htons(8080);\n\treturn 1;\n",
    "rejected": "\treturn *(u8 *)(u64)ctx->user_ip4;\n",
    "a loop without end": "\tfor (u32 i = 0; i < ctx->user_ip4; i++)\n\t\tbpf_get_prandom_u32();\n\treturn 1;\n",
}


def figures() -> list[Figure]:
    """Verdicts, and a grade with everything to compile and again."""
    samples: defaultdict[str, list[float]] = defaultdict(list)
    for _ in range(ROUNDS):
        for what, seconds in in_fresh_process("-m", "benchmarks.testing").items():
            samples[what].append(seconds)
    verdicts = [Figure(f"%%bpf to verdict: {what}", samples[what], at_most=1) for what in _BODIES]
    return [
        *verdicts,
        Figure("grade one test of locality by 14 mutants", samples["grade"], at_most=30),
        Figure("grade it again: nothing to compile", samples["grade again"], at_most=30),
    ]


def _measure() -> dict[str, float]:
    from kmesh_lab.coach import coach
    from kmesh_lab.testing import grade

    def reaches_somebody(shop: Any, near: Any, publish: Any) -> None:
        assert shop.connect_many(publish("RANDOM", near), count=20) == {"near": 20}

    found: dict[str, float] = {}
    for what, body in _BODIES.items():
        start = time.perf_counter()
        coach(_CELL % body)
        found[what] = time.perf_counter() - start
    for what in ("grade", "grade again"):
        start = time.perf_counter()
        grade("locality", [reaches_somebody])
        found[what] = time.perf_counter() - start
    return found


if __name__ == "__main__":
    print(json.dumps(_measure()))

"""The thirteen questions, one module each."""

from kmesh_lab.interview.question import Question
from kmesh_lab.interview.questions import (
    q01_what_is_kmesh,
    q02_one_request,
    q03_why_ebpf,
    q04_maps,
    q05_connect_hook,
    q06_locality,
    q07_tlv,
    q08_sk_msg,
    q09_cgroup_skb,
    q10_testing,
    q11_docker_and_kubernetes,
    q12_limits,
    q13_how_much_faster,
)

__all__ = ["QUESTIONS"]

QUESTIONS: tuple[Question, ...] = (
    q01_what_is_kmesh.QUESTION,
    q02_one_request.QUESTION,
    q03_why_ebpf.QUESTION,
    q04_maps.QUESTION,
    q05_connect_hook.QUESTION,
    q06_locality.QUESTION,
    q07_tlv.QUESTION,
    q08_sk_msg.QUESTION,
    q09_cgroup_skb.QUESTION,
    q10_testing.QUESTION,
    q11_docker_and_kubernetes.QUESTION,
    q12_limits.QUESTION,
    q13_how_much_faster.QUESTION,
)

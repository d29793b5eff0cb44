"""The interview: every proof runs, every text has both languages, and a verdict follows from what was observed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kmesh_lab as km
from kmesh_lab.interview import QUESTIONS, Ledger, Record, Stage, Text, Verdict, question
from kmesh_lab.interview.question import Proofs
from kmesh_lab.interview.text import source_link

HAN = re.compile(r"[\u4e00-\u9fff]")
CLAIMS = [claim for each in QUESTIONS for claim in each.claims]

# What the issue of this notebook quotes, and the claims that it is.
QUOTED = {
    "1.1": "costs memory",
    "1.2": "several times",
    "1.3": "network card",
    "1.4": "one Kmesh per node",
    "2.1": "replaces the ingress gateway",
    "3.1": "Loops are forbidden",
    "4.1": "only writes maps; nothing restarts",
    "5.1": "flag that is 1",
    "5.2": "straight to its backend",
    "5.3": "original destination is kept",
    "6.1": "Policy 0 is local first, 1 is remote first, 2 is local then remote",
    "6.2": "from priority 0 to 6",
    "6.3": "STRICT blocks when nobody is local",
    "6.4": "random endpoint of the chosen priority",
    "7.1": "in front of the TCP header",
    "7.2": "describes its own length",
    "7.3": "original destination address and port",
    "9.1": "log for every packet",
    "10.1": "do not support",
}


@pytest.fixture(scope="module")
def stage():
    with km.Lab() as lab:
        yield Stage(lab)


@pytest.mark.root
@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_the_lab_gives_each_claim_the_verdict_that_is_on_its_card(stage, claim):
    proof = claim.prove(stage)

    assert proof.verdict is claim.verdict, proof.facts
    assert all(fact.observed for fact in proof.facts)


@pytest.mark.root
def test_the_ledger_says_what_was_proven_and_what_is_open():
    with km.Lab() as lab:
        stage = Stage(lab)
        assert len(Ledger(QUESTIONS, stage).open) == len(CLAIMS)
        question(4).claim("4.3").prove(stage)
        ledger = Ledger(QUESTIONS, stage)

    assert "4.3" not in ledger.open
    assert ledger.disputed == []
    assert repr(ledger).endswith("; 1 proven here>")
    assert ledger._repr_html_().count("proven / 已验证") == 1


def test_there_are_thirteen_questions_and_each_has_claims_follow_ups_and_a_rubric():
    assert [each.number for each in QUESTIONS] == list(range(1, 14))
    assert all(len(each.claims) >= 3 and each.follow_ups and len(each.rubric) == 3 for each in QUESTIONS)
    assert [claim.id for claim in CLAIMS] == [
        f"{each.number}.{place}" for each in QUESTIONS for place, _ in enumerate(each.claims, 1)
    ]
    assert len({claim.proof for claim in CLAIMS}) == len(CLAIMS)


def test_every_quoted_claim_is_among_them():
    said = {claim.id: claim.says.en for claim in CLAIMS}
    assert {number: words for number, words in QUOTED.items() if words not in said[number]} == {}


def test_no_text_is_in_one_language_only():
    for each in QUESTIONS:
        for text in each.texts():
            assert HAN.search(text.zh), text
            assert not HAN.search(text.en), text
    with pytest.raises(ValueError, match="needs both languages, not 'only English' and ' '"):
        Text("only English", " ")


def test_chinese_uses_chinese_punctuation():
    odd = re.compile(r"[\u4e00-\u9fff][,;:?!]|[\u4e00-\u9fff]\(")
    assert [text.zh for each in QUESTIONS for text in each.texts() if odd.search(text.zh)] == []


@pytest.mark.root
def test_what_a_proof_observed_is_labelled_in_both_languages(stage):
    labels = [fact.about for fact in question(6).claim("6.3").prove(stage).facts]
    assert all(HAN.search(label.zh) and not HAN.search(label.en) for label in labels)


def test_no_proof_states_its_verdict_and_each_claim_has_a_source():
    for path in Path(km.__file__).parent.glob("interview/questions/q*.py"):
        proofs = path.read_text().partition("QUESTION = Question(")[0]
        assert "Verdict." not in proofs, path.name
    assert all(claim.sources for claim in CLAIMS)


@pytest.mark.parametrize(
    ("parts", "additions", "verdict"),
    [
        ([True, True], [], Verdict.HOLDS),
        ([True, False], [], Verdict.CORRECTED),
        ([True], [True], Verdict.CORRECTED),
        ([False, False], [True], Verdict.WRONG),
        ([False], [], Verdict.WRONG),
    ],
)
def test_the_verdict_follows_from_what_was_observed(parts, additions, verdict):
    record = Record()
    for so in parts:
        record.claimed("a part", "一部分", so, so)
    for so in additions:
        record.instead("what is so", "实际情况", so, so)

    assert record.verdict() is verdict


def test_a_proof_fails_when_the_kernel_contradicts_the_correction_or_nothing_was_tried():
    record = Record()
    with pytest.raises(km.LabError, match="nothing was tried"):
        record.verdict()
    record.claimed("a part", "一部分", "x", False)
    record.instead("the sky is green", "天空是绿色的", "blue", False)
    with pytest.raises(km.LabError, match="does not hold on this machine: the sky is green"):
        record.verdict()


def test_a_source_links_to_the_commit_that_was_read():
    link = source_link("bpf/kmesh/workload/sockops.c:58-76")
    assert "/blob/ec501a9887b53899ba2760f69740d3d78434d7c8/bpf/kmesh/workload/sockops.c#L58-L76" in link
    assert source_link("tried on <this> kernel") == "tried on &lt;this&gt; kernel"


def test_an_unknown_question_is_named():
    with pytest.raises(km.LabError, match="no question 14; there is 1, 2, "):
        question(14)


def test_an_unknown_claim_is_named():
    six = question(6)
    with pytest.raises(km.LabError, match=r"^no claim '9\.9' in question 6; there is 6\.1, 6\.2, 6\.3, 6\.4 or 6\.5$"):
        six.claim("9.9")
    with pytest.raises(km.LabError, match=r"^no proof '9\.9' in question 6; there is none yet$"):
        Proofs(six, ())["9.9"]

"""MockInterview without a browser: drawing, scoring, weak spots and the static form."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmesh_lab.interview import QUESTIONS
from kmesh_lab.widgets import MockInterview, weak_spots


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path


def drawn(view: MockInterview, count: int = 5, depth: str = "short") -> list[int]:
    view._heard({"do": "start", "depth": depth, "count": count})
    return [card["number"] for card in view.frame["deck"]]


def test_questions_are_drawn_by_chance_and_a_seed_repeats_them():
    assert drawn(MockInterview(QUESTIONS, seed=7)) == drawn(MockInterview(QUESTIONS, seed=7))
    assert len({tuple(drawn(MockInterview(QUESTIONS, seed=seed))) for seed in range(8)}) > 1
    assert sorted(drawn(MockInterview(QUESTIONS), count=13)) == list(range(1, 14))


def test_a_card_has_both_languages_three_depths_and_the_points_to_tick():
    view = MockInterview(QUESTIONS)
    drawn(view, count=13)

    for card in view.frame["deck"]:
        assert set(card["answers"]) == {"short", "long", "whiteboard"}
        texts = [card["asks"], *card["answers"].values(), *card["points"]]
        assert all(en and zh for en, zh in texts)
    assert view.frame["seconds"] == {"short": 30, "long": 120, "whiteboard": 300}
    json.dumps(view.frame)


def test_a_missed_point_makes_a_weak_spot_that_is_drawn_first_and_exported():
    view = MockInterview(QUESTIONS, seed=1)
    drawn(view, count=13)
    view._heard({"do": "score", "number": 7, "said": [True, False, True]})

    assert view.scores == [{"number": 7, "points": 2, "of": 3}]
    missed = QUESTIONS[6].rubric[1].en
    assert [(each.question, each.said, each.so) for each in weak_spots] == [
        (QUESTIONS[6].asks.en, "2 of 3 points", missed)
    ]
    assert missed in view.export()
    assert view.frame["export"] == view.export()
    assert all(drawn(MockInterview(QUESTIONS, seed=seed), count=1) == [7] for seed in range(5))


def test_a_whole_answer_takes_the_question_off_the_list():
    view = MockInterview(QUESTIONS)
    for said in ([False, False, False], [True, True, True]):
        drawn(view, count=13)
        view._heard({"do": "score", "number": 7, "said": said})

    assert list(weak_spots) == []


def test_a_question_is_scored_once_in_a_round():
    view = MockInterview(QUESTIONS)
    drawn(view, count=13)
    for _ in range(2):
        view._heard({"do": "score", "number": 7, "said": [False, True, True]})

    assert len(view.scores) == 1
    assert weak_spots.weight(QUESTIONS[6].asks.en) == 1


def test_a_weak_spot_can_be_forgotten():
    weak_spots.record("Who answers?", "prediction", right=False, said="nobody", so="inventory-a")
    view = MockInterview(QUESTIONS)
    assert [each["question"] for each in view.frame["weak"]] == ["Who answers?"]

    view._heard({"do": "forget", "question": "Who answers?"})
    assert (view.frame["weak"], list(weak_spots)) == ([], [])


@pytest.mark.parametrize(
    "message",
    [
        {"do": "start", "depth": "for ever", "count": 5},
        {"do": "start", "depth": "short", "count": 0},
        {"do": "start", "depth": "short", "count": "many"},
        {"do": "score", "number": 99, "said": [True, True, True]},
        {"do": "score", "number": 7, "said": [True]},
        {"do": "score", "number": 7},
        {"do": "forget", "question": 7},
    ],
)
def test_a_message_that_makes_no_sense_changes_nothing(message):
    view = MockInterview(QUESTIONS)
    before = view.frame
    view._heard(message)

    assert view.frame == before


def test_a_data_folder_that_cannot_be_written_is_said(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/proc/nowhere")
    view = MockInterview(QUESTIONS)
    drawn(view, count=13)
    view._heard({"do": "score", "number": 7, "said": [False, True, True]})

    assert view.frame["note"].startswith("not remembered among the weak spots: ")
    assert len(view.scores) == 1


def test_the_static_form_has_every_question_in_both_languages_and_nothing_of_the_reader():
    weak_spots.record("Who answers?", "prediction", right=False, said="nobody", so="inventory-a")
    shown = MockInterview(QUESTIONS).html()

    assert shown == MockInterview(QUESTIONS, seed=3).html()
    assert all(each.asks.zh in shown for each in QUESTIONS)
    assert "Who answers?" not in shown
    assert repr(MockInterview(QUESTIONS)) == "<MockInterview: 13 questions>"


def test_without_questions_there_is_no_interview():
    with pytest.raises(ValueError, match="an interview needs questions"):
        MockInterview([])

"""The list of what to look at again, in a file that the tests put elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kmesh_lab.widgets.weak_spots import WeakSpots


@pytest.fixture
def spots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeakSpots:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return WeakSpots()


def miss(spots: WeakSpots, question: str) -> None:
    spots.record(question, "prediction", right=False, said="nobody", so="inventory-a")


def hit(spots: WeakSpots, question: str) -> None:
    spots.record(question, "prediction", right=True, said="inventory-a", so="inventory-a")


def test_the_file_is_in_the_data_folder_of_the_user_and_a_relative_one_does_not_count(spots, tmp_path, monkeypatch):
    assert spots.path == tmp_path / "kmesh-lab" / "weak-spots.json"

    monkeypatch.setenv("XDG_DATA_HOME", "notebooks")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert spots.path == Path("/home/somebody/.local/share/kmesh-lab/weak-spots.json")


def test_a_question_that_is_missed_twice_comes_first_and_goes_after_two_hits(spots):
    miss(spots, "Who answers?")
    for _ in range(2):
        miss(spots, "Which port?")

    assert [(spot.question, spot.weight) for spot in spots] == [("Which port?", 2), ("Who answers?", 1)]
    hit(spots, "Which port?")
    assert spots.weight("Which port?") == 1
    hit(spots, "Which port?")
    hit(spots, "Which port?")
    assert [spot.question for spot in spots] == ["Who answers?"]


def test_what_was_right_at_once_is_no_weak_spot(spots):
    hit(spots, "Who answers?")

    assert list(spots) == []
    assert repr(spots) == "<WeakSpots: no questions to look at again>"


def test_the_list_is_exported_as_markdown_and_shown_escaped(spots):
    miss(spots, "Is 1 < 2?")

    assert spots.export() == "- [ ] Is 1 < 2? (prediction; said: nobody; so: inventory-a)"
    assert "Is 1 &lt; 2?" in spots._repr_html_()
    spots.forget("Is 1 < 2?")
    assert spots.export() == ""
    miss(spots, "Who?\n谁应答")
    assert spots.export() == "- [ ] Who? / 谁应答 (prediction; said: nobody; so: inventory-a)"


def test_each_file_that_cannot_be_read_is_kept_beside(spots):
    for number, text in ((1, '{"not": "ours"'), (2, '[{"question": "Who answers?"}]')):
        miss(spots, "Who answers?")
        spots.path.write_text(text)

        miss(spots, "Which port?")

        assert [spot.question for spot in spots] == ["Which port?"]
        assert spots.path.with_suffix(f".unreadable-{number}").read_text() == text
    assert spots.path.with_suffix(".unreadable-1").read_text() == '{"not": "ours"'
    assert json.loads(spots.path.read_text())[0]["weight"] == 1


@pytest.mark.parametrize(("field", "value"), [("weight", "3"), ("weight", True), ("question", 7), ("so", None)])
def test_a_file_with_a_field_of_another_type_cannot_be_read(spots, field, value):
    miss(spots, "Who answers?")
    edited = json.dumps([json.loads(spots.path.read_text())[0] | {field: value}])
    spots.path.write_text(edited)

    miss(spots, "Who answers?")

    assert spots.weight("Who answers?") == 1
    assert spots.path.with_suffix(".unreadable-1").read_text() == edited

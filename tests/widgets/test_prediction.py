"""``km.predict`` without a browser: choices, what came true, what is remembered, and the static form."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import kmesh_lab as km
from kmesh_lab.widgets import weak_spots

WHO = ["inventory-a", "inventory-b", "nobody"]
CELL = 'import kmesh_lab as km\nkm.predict("Who answers?", ["inventory-a", "nobody"], "nobody", {"seen": 7})'


@pytest.fixture(autouse=True)
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    return tmp_path


class Pod:
    name = "inventory-a"


@pytest.mark.parametrize(
    ("choices", "observed", "came_true"),
    [
        (WHO, Pod(), "inventory-a"),
        (["2", "4"], 4, "4"),
        ({"none": 0, "about half": range(150, 251), "all": 400}, 217, "about half"),
        ({"both": {"a", "b"}, "one": {"c"}}, "b", "both"),
        ({"both": {"a", "b"}, "one": {"c"}}, {"a", "b"}, "both"),
        (WHO, "inventory-c", "none of these: inventory-c"),
    ],
)
def test_what_was_observed_is_one_of_the_choices_or_none(choices, observed, came_true):
    assert km.predict("What?", choices, observed).observed == came_true


def test_a_wrong_prediction_is_remembered_and_a_right_one_makes_it_forgotten():
    km.predict("Who answers?", WHO, "inventory-a").commit("nobody")
    assert [(each.question, each.said, each.so) for each in weak_spots] == [("Who answers?", "nobody", "inventory-a")]

    km.predict("Who answers?", WHO, "inventory-a").commit("inventory-a")
    assert list(weak_spots) == []


def test_a_prediction_is_committed_once():
    asked = km.predict("Who answers?", WHO, "inventory-a")
    asked.commit("nobody")
    asked.commit("inventory-a")

    assert asked.committed == "nobody"
    assert weak_spots.weight("Who answers?") == 1


def test_after_skipping_nothing_is_counted():
    asked = km.predict("Who answers?", WHO, "inventory-a")
    asked._heard({"do": "skip"})
    asked._heard({"do": "commit", "choice": "nobody"})

    assert (asked.committed, list(weak_spots)) == ("", [])


def test_a_message_of_the_page_that_makes_no_sense_is_ignored():
    asked = km.predict("Who answers?", WHO, "inventory-a")
    for message in ({"do": "commit"}, {"do": "commit", "choice": ["nobody"]}, {"do": "commit", "choice": "me"}, 7):
        asked._heard(message)

    assert asked.committed == ""


def test_a_data_folder_that_cannot_be_written_is_said_and_stops_nobody(monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", "/proc/nowhere")
    asked = km.predict("Who answers?", WHO, "inventory-a")
    asked.commit("nobody")

    assert asked.committed == "nobody"
    assert asked.frame["note"].startswith("not remembered among the weak spots: [Errno 2]")


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"needs two choices or more, 'Who\?' has 1"):
        km.predict("Who?", ["you"], "you")
    with pytest.raises(ValueError, match=r"no choice 'me'; there is inventory-a, inventory-b or nobody"):
        km.predict("Who?", WHO, "nobody").commit("me")


def test_the_static_form_asks_first_and_folds_what_happened():
    shown = km.predict("Who <b>?", WHO, "inventory-a", {"seen": "<i>"}).html()

    asked, happened = shown.split("<details>")
    assert "Who &lt;b&gt;?" in asked
    assert "nobody" in asked
    assert "Observed: <b>inventory-a</b>" in happened
    assert "<pre>{&#x27;seen&#x27;: &#x27;&lt;i&gt;&#x27;}</pre>" in happened


def test_without_a_browser_nobody_is_asked_and_two_runs_look_the_same(data_home):
    runs = []
    for _ in range(2):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
        NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
        runs.append([notebook.cells[0].outputs[0].data[form] for form in ("text/html", "text/plain")])

    assert runs[0] == runs[1]
    assert runs[0][1] == "<Prediction observed nobody: Who answers?>"
    assert not (data_home / "kmesh-lab").exists(), "nothing was predicted, so nothing is remembered"

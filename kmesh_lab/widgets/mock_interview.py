"""A mock interview: questions drawn, time kept, answers revealed, and what was weak remembered."""

from __future__ import annotations

import random
from collections.abc import Sequence
from html import escape
from typing import Any, ClassVar, Protocol

from kmesh_lab.display import counted
from kmesh_lab.widgets.view import View
from kmesh_lab.widgets.weak_spots import weak_spots

__all__ = ["Card", "MockInterview"]

SOURCE = "interview"
SECONDS = {"short": 30, "long": 120, "whiteboard": 300}
_FEW, _MOST = 1, 50


class Bilingual(Protocol):
    """A text in English and in Chinese."""

    @property
    def en(self) -> str:
        """English."""

    @property
    def zh(self) -> str:
        """Chinese."""


class Answers(Protocol):
    """An answer in three depths."""

    @property
    def short(self) -> Bilingual:
        """For 30 seconds."""

    @property
    def long(self) -> Bilingual:
        """For two minutes."""

    @property
    def whiteboard(self) -> Bilingual:
        """To be drawn."""


class Asked(Protocol):
    """A follow-up."""

    @property
    def asks(self) -> Bilingual:
        """What the interviewer asks next."""

    @property
    def answer(self) -> Bilingual:
        """A good answer."""


class Card(Protocol):
    """What the interview needs of a question; those of `kmesh_lab.interview` have it."""

    @property
    def number(self) -> int:
        """The number of the question."""

    @property
    def asks(self) -> Bilingual:
        """The question."""

    @property
    def answer(self) -> Answers:
        """The answer."""

    @property
    def follow_ups(self) -> Sequence[Asked]:
        """What is asked next."""

    @property
    def rubric(self) -> Sequence[Bilingual]:
        """The points by which one marks oneself."""


class MockInterview(View):
    """Questions in a drawn order, weak ones first: answer aloud, reveal, tick what you said.

    ``seed`` makes the order repeatable. A question of which a point was missed goes to `weak_spots`, from where
    `export` takes it.
    """

    name: ClassVar[str] = "mock_interview"

    def __init__(self, cards: Sequence[Card], *, seed: int | None = None) -> None:
        if not cards:
            raise ValueError("an interview needs questions; kmesh_lab.interview.QUESTIONS are some")
        self._cards = {card.number: card for card in cards}
        self._random = random.Random(seed)
        super().__init__(
            phase="ready",
            seconds=SECONDS,
            depth="short",
            total=len(self._cards),
            deck=[],
            scores=[],
            note="",
            **_weak(),
        )

    @property
    def scores(self) -> list[dict[str, Any]]:
        """What was marked in this round: number, points that were said, points that there are."""
        return list(self.frame["scores"])

    def export(self) -> str:
        """The weak spots as a Markdown list."""
        return weak_spots.export()

    # ---- what the page says

    def on_start(self, depth: object = "short", count: object = 5, **_: object) -> None:
        """Draw questions: those that were weak before come first, the rest by chance."""
        if depth not in SECONDS or not isinstance(count, int) or not _FEW <= count <= _MOST:
            return
        cards = list(self._cards.values())
        self._random.shuffle(cards)
        cards.sort(key=lambda card: -weak_spots.weight(card.asks.en))
        deck = [_card(card) for card in cards[:count]]
        self.frame = {**self.frame, "phase": "asking", "depth": depth, "deck": deck, "scores": [], "note": ""}

    def on_score(self, number: object = 0, said: object = (), **_: object) -> None:
        """Keep how a question went; ``said`` tells for each point of the rubric if it was said."""
        card = self._cards.get(number) if isinstance(number, int) else None
        done = [score["number"] for score in self.frame["scores"]]
        if card is None or not isinstance(said, list) or len(said) != len(card.rubric) or number in done:
            return
        missed = [point.en for point, heard in zip(card.rubric, said, strict=True) if not heard]
        points = len(card.rubric) - len(missed)
        note = ""
        try:
            weak_spots.record(
                card.asks.en,
                SOURCE,
                right=not missed,
                said=f"{points} of {counted(len(card.rubric), 'point')}",
                so="; ".join(missed),
            )
        except OSError as error:
            note = f"not remembered among the weak spots: {error}"
        scores = [*self.frame["scores"], {"number": number, "points": points, "of": len(card.rubric)}]
        self.frame = {**self.frame, "scores": scores, "note": note, **_weak()}

    def on_forget(self, question: object = "", **_: object) -> None:
        """Take a question off the weak spots."""
        if isinstance(question, str) and question:
            weak_spots.forget(question)
            self.frame = {**self.frame, **_weak()}

    # ---- the static form

    def __repr__(self) -> str:
        return f"<MockInterview: {counted(len(self._cards), 'question')}>"

    def html(self) -> str:
        """The questions with their short answers and rubrics, folded; the weak spots of a reader are not part of it."""
        parts = [
            f"<p>{counted(len(self._cards), 'question')}: answer aloud, unfold, and count the points you made.</p>"
        ]
        for card in self._cards.values():
            points = "".join(f"<li>{escape(point.en)} / {escape(point.zh)}</li>" for point in card.rubric)
            parts.append(
                f"<details><summary>{card.number}. {escape(card.asks.en)}<br>{escape(card.asks.zh)}</summary>"
                f"<p>{escape(card.answer.short.en)}</p><p>{escape(card.answer.short.zh)}</p><ul>{points}</ul></details>"
            )
        return "".join(parts)


def _both(text: Bilingual) -> list[str]:
    return [text.en, text.zh]


def _card(card: Card) -> dict[str, Any]:
    return {
        "number": card.number,
        "asks": _both(card.asks),
        "answers": {depth: _both(getattr(card.answer, depth)) for depth in SECONDS},
        "points": [_both(point) for point in card.rubric],
        "follow_ups": [[_both(each.asks), _both(each.answer)] for each in card.follow_ups],
    }


def _weak() -> dict[str, Any]:
    """The weak spots for the page; without a readable file there are none."""
    try:
        spots = list(weak_spots)
    except OSError:
        spots = []
    return {
        "weak": [
            {"question": each.question, "from": each.source, "so": each.so, "weight": each.weight} for each in spots
        ],
        "export": weak_spots.export() if spots else "",
    }

"""What is said of ratios: pure values, no kernel."""

from __future__ import annotations

import re

import pytest

from kmesh_lab.comparison import PATHS, Comparison, Measured, Ratio
from kmesh_lab.comparison.report import picture
from kmesh_lab.comparison.timing import Times, Window


def window(cpu: float, first_byte: int = 1000) -> Window:
    return Window(100, {"client": cpu / 2, "server": cpu / 2}, {("client", "client"): cpu / 2}, first_byte, 500, 0.01)


def times(*cpu: float) -> Times:
    each = dict(enumerate(map(window, cpu)))
    return Times({"keep": each, "new": dict(each)})


def measured(name: str, mine: Times, base: Times) -> Measured:
    return Measured(name, PATHS["direct"], {}, mine, None, base)


def compared(other: Times, name: str = "kernel") -> Comparison:
    base = times(1000, 1000, 1000)
    paths = {"direct": measured("direct", base, base), name: measured(name, other, base)}
    return Comparison(paths, {}, "not here", 3, 40, 1.0)


@pytest.mark.parametrize(
    ("pairs", "shown"),
    [
        ((1.2, 1.3, 1.1), True),
        ((0.5, 0.6, 0.7), True),
        ((1.2, 1.3, 0.99), False),  # one round says otherwise
        ((1.01, 1.02, 1.03), False),  # all say so, but no more than noise does
        ((1.01, 1.06, 1.12, 1.09, 1.02), False),  # all say so, but so few do by chance
        ((1.01, 1.06, 1.12, 1.09, 1.02, 1.07), True),
        ((8.0, 8.1), False),  # too few
        ((), False),
    ],
)
def test_a_difference_is_shown_when_every_round_says_so_and_it_is_more_than_noise(
    pairs: tuple[float, ...], shown: bool
) -> None:
    assert Ratio(pairs).shown is shown


def test_a_ratio_says_its_spread_or_that_it_was_too_noisy() -> None:
    assert str(Ratio((1.2, 1.3, 1.1))) == "1.20\xa0[1.10\xa0–\xa01.30]"
    assert str(Ratio((1.2, 1.3))) == "too noisy"


def test_ratios_pair_the_windows_of_a_round_and_leave_out_rounds_that_one_of_them_lacks() -> None:
    base, other = times(1000, 2000, 4000), times(2000, 4000, 8000)
    del other.windows["keep"][1]

    assert measured("x", other, base).ratio("cpu", "keep").pairs == (2, 2)
    assert measured("x", other, base).ratio("cpu", "new").pairs == (2, 2, 2)


def test_a_path_whose_windows_were_all_dropped_is_too_noisy_and_is_still_shown() -> None:
    nothing = Times()
    nothing.dropped["keep"] = 9

    result = compared(nothing)

    assert result["kernel"].verdict == "too noisy to say"
    assert "9 of 15 windows dropped" in repr(result)
    assert "too noisy" in result._repr_html_()


def test_names_and_reasons_are_text() -> None:
    result = compared(times(2000, 2000, 2000), name="<script>")
    result = Comparison(result.paths, {"<b>": "<i>"}, "<u>", 3, 40, 1.0)

    html = result._repr_html_()

    assert not [tag for tag in ("<script>", "<i>", "<u>") if tag in html]
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("name", ["kernel", "a waypoint that is an Envoy"])
def test_a_bar_begins_where_the_name_of_its_path_ends(name: str) -> None:
    shown = picture(compared(times(2000, 2000, 2000), name=name))

    bars = [float(x) for x in re.findall(r'<rect x="([\d.]+)" y="\d+" width="[\d.]+" height="22"', shown)]
    assert min(bars) >= 12 + 7.5 * len(name)


def test_bars_of_both_groups_have_one_scale() -> None:
    base, other = times(1000, 1000, 1000), times(2000, 2000, 2000)
    both = Times({"keep": base.windows["keep"], "new": other.windows["new"]})
    shown = picture(Comparison({"direct": measured("direct", both, both)}, {}, "not here", 3, 40, 1.0))

    kept, _, made, _ = map(float, re.findall(r'<rect x="[\d.]+" y="\d+" width="([\d.]+)" height="22"', shown))
    assert made == pytest.approx(2 * kept, abs=0.2)


def test_half_of_the_picture_is_for_the_bars_however_long_a_name_is() -> None:
    shown = picture(compared(times(2000, 2000, 2000), name="a path " * 30))

    widths = [float(width) for width in re.findall(r'<rect x="[\d.]+" y="\d+" width="(-?[\d.]+)" height="22"', shown)]
    assert len(widths) == 8  # of client and server, of two paths, kept and new
    assert min(widths) > 10

"""Plots: whole documents, small, with words for who cannot see them; what they are given cannot break out."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.plots import actuals, curves, ink, progress, quality, spread

LARGEST = 15_000
START = datetime(2026, 9, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
INK = {"svg", "title", "desc", "text", "line", "polyline", "polygon", "circle", "rect"}


def points(values: Sequence[float | None]) -> list[progress.Point]:
    return [
        progress.Point(
            at=START + timedelta(days=day),
            value=value,
            low=None if value is None else value - 0.02,
            high=None if value is None else value + 0.02,
        )
        for day, value in enumerate(values)
    ]


def rows(number: int, name: str = "feature") -> list[spread.Row]:
    verdicts = ("stable", "watch", "drifted", "too few")
    return [
        spread.Row(name=f"{name} {each}", psi=each / 100, verdict=verdicts[each % 4])
        for each in range(number)
    ]


def square(number: int) -> list[list[int]]:
    return [[100 if row == column else row + column for column in range(number)] for row in range(number)]


CURVE = curves.Curve(
    points=[(each / 199, (each / 199) ** 0.5) for each in range(200)], area=0.9, low=0.85, high=0.95, n=1234
)
FALLING = replace(CURVE, points=[(each / 100, 1 - each * 0.0076) for each in range(101)])


def side(number: int, scale: float = 1, off: float | None = None) -> actuals.Side:
    groups = [
        actuals.Group(
            predicted=each * scale, actual=(each + 1) * scale, actual_low=(each - 2) * scale,
            actual_high=(each + 3) * scale, error_low=-3 * scale, error_high=2 * scale, n=60,
        )
        for each in range(number)
    ]  # fmt: skip
    return actuals.Side(groups=groups, off=off)


PLOTS = {
    "progress": progress.over_time("accuracy_score", points([0.9, None, 0.8, 0.85]), 0.87),
    "progress of a long time": progress.over_time("accuracy_score", points([0.5, 0.6] * 2000), 0.55),
    "progress of nothing": progress.over_time("accuracy_score", points([None, None])),
    "progress of one bucket": progress.over_time("accuracy_score", points([0.9])),
    "calibration": quality.calibration(
        [quality.Bin(predicted=0.1 * each, observed=0.1 * each, n=50, low=0, high=1) for each in range(11)]
    ),
    "calibration of nothing": quality.calibration([]),
    "calibration beside training's": quality.calibration(
        [quality.Bin(predicted=0.3, observed=0.4, n=50, low=0, high=1)],
        [quality.Bin(predicted=0.1 * each, observed=0.1 * each, n=50) for each in range(11)],
    ),
    "roc": curves.roc(CURVE, CURVE),
    "roc of one version of many": curves.roc(CURVE),
    "roc of nothing": curves.roc(None),
    "precision": curves.precision_recall(FALLING, FALLING),
    "precision of training": curves.precision_recall(None, FALLING),
    "precision of nothing": curves.precision_recall(None),
    "roc of training": curves.roc(None, CURVE),
    "calibration of training": quality.calibration([], [quality.Bin(predicted=0.3, observed=0.4, n=50)]),
    "actuals": actuals.actuals(side(20, off=1.5), side(10, off=1.25)),
    "actuals of training": actuals.actuals(None, side(20)),
    "actuals of large numbers": actuals.actuals(side(20, 1e6), side(20, 1e7)),
    "actuals of one answer": actuals.actuals(side(1, 0), side(1)),
    "actuals of nothing": actuals.actuals(None),
    "residuals": actuals.residuals(side(20, off=1.5), side(10, off=1.25)),
    "residuals of training": actuals.residuals(None, side(20)),
    "residuals of one answer": actuals.residuals(side(1, 0)),
    "residuals of nothing": actuals.residuals(None),
    "confusion": quality.confusion(["no", "yes"], [[90, 10], [20, 80]]),
    "confusion of many": quality.confusion([f"label number {each}" for each in range(60)], square(60)),
    "confusion of nothing": quality.confusion(["no", "yes"], [[0, 0], [0, 0]]),
    "drift": spread.drift(rows(5), watch=0.1, drifted=0.25),
    "drift of many": spread.drift(rows(300, "a feature of a long name, number"), watch=0.1, drifted=0.25),
    "drift of nothing": spread.drift([], watch=0.1, drifted=0.25),
    "numbers": spread.numbers("age", [17, 30, 50, 90], [40, 40, 20], spread.Marked(value=50)),
    "numbers outside": spread.numbers("age", [17, 30, 50, 90], [40, 40, 20], spread.Marked(value=200)),
    "one number": spread.numbers("age", [5, 5], [40], spread.Marked(value=5)),
    "numbers of nothing": spread.numbers("age", [], []),
    "categories": spread.categories("sex", ["f", "m"], [40, 60], spread.Marked(value="f")),
    "an unseen category": spread.categories("sex", ["f", "m"], [40, 60], spread.Marked(value="x")),
    "many categories": spread.categories("town", [f"town {each}" for each in range(900)], list(range(900))),
    "categories of nothing": spread.categories("sex", ["f", "m"], [0, 0]),
}


@pytest.mark.parametrize("svg", PLOTS.values(), ids=PLOTS.keys())
def test_every_plot_is_whole_small_and_has_words(svg: str) -> None:
    """It is XML of less than 15 kB, an image named by its title and description, which say something."""
    root = ET.fromstring(svg)

    assert len(ink.file(svg)) < LARGEST
    assert (root.tag, root.attrib["role"]) == (f"{SVG}svg", "img")
    named = root.attrib["aria-labelledby"].split()
    words = {each.attrib["id"]: each.text for each in root if each.tag in (f"{SVG}title", f"{SVG}desc")}
    assert list(words) == named
    assert all(words.values())


@pytest.mark.parametrize("svg", PLOTS.values(), ids=PLOTS.keys())
def test_every_plot_takes_the_colour_of_its_page(svg: str) -> None:
    """Nothing is drawn in a colour that a dark page would swallow: the text's own, or the one accent."""
    colours = set(re.findall(r'(?:fill|stroke)="([^"]*)"', svg))

    assert colours <= {"currentColor", ink.ACCENT, "none"}
    assert "style" not in svg


@pytest.mark.parametrize("svg", PLOTS.values(), ids=PLOTS.keys())
def test_nothing_is_drawn_outside_of_the_frame(svg: str) -> None:
    """Every coordinate lies in the picture."""
    root = ET.fromstring(svg)
    width, height = map(float, root.attrib["viewBox"].split()[2:])

    for each in root.iter():
        for name in ("x", "cx", "x1", "x2"):
            assert 0 <= float(each.get(name, 0)) <= width
        for name in ("y", "cy", "y1", "y2"):
            assert 0 <= float(each.get(name, 0)) <= height


def test_a_plot_shows_the_figures_it_was_given() -> None:
    """What is measured can be read in the picture and in its description."""
    drawn = PLOTS["progress"]

    assert (
        "0.85 on 2026-09-04; lowest 0.8 on 2026-09-03, highest 0.9 on 2026-09-01. At training it was 0.87"
        in drawn
    )
    assert "90 of 100 right" in PLOTS["confusion"]
    assert "area 0.9<" in PLOTS["roc"]
    assert "In use: area 0.9, 0.85 to 0.95 (95 %), 1,234 predictions; held" in PLOTS["roc"]
    assert "at 0.2 it is 0.447" in PLOTS["roc"]
    assert "by chance: 0.24" in PLOTS["precision"]
    both = "In use: off by 1.5 on average; held out of training: off by 1.25 on average."
    assert f"{both} Predicted and, on average, actual: 0 was 1; 1 was 2" in PLOTS["actuals"]
    assert f"{both} Answer less what happened, on average: at 0 -1, half from -3 to 2" in PLOTS["residuals"]
    assert "<title>predicted 4, actual 5, half of 60 from 2 to 7</title>" in PLOTS["actuals"]
    assert ">100m<" in PLOTS["actuals of large numbers"]
    assert "this one: 50, above 80%" in PLOTS["numbers"]
    assert "feature 2 0.02 drifted" in PLOTS["drift"]


def test_thresholds_stay_apart_beside_what_moved_far() -> None:
    """However close two thresholds are drawn, the name of the one ends where that of the other begins, or before."""
    drawn = spread.drift([spread.Row(name="age", psi=50, verdict="drifted")], watch=0.1, drifted=0.25)
    watch, drifted = (ET.fromstring(drawn).find(f".//{SVG}text[.='{name}']") for name in ("watch", "drifted"))

    assert watch is not None
    assert drifted is not None
    assert (watch.get("text-anchor"), drifted.get("text-anchor", "start")) == ("end", "start")
    assert float(watch.attrib["x"]) <= float(drifted.attrib["x"])


def test_a_value_is_drawn_where_it_belongs() -> None:
    """A better value stands higher, a later one further right, and equal ones on one line."""
    found = re.findall(
        r'points="([^"]*)" fill="none"', progress.over_time("r2_score", points([0.1, 0.5, 0.1]))
    )
    (x, y), (later, higher), (last, low) = (map(float, pair.split(",")) for pair in found[0].split())

    assert x < later < last
    assert higher < y == low


def test_two_plots_on_one_page_do_not_share_a_name() -> None:
    """Ids differ as soon as anything in two plots differs."""
    marks = [re.findall(r'id="(\w+)"', svg) for svg in PLOTS.values()]

    assert len({mark for pair in marks for mark in pair}) == 2 * len(PLOTS)


def test_a_file_stands_alone_in_light_and_dark() -> None:
    """As a document it has a ground, and follows what the reader's system prefers."""
    document = ink.file(PLOTS["drift"]).decode()

    assert "color-scheme:light dark" in document
    assert ET.fromstring(document).tag == f"{SVG}svg"


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.floats(-1e300, 1e300))
def test_whatever_a_name_holds_it_stays_text(name: str, value: float) -> None:
    """Markup, quotes, control characters and lone surrogates in names are shown, never obeyed."""
    hostile = f'{name}</title><script>"&'
    drawn = [
        spread.drift([spread.Row(name=hostile, psi=abs(value), verdict=hostile)], watch=0.1, drifted=0.2),
        spread.numbers(hostile, [0, 1], [1], spread.Marked(value=value, words=hostile)),
        spread.categories(hostile, [hostile, "b"], [1, 2], spread.Marked(value=hostile)),
        quality.confusion([hostile, "b"], [[1, 2], [3, 4]]),
        progress.over_time(hostile, points([value, 0.5]), value),
    ]

    for svg in drawn:
        assert {each.tag.removeprefix(SVG) for each in ET.fromstring(svg).iter()} <= INK


def test_ticks_are_round_and_within() -> None:
    """Steps are 1, 2 or 5 times a power of ten, between the ends."""
    assert ink.ticks(17, 90) == [20, 40, 60, 80]
    assert ink.ticks(0.83, 0.89) == pytest.approx([0.84, 0.86, 0.88])
    assert ink.ticks(3, 3) == [3]

"""The picture of a family: every network where it belongs, the best joined, marks that grey and colour both tell."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from picture_inputs import hidden_texts, shown_texts
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "reporters"))

from slim_reports import MACS, PARAMS, facts, family, point, tuned_family

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.pareto import pareto_figure
from sparsity_audit.plots.write import write_figure
from sparsity_audit.schema.slim_tables import ParetoReport


def drawn(axes: Axes, marker: str, *, filled: bool | None = None) -> list[tuple[float, float]]:
    """Return the places of all points with a marker."""
    found = []
    for line in axes.lines:
        hollow = line.get_markerfacecolor() in ("none", "white")
        if line.get_marker() == marker and (filled is None or filled is not hollow):
            found += [(round(float(x), 4), round(float(y), 4)) for x, y in line.get_xydata()]  # type: ignore[union-attr]
    return sorted(found)


def panels(report: ParetoReport) -> list[Axes]:
    return pareto_figure(report).axes


def test_points_stand_where_their_figures_say() -> None:
    report = family()
    macs, params = panels(report)
    for axes, cost, whole, unit in ((macs, "macs", MACS, 1e6), (params, "params", PARAMS, 1e3)):
        places = {
            each.name: (round(getattr(each, cost) / unit, 4), round(100 * each.test.error, 4)) for each in report.points
        }
        best = sorted(places[each.name] for each in report.points if cost in each.best_for)
        beaten = sorted(places[each.name] for each in report.points if cost not in each.best_for)
        threshold = places["slim-01"]
        assert drawn(axes, "o", filled=True) == best
        assert drawn(axes, "s") == beaten
        assert drawn(axes, "o", filled=False) == [threshold]
        assert drawn(axes, "X") == [(round(whole / unit, 4), 17.2)]


def test_axes_have_names_and_units() -> None:
    macs, params = panels(family())
    assert macs.get_xlabel() == "MACs for one image, millions"
    assert params.get_xlabel() == "convolution parameters, thousands"
    assert macs.get_ylabel() == "test error on 10,000 images, %"
    assert macs.get_yscale() == "log"
    small = ParetoReport(**facts(cost="macs", points=[point(0, 0.9, 0.18)]))
    assert panels(small)[0].get_yscale() == "linear"
    spotless = ParetoReport(**facts(cost="macs", points=[point(0, 0.9, 0.0), point(1, 0.5, 0.9)]))
    assert panels(spotless)[0].get_yscale() == "linear"


def front(axes: Axes) -> list[tuple[float, float]]:
    joined = [line for line in axes.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 2]
    assert len(joined) == 1
    return [(float(x), float(y)) for x, y in joined[0].get_xydata()]  # type: ignore[union-attr]


def test_a_line_joins_what_nothing_beats() -> None:
    """The original among them only where every network has more errors."""
    places = front(panels(family())[0])
    assert places == sorted(places)
    assert len(places) == 5
    assert all(np.diff([y for _, y in places]) <= 0)
    assert (pytest.approx(MACS / 1e6), pytest.approx(17.2)) not in places
    worse = ParetoReport(**facts(cost="macs", points=[point(0, 0.9, 0.18), point(1, 0.5, 0.9)]))
    assert front(panels(worse)[0])[-1] == (pytest.approx(MACS / 1e6), pytest.approx(17.2))


def test_what_was_before_tuning_hangs_on_what_is_after() -> None:
    report = tuned_family()
    axes = panels(report)[0]
    before = sorted((round(each.macs / 1e6, 4), round(100 * each.test.error, 4)) for each in report.points)
    assert drawn(axes, "v") == before
    assert drawn(panels(family())[0], "v") == []
    final = [each.tuned.error for each in report.points if each.tuned is not None and "macs" in each.best_for]
    assert [y for _, y in sorted(drawn(axes, "o", filled=True))] == sorted(
        (round(100 * e, 4) for e in final), reverse=True
    )


def legend_handles(figure: Figure) -> list[Line2D]:
    return [handle for handle in figure.legends[0].get_lines() if isinstance(handle, Line2D)]


def test_every_kind_has_a_mark_of_its_own_in_grey_too() -> None:
    handles = legend_handles(pareto_figure(tuned_family()))
    assert len(handles) == 5
    marks = {(handle.get_marker(), str(handle.get_markerfacecolor()) in ("none", "white")) for handle in handles}
    assert len(marks) == 5
    for handle in handles:  # dark enough to be seen on white
        red, green, blue = to_rgb(handle.get_markeredgecolor())
        assert 0.299 * red + 0.587 * green + 0.114 * blue < 0.8
    no_threshold = ParetoReport(**facts(cost="macs", points=[point(0, 0.9, 0.18)]))
    assert len(legend_handles(pareto_figure(no_threshold))) == 3


@pytest.mark.parametrize("report", [family(), tuned_family()], ids=["cut", "tuned"])
def test_nothing_hides_a_text_and_all_are_large_enough(report: ParetoReport) -> None:
    figure = pareto_figure(report)
    assert hidden_texts(figure) == []
    assert min(text.get_fontsize() for text in shown_texts(figure)) >= 8
    for axes in figure.axes:
        assert sorted(text.get_text() for text in axes.texts) == [f"0{i}" for i in range(6)]


def test_files_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for suffix in (".svg", ".png"):
            write_figure(pareto_figure(family()), tmp_path / f"{name}{suffix}")
    for suffix in (".svg", ".png"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.format == "PNG"


def test_a_family_of_none_is_no_picture() -> None:
    with pytest.raises(UsageError, match="no slim network"):
        pareto_figure(ParetoReport(**facts(cost="macs", points=[])))

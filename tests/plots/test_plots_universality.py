"""Universality histograms: bars hold the shares of the filters that were given."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from picture_inputs import layer, model

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.universality import universality_figure

VALUES = [0.0, 0.0, 0.004, 0.05, 0.1, 0.55, 0.97, 1.0]
"""Of filters of which the first is inactive; the second is universal on no image, yet not 0."""


def heights(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches]


def test_bars_are_shares_of_all_filters() -> None:
    axes = universality_figure({"m": model(layer("c1", VALUES, [0]))}).axes[0]
    eighth = 100 / 8
    # Inactive; then 0–10 %, 10–20 %, …, 90–100 %, each with its lower edge.
    expected = [eighth, 3 * eighth, eighth, 0, 0, 0, eighth, 0, 0, 0, 2 * eighth]
    assert heights(axes) == pytest.approx(expected)
    assert sum(heights(axes)) == pytest.approx(100)
    edges = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    assert edges[0][1] < 0
    assert edges[1:] == [pytest.approx((10 * i, 10 * i + 10)) for i in range(10)]


def test_rows_are_models_and_columns_layers() -> None:
    first = model(layer("c1", [1.0, 1.0]), layer("c2", [0.05, 1.0]))
    second = model(layer("c2", [0.0, 0.0], [0, 1]), layer("c3", None))
    figure = universality_figure({"first": first, "second": second})
    grid = figure.axes
    assert [axes.get_title() for axes in grid[:2]] == ["c1", "c2"]
    assert [axes.get_ylabel() for axes in grid] == ["first\nfilters, %", "", "second\nfilters, %", ""]
    assert heights(grid[1])[:2] == pytest.approx([0, 50])
    assert heights(grid[3]) == pytest.approx([100, *[0] * 10])  # all dead
    assert [text.get_text() for text in grid[2].texts] == ["no such layer"]
    assert grid[0].get_ylim() == grid[3].get_ylim()
    assert grid[0].get_ylim()[1] >= 100


def test_layers_can_be_chosen_and_the_unmeasured_say_so() -> None:
    given = {"m": model(layer("c1", [1.0]), layer("c2", None), layer("c3", [1.0]))}
    figure = universality_figure(given, ["c3", "c2"])
    assert [axes.get_title() for axes in figure.axes] == ["c3", "c2"]
    assert [text.get_text() for text in figure.axes[1].texts] == ["not measured"]
    assert [axes.get_title() for axes in universality_figure(given).axes] == ["c1", "c3"]


def test_many_layers_go_on_below() -> None:
    layers = [layer(f"c{i}", [1.0]) for i in range(9)]
    figure = universality_figure({"a": model(*layers), "b": model(*layers)})
    used = [axes for axes in figure.axes if axes.axison]
    assert len(used) == 18
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [f"c{i}" for i in range(9)]
    assert sum(axes.get_xlabel() == "universality, %" for axes in used) == 7


def test_a_layer_without_filters_is_empty() -> None:
    axes = universality_figure({"m": model(layer("c1", []))}).axes[0]
    assert heights(axes) == [0] * 11


@pytest.mark.parametrize(
    ("models", "layers", "said"),
    [
        ({}, None, "not measured in any layer"),
        ({"m": model(layer("c1", None))}, None, "audit the model on data"),
        ({"m": model(layer("c1", [1.0]))}, ["c2"], r"no model has a layer 'c2' \(known: c1\)"),
        ({"m": model(layer("c1", [1.0]))}, [], "no layer to draw"),
    ],
)
def test_what_is_not_there_is_one_line(models: dict, layers: list[str] | None, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        universality_figure(models, layers)

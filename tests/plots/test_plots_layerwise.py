"""Layerwise bars: heights and the numbers above them are the runs'."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from picture_inputs import layers_of, run, spec

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.layerwise import layerwise_figure
from sparsity_audit.schema.study_report import LayerFacts


def heights(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches]


def numbers(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_bars_are_shares_of_each_layer() -> None:
    first = run(0.1, 0.1, spec(), name="first", layers=layers_of(c1=0, c2=5, c3=20))
    second = run(0.1, 0.1, spec("sgd"), name="second", layers=layers_of(c1=9, c2=0, c3=0))
    figure = layerwise_figure([first, second])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["first", "second"]
    assert heights(figure.axes[0]) == pytest.approx([0, 25, 100])
    assert numbers(figure.axes[0]) == ["0", "25", "100"]
    assert heights(figure.axes[1]) == pytest.approx([45, 0, 0])
    assert [label.get_text() for label in figure.axes[1].get_xticklabels()] == ["c1", "c2", "c3"]
    assert figure.get_supylabel() == "filters inactive by scale, %"


def test_seeds_are_one_row_with_mean_and_range() -> None:
    runs = [run(0.1, 0.1, spec(seed=seed), layers=layers_of(c1=n)) for seed, n in ((0, 2), (3, 4), (5, 9))]
    (axes,) = layerwise_figure(runs).axes
    assert axes.get_title(loc="left") == "row: mean and range of seeds 0, 3, 5"
    assert heights(axes) == pytest.approx([25])
    assert numbers(axes) == ["25"]
    (segment,) = axes.collections[0].get_segments()
    assert segment[:, 1] == pytest.approx([10, 45])


def test_runs_of_one_name_but_other_settings_are_rows_of_their_own() -> None:
    runs = [run(0.1, 0.1, spec(batch_size=size), layers=layers_of(c1=size // 10)) for size in (20, 40)]
    assert [heights(axes) for axes in layerwise_figure(runs).axes] == [[pytest.approx(10)], [pytest.approx(20)]]


def test_what_was_not_measured_is_no_zero() -> None:
    some = run(0.1, 0.1, spec(), name="some", layers=layers_of(c1=4, c2=None))
    none = run(0.1, 0.1, name="none", layers=layers_of(c1=None))
    less = run(0.1, 0.1, name="less", layers=[LayerFacts(key="c1", filters=0, inactive_by_scale=0)])
    other = run(0.1, 0.1, name="other", layers=layers_of(c3=2))
    figure = layerwise_figure([some, none, less, other])
    assert [numbers(axes) for axes in figure.axes] == [
        ["20", "–", ""],
        ["not measured"],
        ["not measured"],
        ["", "", "10"],
    ]


def test_criterion_chooses_the_count() -> None:
    layers = [LayerFacts(key="c1", filters=8, inactive_by_scale=4, inactive_by_activation=2)]
    figure = layerwise_figure([run(0.1, 0.1, layers=layers)], "activation")
    assert heights(figure.axes[0]) == pytest.approx([25])
    assert figure.get_supylabel() == "filters inactive by activation, %"


def test_long_layer_keys_stand_upright() -> None:
    keys = {"features.0.conv": 1, "features.1.conv": 2}
    axes = layerwise_figure([run(0.1, 0.1, layers=layers_of(**keys))]).axes[0]
    assert {label.get_rotation() for label in axes.get_xticklabels()} == {90}


def test_nothing_to_draw_is_one_line() -> None:
    for runs in ([], [run(0.1, 0.1, spec())]):
        with pytest.raises(UsageError, match="no run tells of its layers"):
            layerwise_figure(runs)

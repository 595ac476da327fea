"""Sparsity against error: the points are the runs', seeds taken together, and each has its λ beside it."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from picture_inputs import run, spec

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.points import points_of
from sparsity_audit.plots.tradeoff import tradeoff_figure


def labels(axes: Axes) -> set[str]:
    return {text.get_text() for text in axes.texts}


def places(axes: Axes) -> set[tuple[float, float]]:
    """The points of the panel's own runs, in percent."""
    return {
        (round(float(x), 6), round(float(y), 6))
        for container in axes.containers
        for x, y in zip(*container.lines[0].get_data(), strict=True)
    }


def test_a_panel_an_optimizer_with_the_others_in_grey() -> None:
    runs = [
        run(0.02, 0.20, spec("adam", "l2", 1e-3)),
        run(0.03, 0.40, spec("adam", "l2", 2e-3)),
        run(0.04, 0.10, spec("adam", "wd", 1e-3)),
        run(0.05, 0.02, spec("sgd", "l2", 1e-3)),
    ]
    figure = tradeoff_figure(runs)
    adam, sgd = figure.axes
    assert (adam.get_title(), sgd.get_title()) == ("Adam", "SGD")
    assert places(adam) == {(2, 20), (3, 40), (4, 10)}
    assert places(sgd) == {(5, 2)}
    assert adam.get_lines()[0].get_xydata().tolist() == [[5, 2]]
    assert len(sgd.get_lines()[0].get_xydata()) == 3
    assert sorted(text.get_text() for text in adam.texts) == ["1e-3", "1e-3", "2e-3"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["L2", "weight decay", "other runs"]
    assert figure.get_supxlabel() == "test error, %"
    assert figure.get_supylabel() == "filters inactive by scale, %"


def test_one_line_joins_what_differs_in_lambda_only_in_its_order() -> None:
    runs = [run(e, s, spec("adam", "l2", strength)) for e, s, strength in [(0.3, 0.3, 4e-3), (0.1, 0.1, 1e-3)]]
    runs.append(run(0.2, 0.2, spec("adam", "wd", 1e-3)))
    figure = tradeoff_figure(runs)
    lines = [container.lines[0].get_xdata().tolist() for container in figure.axes[0].containers]
    assert lines == [pytest.approx([10, 30]), pytest.approx([20])]


def test_seeds_are_one_point_with_their_range() -> None:
    runs = [run(e, s, spec(seed=seed)) for seed, (e, s) in enumerate([(0.02, 0.1), (0.03, 0.2), (0.07, 0.3)])]
    figure = tradeoff_figure(runs)
    (container,) = figure.axes[0].containers
    assert places(figure.axes[0]) == {(4, 20)}
    across, up = (bars.get_segments()[0] for bars in container.lines[2])
    assert across[:, 0] == pytest.approx([2, 7])
    assert up[:, 1] == pytest.approx([10, 30])
    assert "bars: range over seeds" in figure.legends[0].get_title().get_text()
    assert "bars" not in tradeoff_figure(runs[:1]).legends[0].get_title().get_text()


def test_what_is_varied_has_a_panel_of_its_own() -> None:
    runs = [run(0.02, 0.2, spec(strength=strength)) for strength in (1e-3, 2e-3)]
    runs += [
        run(0.03, 0.3, spec(batch_size=20)),
        run(0.04, 0.3, spec(network={"name": "basicnet", "first": 8, "width": 0.0625})),
        run(0.04, 0.4, spec(init={"beta": 1.0})),
    ]
    usual, varied = tradeoff_figure(runs).axes
    assert varied.get_title() == "Adam, varied (λ = 1e-3)"
    assert labels(varied) == {"batch 20", "8-6.25e-2x", "β from 1"}
    assert labels(usual) == {"1e-3", "2e-3"}
    runs.append(run(0.04, 0.4, spec(strength=5e-3, batch_size=20)))
    varied = tradeoff_figure(runs).axes[1]
    assert varied.get_title() == "Adam, varied"
    assert "5e-3, batch 20" in labels(varied)


def test_errors_compare_within_a_corpus_only() -> None:
    cifar = {"data": {"name": "cifar100"}, "network": {"name": "basicnet", "first": 32, "width": 0.25}}
    runs = [
        run(0.02, 0.2, spec()),
        run(0.03, 0.1, spec("sgd")),
        run(0.5, 0.3, spec(**cifar)),
        run(0.6, 0.4, spec(**cifar, strength=2e-3)),
    ]
    figure = tradeoff_figure(runs)
    used = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in used] == ["Adam on digits", "SGD on digits", "Adam on cifar100"]
    assert [labels(axes) for axes in used] == [{"1e-3"}, {"1e-3"}, {"1e-3", "2e-3"}]
    assert used[0].get_lines()[0].get_xydata().tolist() == [[3, 10]]
    assert used[0].get_xlim() == used[1].get_xlim() == pytest.approx((1.85, 3.15))
    assert used[2].get_xlim() == pytest.approx((48.5, 61.5))
    assert used[2].get_ylim() == used[0].get_ylim()


def test_models_from_elsewhere_bear_their_names() -> None:
    told = run(0.1, 0.2, spec("sgd", "none")).model_copy(update={"spec": None, "name": "mine"})
    figure = tradeoff_figure([told, run(0.1, 0.3, name="other")])
    assert [axes.get_title() for axes in figure.axes] == ["SGD, varied", "trained elsewhere"]
    assert [labels(axes) for axes in figure.axes] == [{"mine"}, {"other"}]
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["no regularizer", "unknown regularizer"]


def test_criterion_chooses_the_share() -> None:
    runs = [run(0.1, 0.2, spec(), by_activation=0.05), run(0.2, None, spec("sgd"), by_activation=0.15)]
    figure = tradeoff_figure(runs, "activation")
    assert [places(axes) for axes in figure.axes] == [{(10, 5)}, {(20, 15)}]
    assert figure.get_supylabel() == "filters inactive by activation, %"
    assert tradeoff_figure(runs).get_supxlabel() == "test error, %\n1 run without one of the two: not shown"


def test_all_alive_is_one_point_at_zero() -> None:
    axes = tradeoff_figure([run(0.1, 0.0, spec("sgd", "none"))]).axes[0]
    assert places(axes) == {(10, 0)}
    low, high = axes.get_ylim()
    assert low < 0 < high
    assert labels(axes) == set()


def test_without_error_or_sparsity_there_is_nothing_to_draw() -> None:
    for runs in ([], [run(None, 0.1, spec())], [run(0.1, None, spec())]):
        with pytest.raises(UsageError, match="no run has both a test error and a share of filters inactive by scale"):
            tradeoff_figure(runs)


def test_runs_of_one_name_but_other_settings_stay_apart() -> None:
    """The row of a study keeps its name where its spec was changed since."""
    schedules = ([50], [])
    runs = [
        run(0.1 + i / 10, 0.1, spec(schedule={"unit": "iterations", "total": 100, "milestones": milestones}))
        for i, milestones in enumerate(schedules)
    ]
    points = points_of(runs, "scale")
    assert [point.error for point in points] == pytest.approx([0.1, 0.2])
    assert len({point.regime for point in points}) == 2


def test_a_network_that_is_dead_as_a_whole_is_counted_not_drawn() -> None:
    runs = [run(0.02, 0.3, spec()), run(0.9, 1.0, spec("sgd"))]
    figure = tradeoff_figure(runs)
    assert figure.get_supxlabel() == "test error, %\n1 run without a single active filter: not shown"
    assert figure.axes[0].get_xlim()[1] < 10
    assert tradeoff_figure(runs[1:]).axes  # alone it is all there is to draw

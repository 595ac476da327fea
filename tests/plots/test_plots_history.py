"""γ and β over training: the bands are the quantiles that were given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from picture_inputs import history, shown_texts

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.history import affine_figure
from sparsity_audit.training.history import History


def edges(axes: Axes, band: int, step: float) -> tuple[float, float]:
    """Lowest and highest value of a band at a step, read from what is drawn."""
    vertices = axes.collections[band].get_paths()[0].vertices
    at = vertices[vertices[:, 0] == step][:, 1]
    return at.min(), at.max()


def test_bands_and_medians_are_the_histories() -> None:
    given = {"first": history(), "second": history(steps=4, seed=5)}
    figure = affine_figure(given, "c2.conv")
    for column, made in enumerate(given.values()):
        for row, part in enumerate(("gamma", "beta")):
            axes = figure.axes[2 * row + column]
            values = np.asarray(made.series(f"{part}/c2.conv"), float)
            line = axes.get_lines()[0]
            assert line.get_xdata() == pytest.approx(made.steps)
            assert line.get_ydata() == pytest.approx(np.median(values, axis=1))
            for band, quantiles in enumerate([(0, 1), (0.05, 0.95), (0.25, 0.75)]):
                for step, at in zip(made.steps, values, strict=True):
                    assert edges(axes, band, step) == pytest.approx(tuple(np.quantile(at, quantiles)), abs=1e-7)
    assert [axes.get_ylabel() for axes in figure.axes] == ["scale γ", "", "shift β", ""]
    assert {axes.get_xlabel() for axes in figure.axes[2:]} == {"steps"}


def test_title_counts_the_inactive() -> None:
    made = history()
    inactive = int((np.abs(made.series("gamma/c1.conv")[-1]) < 1e-3).sum())
    assert 0 < inactive < 40
    assert affine_figure({"a": made}, "c1.conv").axes[0].get_title() == f"a\ninactive at the end: {inactive} of 40"


def test_one_step_is_drawn() -> None:
    made = history(steps=1)
    axes = affine_figure({"a": made}, "c1.conv").axes[1]
    values = np.asarray(made.series("beta/c1.conv")[0], float)
    assert axes.get_lines()[0].get_ydata() == pytest.approx([np.median(values)])
    (segment,) = axes.collections[0].get_segments()
    assert segment[:, 1] == pytest.approx([values.min(), values.max()])


def test_values_that_are_not_finite_leave_gaps() -> None:
    made = history(steps=3)
    made._series["gamma/c1.conv"][1][:] = np.nan
    made._series["gamma/c1.conv"][2][0] = np.inf
    line = affine_figure({"a": made}, "c1.conv").axes[0].get_lines()[0]
    assert line.get_xdata() == pytest.approx([0, 200])
    assert np.isfinite(line.get_ydata()).all()


@pytest.mark.parametrize(("filters", "value", "said"), [(0, 1.0, "no filters"), (3, np.nan, "no finite value")])
def test_nothing_to_draw_is_said_in_the_panel(filters: int, value: float, said: str) -> None:
    made = History()
    made.add(0, {f"{part}/c": np.full(filters, value, np.float32) for part in ("gamma", "beta")})
    figure = affine_figure({"a": made}, "c")
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == [said, said]
    assert "median" in [text.get_text() for text in shown_texts(figure)]


def test_all_dead_is_a_line_at_zero() -> None:
    made = History()
    for step in (0, 10):
        made.add(step, {f"{part}/c": np.zeros(5, np.float32) for part in ("gamma", "beta")})
    figure = affine_figure({"a": made}, "c")
    assert figure.axes[0].get_title().endswith("5 of 5")
    assert figure.axes[0].get_lines()[0].get_ydata() == pytest.approx([0, 0])


def test_what_is_not_there_is_one_line() -> None:
    with pytest.raises(UsageError, match="no history to draw"):
        affine_figure({}, "c1.conv")
    with pytest.raises(UsageError, match=r"the history of b has no γ and β of 'c9.conv' \(did you mean 'c"):
        affine_figure({"b": history()}, "c9.conv")
    with pytest.raises(UsageError, match="the history of empty holds no step"):
        affine_figure({"empty": History()}, "c1.conv")

"""Low-gradient decay: the curves are the simulation's."""

from __future__ import annotations

import pytest

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.decay import decay_figure
from sparsity_audit.studies.simulate import Simulation, simulate


def test_panels_curves_and_legend_are_the_simulations() -> None:
    made = simulate(["sgd", "adam"], ["l2", "wd"], [1e-3, 5e-2], steps=300, draws=4)
    figure = decay_figure(made)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["L2, λ = 1e-3", "weight decay, λ = 1e-3", "L2, λ = 5e-2", "weight decay, λ = 5e-2"]
    drawn = {line.get_gid(): line for axes in figure.axes for line in axes.get_lines() if line.get_gid()}
    assert len(drawn) == len(made.curves) == 8
    for curve in made.curves:
        strength = {1e-3: "1e-3", 5e-2: "5e-2"}[curve.strength]
        line = drawn[f"{curve.optimizer}-{curve.kind}-{strength}"]
        assert line.get_xdata() == pytest.approx(made.at)
        assert line.get_ydata() == pytest.approx(curve.mean)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    first = made.curve("sgd", "l2", 1e-3)
    at_end = band[band[:, 0] == made.steps][:, 1]
    assert (at_end.min(), at_end.max()) == pytest.approx((first.low[-1], first.high[-1]))
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["inactive below 1e-3", "SGD 0.1", "Adam 1e-3"]
    assert figure.axes[0].get_yscale() == "log"
    assert figure.axes[2].get_xlabel() == "steps"
    assert figure.axes[0].get_ylabel() == "|θ|"


def test_one_curve_of_one_step() -> None:
    figure = decay_figure(simulate(["adam"], ["l2"], [0.0], steps=1, draws=1))
    assert [axes.get_title() for axes in figure.axes] == ["L2, λ = 0"]


def test_no_curve_is_one_line() -> None:
    with pytest.raises(UsageError, match="no curve"):
        decay_figure(Simulation(steps=1, draws=1, seed=0, at=[0], curves=[]))

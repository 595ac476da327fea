"""What holds for every picture: readable, nothing over anything else, the same bytes each time, no state left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from picture_inputs import hidden_texts, history, layer, layers_of, model, run, shown_texts, spec
from PIL import Image

from sparsity_audit.errors import UsageError
from sparsity_audit.plots.decay import decay_figure
from sparsity_audit.plots.history import affine_figure
from sparsity_audit.plots.layerwise import layerwise_figure
from sparsity_audit.plots.style import LOOKS
from sparsity_audit.plots.tradeoff import tradeoff_figure
from sparsity_audit.plots.universality import universality_figure
from sparsity_audit.plots.write import check_format, write_figure
from sparsity_audit.studies.simulate import simulate


def decay() -> Figure:
    return decay_figure(simulate(["adam", "sgd", "adamax"], ["l2", "wd"], [1e-3, 2e-2], steps=300, draws=4))


def affine() -> Figure:
    long = "a name that is so long that no title of a panel could hold it on one line, nor on two"
    return affine_figure({"Adam, L2 1e-3": history(), long: history(seed=1), "one step": history(1)}, "c2.conv")


def universality() -> Figure:
    layers = [layer(f"layer{i}.conv1", [0.0, 0.05, 0.5, 1.0], [0]) for i in range(3)]
    return universality_figure({"Adam, L2 1e-3": model(*layers), "SGD, L2 1e-3, batch 160": model(*layers[:2])})


def tradeoff() -> Figure:
    made = [
        run(0.02 + 0.004 * seed, share - 0.01 * seed, spec(optimizer, kind, strength, seed=seed))
        for seed in range(3)
        for optimizer, kind, strength, share in [
            ("adam", "l2", 1e-3, 0.2),
            ("adam", "l2", 2e-3, 0.4),
            ("adam", "wd", 1e-3, 0.21),
            ("sgd", "l2", 1e-3, 0.02),
            ("sgd", "none", 0, 0.02),
        ]
    ]
    made.append(run(0.03, 0.3, spec(batch_size=20), name="batch"))
    return tradeoff_figure([*made, run(0.2, 0.5, name="a model from elsewhere"), run(None, 0.1)])


def layerwise() -> Figure:
    seeds = [run(0.1, 0.1, spec(seed=s), layers=layers_of(c1=s, c2=5, c3=20 - s)) for s in range(3)]
    other = run(0.1, None, spec("sgd"), name="sgd", layers=layers_of(c1=0, c2=None, c3=0))
    return layerwise_figure([*seeds, other, run(0.1, None, name="elsewhere", layers=layers_of(c1=None))])


PICTURES: list[Callable[[], Figure]] = [decay, affine, universality, tradeoff, layerwise]


@dataclass(frozen=True)
class Drawn:
    """A picture, and its files."""

    again: Callable[[], Figure]
    figure: Figure
    png: Path
    svg: Path


@pytest.fixture(scope="module", params=PICTURES, ids=lambda draw: draw.__name__)
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    folder = tmp_path_factory.mktemp("pictures")
    made = Drawn(request.param, request.param(), folder / "a.png", folder / "a.svg")
    write_figure(made.figure, made.svg)
    write_figure(made.figure, made.png)
    return made


def test_nothing_hides_a_text_and_all_are_large_enough(drawn: Drawn) -> None:
    assert hidden_texts(drawn.figure) == []
    texts = shown_texts(drawn.figure)
    assert len(texts) > 10
    assert min(text.get_fontsize() for text in texts) >= 8


def test_files_are_what_their_suffix_says(drawn: Drawn) -> None:
    with Image.open(drawn.png) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.info["dpi"][0] >= 149.9
        assert picture.size == pytest.approx(tuple(160 * drawn.figure.get_size_inches()), abs=1)
        assert len(picture.convert("L").getcolors() or []) > 10
    root = ET.fromstring(drawn.svg.read_bytes())  # noqa: S314 - our own file
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_same_bytes_whatever_the_users_settings(drawn: Drawn, tmp_path: Path) -> None:
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": "x", "savefig.dpi": 30}):
        before = dict(mpl.rcParams)
        write_figure(drawn.again(), tmp_path / "a.svg")
        assert dict(mpl.rcParams) == before
    assert (tmp_path / "a.svg").read_bytes() == drawn.svg.read_bytes()
    assert b"<dc:date>" not in drawn.svg.read_bytes()


def test_pyplot_stays_out(tmp_path: Path) -> None:
    """Pyplot keeps figures alive and picks a window system."""
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_plots_pictures as t
t.write_figure(t.affine(), Path(sys.argv[2]) / "a.svg")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)], check=True)


def test_the_same_picture_twice_is_the_same_png(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        write_figure(affine_figure({"a": history()}, "c1.conv"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_figures_have_the_agg_canvas() -> None:
    assert isinstance(affine().canvas, FigureCanvasAgg)


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.svgz"])
def test_other_formats_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        check_format(tmp_path / name)
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        write_figure(affine(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere/a\.png: cannot be written: No such file"):
        write_figure(affine(), tmp_path / "nowhere" / "a.png")


def test_foreign_names_are_drawn_letter_by_letter(tmp_path: Path) -> None:
    """A $ is no formula, a line end no line end, and a letter that the font lacks no failure."""
    name = "$x_1$ \x1b[31m\n层"
    made = history(layers=(name,))
    figure = affine_figure({name: made, r"$\frac{$": made}, name)
    write_figure(figure, tmp_path / "a.png")
    titles = [axes.get_title() for axes in figure.axes[:2]]
    assert titles[0].startswith("$x_1$ \\x1b[31m\\n层\n")
    assert titles[1].startswith("$\\frac{$\n")


def test_every_optimizer_looks_different_in_line_and_marker() -> None:
    for part in ("colour", "line", "marker"):
        assert len({getattr(look, part) for look in LOOKS.values()}) == len(LOOKS)

from __future__ import annotations

import random

import pytest

from sparsity_audit.reporters import text


def expand(shown: str) -> list[int]:
    """Read ``3, 7–9`` back."""
    indices: list[int] = []
    for part in shown.split(", "):
        first, _, last = part.partition("–")
        indices += range(int(first), int(last or first) + 1)
    return indices


@pytest.mark.parametrize("seed", range(20))
def test_index_ranges_read_back_as_the_same_indices(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    indices = draw.sample(range(64), draw.randint(1, 64))
    assert expand(text.index_ranges(indices)) == sorted(indices)


def test_cut_index_ranges_count_every_index_left_out() -> None:
    indices = [*range(0, 40, 2), 50, 51, 52]
    shown, _, rest = text.index_ranges(indices, 12).partition(", … and ")
    assert expand(shown) == indices[:12]
    assert rest == f"{len(indices) - 12} more"
    assert text.index_ranges(range(1000), 12) == "0–999"
    assert text.index_ranges([]) == text.DASH


@pytest.mark.parametrize(
    ("n", "shown"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (9_994, "9.99 k"),
        (9_996, "10.0 k"),
        (99_960, "100 k"),
        (999_499, "999 k"),
        (999_500, "1.00 M"),
        (4_649_664, "4.65 M"),
        (40_810_000_000, "40.8 G"),
    ],
)
def test_human_keeps_three_digits(n: int | None, shown: str) -> None:
    assert text.human(n) == shown


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0.0 %"),
        (17 / 688, "2.5 %"),
        (1e-6, "<0.1 %"),
        (0.9999, ">99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_percent_never_rounds_something_to_nothing_or_all(fraction: float | None, shown: str) -> None:
    assert text.percent(fraction) == shown


def test_test_error_keeps_two_decimals() -> None:
    assert text.percent(0.0827, 2) == "8.27 %"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
        (float("-inf"), "-∞"),
        (0.1 + 0.2, "0.3"),
        (50_000.0, "50,000"),
        (1e-12, "1e-12"),
        (1234.56, "1,234.6"),
    ],
)
def test_number(value: float | None, shown: str) -> None:
    assert text.number(value) == shown


def test_share_of_nothing_is_unknown_not_a_crash() -> None:
    assert text.share(0, 0) == "0 of 0 (–)"
    assert text.share(None, 10) == "–"
    assert text.share(17, 688) == "17 of 688 (2.5 %)"


@pytest.mark.parametrize("foreign", ["a\nb", "\x1b[31mred", "a\r", "\u2028", "\u202eevil", "\udc80", "\x00"])
def test_printable_leaves_nothing_a_terminal_acts_on(foreign: str) -> None:
    shown = text.printable(foreign)
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1
    shown.encode()


def test_printable_keeps_ordinary_text() -> None:
    assert text.printable("модель/γ β/layer1.0.conv1@2") == "модель/γ β/layer1.0.conv1@2"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ([3, 7, 8, 9], "3, 7–9"),
        ([9, 3], "9, 3"),
        ([0.5, 0.25], "0.5, 0.25"),
        (["a"] * 15, ", ".join(["a"] * 12) + ", … and 3 more"),
        (True, "yes"),
        (None, "–"),
        ("text", "text"),
        (2, "2"),
        ([], "–"),
    ],
)
def test_evidence_text(value: object, shown: str) -> None:
    assert text.evidence_text(value) == shown  # type: ignore[arg-type]


def test_evidence_is_whole_when_asked_for() -> None:
    assert text.evidence_text(["a"] * 15, whole=True).count("a") == 15

"""The shipped studies hold what the paper's tables print: every number, read out of its text, both ways."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sparsity_audit.resources import packaged
from sparsity_audit.specs.study import load_study

pytestmark = pytest.mark.shared

Lines = list[list[str]]
"""The rows of a table: its cells from left to right, empty ones too."""
Found = dict[str, dict[str, Any]]
"""By row id, what is printed."""

DATA = ("cifar10", "cifar100")
NUMBER = re.compile(r"\d+(\.\d+)?(e-\d+)?")


def table(text: str, name: str) -> Lines:
    """Return a table: the lines with tabs that follow its caption, up to other text."""
    main, supplement = text.split("\nSupplementary Document:")
    part = supplement if name.startswith("supplement") else main
    number = name.removeprefix("supplement-").removeprefix("table")
    after = part[re.search(rf"^Table {number}\. .*$", part, re.M).end() :]  # type: ignore[union-attr]
    rows: Lines = []
    for line in after.splitlines():
        if "\t" in line:
            rows.append([cell.strip() for cell in line.split("\t")])
        elif line.strip():
            break
    return rows


def share(percent: str) -> float:
    return round(float(percent) / 100, 6)


def strength(printed: str) -> str:
    return printed.replace("e-0", "e-")


def filled(rows: Lines) -> Iterator[list[str]]:
    """Give the rows without their empty cells: so a row that slipped by a cell reads like any other."""
    return ([cell for cell in row if cell] for row in rows)


def numbers(cells: list[str]) -> list[str]:
    return [cell for cell in cells if NUMBER.fullmatch(cell)]


def regularisers(rows: Lines, table_id: str) -> Found:
    """Table 1 and supplement Table 4: λ, then by activation, by scale and error for each data set."""
    found: Found = {}
    optimizer, kind = "", ""
    for cells in filled(rows):
        if names := [cell for cell in cells if re.match(r"(SGD|A[dDM]|RMS)", cell)]:
            optimizer = names[0].split()[0].lower()
        if "CIFAR10" in cells:
            kind = next(cell for cell in cells if cell in ("L2", "WD")).lower()
        values = numbers(cells)
        for index, data in enumerate(DATA if len(values) == 7 else ()):
            activation, scale, error = map(share, values[1 + 3 * index :][:3])
            found[f"{table_id}-{data}-{optimizer}-{kind}-{strength(values[0])}"] = {
                "by_activation": activation,
                "by_scale": scale,
                "error": error,
            }
    return found


def layerwise(values: list[str], *, params: bool) -> dict[str, Any]:
    """Train loss, test loss, error, C1–C7, total, perhaps parameters, error after pruning."""
    assert len(values) == (13 if params else 12)
    printed = {"train_loss": float(values[0]), "test_loss": float(values[1]), "error": share(values[2])}
    rest = {"layers": [share(value) for value in values[3:10]], "by_scale": share(values[10])}
    if params:
        rest["params_pruned"] = share(values[11])
    return {**printed, **rest, "pruned_error": share(values[-1])}


def by_layer(rows: Lines, table_id: str) -> Found:
    """Table 2 and supplement Tables 1 and 2."""
    data = "cifar10" if table_id == "supplement-table1" else "cifar100"
    found: Found = {}
    label = ""
    for cells in filled(rows):
        if re.fullmatch(r"Adam|SGD|AMSGrad|NegSlope=.*", cells[0]):
            label = cells[0].replace("NegSlope=", "leaky-").lower()
        if setting := re.search(r"(L2|WD): (\S+)", " ".join(cells)):
            name = f"{table_id}-{data}-{label}-{setting[1].lower()}-{setting[2]}"
            found[name] = layerwise(numbers(cells), params=table_id != "supplement-table2")
    return found


def losses(values: list[str]) -> dict[str, Any]:
    """Train loss, test loss, error, by scale."""
    train, test, error, scale = values
    return {"train_loss": float(train), "test_loss": float(test), "error": share(error), "by_scale": share(scale)}


def table3(rows: Lines, table_id: str) -> Found:
    found: Found = {}
    label = ""
    for cells in filled(rows):
        if setting := re.match(r"L2: \$(.*)\$", cells[0]):
            label = setting[1]
        values = numbers(cells)
        for index, data in enumerate(DATA if len(values) == 9 else ()):
            found[f"{table_id}-{data}-adam-l2-{label}-b{values[0]}"] = losses(values[1 + 4 * index :][:4])
    return found


def table4(rows: Lines, table_id: str) -> Found:
    return {
        f"{table_id}-{data}-{cells[0]}": losses(cells[1 + 4 * index :][:4])
        for cells in filled(rows)
        if re.fullmatch(r"\d+-.*x", cells[0])
        for index, data in enumerate(DATA)
    }


def validation(values: list[str]) -> dict[str, Any]:
    """Train loss, validation loss, top-1, top-5, by scale."""
    return {**losses([*values[:3], values[4]]), "top5_error": share(values[3])}


def table5(rows: Lines, table_id: str) -> Found:
    """The label Adam stands on the second of its three rows: SGD has the first of the table alone (Sec. 4.1)."""
    printed = [(cells, numbers(cells)) for cells in filled(rows)]
    return {
        f"{table_id}-tinyimagenet-{'sgd' if cells[0] == 'SGD' else 'adam'}-b{values[0]}": validation(values[1:])
        for cells, values in printed
        if len(values) == 6
    }


def table6(rows: Lines, table_id: str) -> Found:
    return {f"{table_id}-imagenet-b{v[0]}": validation(v[1:]) for v in map(numbers, rows) if len(v) == 6}


def table7(rows: Lines, table_id: str) -> Found:
    columns = ["cifar10-b40", "cifar10-b80", "cifar10-b160", "cifar10-li"]
    columns += ["cifar100-b40", "cifar100-b80", "cifar100-b160"]
    last = {row[0]: row[2:] for row in rows}
    layers = [row[2:] for row in rows if re.fullmatch(r"C\d+", row[0])]
    return {
        f"{table_id}-{column}": {
            "layers": [share(row[index]) for row in layers],
            "by_scale": share(last["%Feat. Pruned"][index]),
            "error": share(last["Test Err"][index]),
        }
        for index, column in enumerate(columns)
    }


def pruned(cells: list[str]) -> dict[str, Any]:
    """Filters pruned (perhaps with their share), then top-1 and top-5 before and after; an empty one is not printed."""
    keys = ("error", "top5_error", "pruned_error", "pruned_top5_error")
    count, percent = re.fullmatch(r"(\d+)(?: \((\d+)%\))?", cells[0]).groups()  # type: ignore[union-attr]
    printed = {key: share(cell.strip("*")) for key, cell in zip(keys, cells[1:], strict=True) if cell.strip("*-")}
    return {"filters_pruned": int(count), **({"by_scale": share(percent)} if percent else {}), **printed}


def table8(rows: Lines, table_id: str) -> Found:
    found: Found = {}
    data = ""
    for row in rows:
        data = row[0].lower() if row[0].endswith("ImageNet") else data
        if batch := re.search(r"B: (\d+)$", row[0]):
            found[f"{table_id}-{data}-b{batch[1]}"] = pruned(row[1:])
    return found


def table9(rows: Lines, table_id: str) -> Found:
    found: Found = {}
    for row in rows[2:]:
        batch = re.search(r"B: (\d+)$", row[0])
        found[f"{table_id}-imagenet-{f'b{batch[1]}' if batch else 'liu'}"] = pruned(row[1:])
    return found


def table10(rows: Lines, table_id: str) -> Found:
    columns = [f"{data}-{name}" for data in DATA for name in ("b64", "b512", "liu")]
    values = {row[0]: [share(cell) for cell in row[1:]] for row in rows[2:]}
    pairs = zip(columns, values["%Feat. Pruned"], values["Test Err"], strict=True)
    return {f"{table_id}-{column}": {"by_scale": scale, "pruned_error": error} for column, scale, error in pairs}


def supplement_table3(rows: Lines, table_id: str) -> Found:
    names = ["baseline", "beta-init-minus-0.1", "beta-init-1.0", "gamma-lr-0.1", "beta-lr-0.1"]
    marks = ["Baseline", r"\beta_{init}=-0.1", r"\beta_{init}=1.0", "scale for γ : 0.1", "scale for β : 0.1"]
    printed = [(row[0], numbers(row[1:])) for row in rows]
    printed = [(label, values) for label, values in printed if len(values) == 12]
    assert all(mark in label for mark, (label, _) in zip(marks, printed, strict=True))
    return {
        f"{table_id}-cifar100-{name}": layerwise(values, params=False)
        for name, (_, values) in zip(names, printed, strict=True)
    }


READERS: dict[str, tuple[Callable[[Lines, str], Found], int]] = {
    "table1": (regularisers, 70),
    "table2": (by_layer, 8),
    "table3": (table3, 14),
    "table4": (table4, 6),
    "table5": (table5, 4),
    "table6": (table6, 2),
    "table7": (table7, 7),
    "table8": (table8, 3),
    "table9": (table9, 3),
    "table10": (table10, 6),
    "supplement-table1": (by_layer, 8),
    "supplement-table2": (by_layer, 8),
    "supplement-table3": (supplement_table3, 5),
    "supplement-table4": (regularisers, 18),
}
"""By table, how to read it, and how many rows it has, counted by hand."""


@pytest.fixture(scope="module")
def paper(shared: Path) -> str:
    return (shared / "paper" / "on-implicit-filter-level-sparsity.txt").read_text("utf-8")


def shipped(table_id: str) -> Found:
    """Return what the studies of a table say; Table 8 is two, since its data sets differ in seeds."""
    names = [entry.name.removesuffix(".toml") for entry in packaged("zoo").joinpath("studies").iterdir()]
    studies = [load_study(name).spec for name in names if re.fullmatch(rf"{table_id}(-imagenet)?", name)]
    printed = [(row.id, row.printed) for study in studies for row in study.row]
    printed += [(row.id, row.printed) for study in studies for row in study.reference]
    return {name: values.model_dump(exclude_none=True) for name, values in printed if values is not None}


@pytest.mark.parametrize("table_id", READERS)
def test_a_study_prints_what_its_table_prints(table_id: str, paper: str) -> None:
    read, count = READERS[table_id]
    printed = read(table(paper, table_id), table_id)
    assert len(printed) == count
    assert shipped(table_id) == printed


def test_the_row_that_slipped_is_adadeltas_last(paper: str) -> None:
    slipped = [row for row in table(paper, "table1") if row[0] == "1e-04"]
    assert slipped == [["1e-04", "1", "1", "10.2", "1", "1", "35.9", ""]]
    rows = shipped("table1")
    assert rows["table1-cifar10-adadelta-l2-1e-4"] == {"by_activation": 0.01, "by_scale": 0.01, "error": 0.102}
    assert rows["table1-cifar100-adadelta-l2-1e-4"] == {"by_activation": 0.01, "by_scale": 0.01, "error": 0.359}


def test_what_the_conflicts_quote_stands_in_the_paper(paper: str) -> None:
    for quoted in (
        "both VGG-16 and TinyImageNet follow similar schemes",
        "70% sparsity on CIFAR 10 decreases to 47% on CIFAR 100",
        "to 70% on CIFAR 100 in Table 7",
        "explicit sparsification approach of [18], and gives a comparable",
        "SGD shows no sparsity at all for TinyImageNet",
        "a large fraction (64%) of the features inactivated",
        "does not affect the test error",
    ):
        assert quoted in paper

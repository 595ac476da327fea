"""Tables of families and comparisons: every figure where it belongs, signs and marks right, foreign text escaped."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt
from slim_reports import comparison, facts, family, figures, tuned_family

from sparsity_audit.reporters.slim_tables import (
    comparison_markdown,
    comparison_table,
    comparison_terminal,
    comparison_words,
    end,
    pareto_markdown,
    pareto_table,
    pareto_terminal,
    pareto_words,
    slim_facts,
)
from sparsity_audit.reporters.tables import Table
from sparsity_audit.schema.slim_tables import ParetoReport


def cells(table: Table, first: str) -> dict[str, str]:
    """Return a row by header."""
    row = next(row for row in table.rows if row[0] == first)
    return dict(zip([header.replace("\n", " ") for header in table.headers], row, strict=True))


def test_a_family_is_told_figure_by_figure() -> None:
    table = pareto_table(family())
    assert cells(table, "original")["params"] == "297 k"
    assert cells(table, "original")["MACs"] == "14.3 M"
    assert cells(table, "original")["test error"] == "17.20 %"
    assert cells(table, "slim-01") == {
        "": "slim-01",
        "made for": "|γ| < 0.001",
        "filters removed": "1,110",
        "params": "-26.0 %",
        "MACs": "-14.0 %",
        "test error": "17.20 %",
        "changed of 10,000": "1",
        "best for": "both",
    }
    assert cells(table, "slim-00")["made for"] == "lossless"
    assert cells(table, "slim-03")["best for"] == "MACs"
    assert [row[0] for row in table.rows] == ["original", *(f"slim-0{i}" for i in range(6))]


def test_tuning_and_times_have_columns_of_their_own() -> None:
    table = pareto_table(tuned_family())
    row = cells(table, "slim-02")
    assert (row["test error"], row["error, tuned"]) == ("18.00 %", "23.00 %")
    assert (row["time, batch 1"], row["time, batch 8"]) == ("0.80", "0.98~")
    assert row["made for"] == "-25 % params"
    words = " ".join(pareto_words(tuned_family()))
    assert "by params saved for the error added" in words
    assert "~: neither wins three rounds in four" in words
    assert "time" not in " ".join(pareto_words(family()))
    told = dict(slim_facts(tuned_family()))["tuning"]
    assert told == (
        "200 steps of sgd lr 0.001, batch size 100, flips, seed 0; then batch norms re-estimated on "
        "1,000 training images"
    )


def test_methods_are_told_figure_by_figure() -> None:
    report = comparison()
    table = comparison_table(report.blocks[0], report)
    assert cells(table, "|γ|") == {
        "method": "|γ|",
        "leaves": "0",
        "filters removed": "110",
        "test error": "18.00 %",
        "changed of 10,000": "0",
        "params": "-55.0 %",
        "MACs": "-22.0 %",
        "time, batch 1": "0.45",
        "time, batch 8": "0.99~",
    }
    assert cells(table, "ours: small")["leaves"] == "constant"
    assert set(list(cells(table, "Peer").values())[2:]) == {"–"}


def test_chance_has_a_mean_and_a_range() -> None:
    report = comparison()
    table = comparison_table(report.blocks[0], report)
    rows = [cells(table, f"random, {which}") for which in ("mean of 3", "least", "most")]
    assert [row["test error"] for row in rows] == ["78.00 %", "70.00 %", "84.00 %"]
    assert [row["filters removed"] for row in rows] == ["112", "110", "114"]
    assert [row["params"] for row in rows] == ["-56.0 %", "-57.0 %", "-55.0 %"]
    assert [row["time, batch 1"] for row in rows] == ["0.44", "0.43", "0.45"]
    assert [row["leaves"] for row in rows] == ["0", "", ""]


def test_words_tell_sources_reasons_and_remarks() -> None:
    words = comparison_words(comparison())
    assert "Peer: is <not> installed" in words
    assert "APoZ, 110 filters: no more can go" in words
    assert "|γ|: Liu et al. 2017; APoZ: Hu et al.; Peer: them" in words


@pytest.mark.parametrize("text", [pareto_terminal(tuned_family(), width=100), comparison_terminal(comparison())])
def test_a_terminal_of_100_columns_holds_it(text: str) -> None:
    assert max(len(line) for line in text.splitlines()) <= 100


def test_the_last_line_says_what_came_of_it() -> None:
    told = end(family(), ["slim models: d"], width=100)
    assert "slim models: d" in told
    assert "6 slim networks, MACs -12.0 % to -70.0 %, test error 17.20 % to 90.00 % in 12.3s" in told
    assert "5 methods at 110 filters in 12.3s" in end(comparison(), [], width=100)
    empty = ParetoReport(**facts(cost="macs", points=[]))
    assert "no filter can go" in end(empty, [], width=100)
    assert cells(pareto_table(empty), "original")["test error"] == "17.20 %"


@pytest.mark.parametrize(
    ("text", "tables"), [(pareto_markdown(tuned_family()), 1), (comparison_markdown(comparison()), 1)]
)
def test_markdown_is_tables_and_nothing_of_it_acts(text: str, tables: int) -> None:
    kinds = [token.type for token in MarkdownIt("commonmark").enable("table").parse(text)]
    assert kinds.count("table_open") == tables
    assert "<not>" not in text
    assert len(text) < 65_536


def test_a_path_from_somewhere_is_escaped() -> None:
    path = "a|b\n\x1b[31m<script>@team"
    report = family().model_copy(update={"path": path, "before": figures(0.1)})
    text = pareto_markdown(report)
    assert "<script>" not in text
    assert "\x1b" not in text + pareto_terminal(report)
    assert "@team" not in text

"""What ``prune`` tells, on a terminal and in Markdown, from reports made by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from report_builders import NASTY, TOOL
from report_parts import SHA
from test_report_markdown import OURS, read, unescaped_pipes

from sparsity_audit.reporters import prune_terminal
from sparsity_audit.reporters.markdown import LONGEST
from sparsity_audit.reporters.prune_markdown import prune_markdown
from sparsity_audit.reporters.prune_words import kept_words, latency_words, next_words, outcome_words
from sparsity_audit.reporters.text import printable
from sparsity_audit.schema.plan import ComparisonFigures, CutSettings, PlannedLayer, PruningPlan, Tolerances
from sparsity_audit.schema.prune_report import ClassResult, LatencyFigures, PruneReport, SpreadFigures, TestFigures
from sparsity_audit.schema.report import ArchitectureInfo, CorpusInfo, NormalisationInfo

WIDTH = 100


def on_test(wrong: int, changed: int = 0, images: int = 10_000) -> TestFigures:
    return TestFigures(images=images, error=wrong / images, loss=0.2871, changed=changed)


def comparison(inputs: str = "corpus", **changes: Any) -> ComparisonFigures:
    values: dict[str, Any] = {
        "against": "held",
        "inputs": inputs,
        "images": 24,
        "scale": 17.0,
        "noise_floor": 3.1e-6,
        "delta_fp32": 1.9e-6,
        "delta_fp64": 2.4e-15,
        "limit_fp32": 3.1e-5,
        "limit_fp64": 1.7e-8,
        "changed": 0,
    }
    return ComparisonFigures(**(values | changes))


def of_class(kind: str, **changes: Any) -> ClassResult:
    values: dict[str, Any] = {
        "pruning_class": kind,
        "dead": 5,
        "removed": 4,
        "derived": 0,
        "scattered": 0,
        "carriers": 1,
        "kept": 0,
        "params": 240_000,
        "macs": 30_000_000,
        "test": on_test(827),
        "floor": None,
        "comparisons": [comparison()],
    }
    return ClassResult(**(values | changes))


def planned(key: str, removed: list[int], kind: str = "lossless", **changes: Any) -> PlannedLayer:
    values: dict[str, Any] = {
        "key": key,
        "filters": 16,
        "removed": removed,
        "classes": {kind: removed},
        "params_saved": 1234,
        "macs_saved": 567_000,
        "evidence": "verified on 24 images",
    }
    return PlannedLayer(**(values | changes))


def plan(layers: list[PlannedLayer], **changes: Any) -> PruningPlan:
    values: dict[str, Any] = {
        "model_sha256": SHA,
        "criterion": "union",
        "pruning_class": "lossless",
        "tolerances": Tolerances(gamma=1e-3, activation=1e-12, constant=1e-6),
        "images": 50_000,
        "layers": layers,
        "params_before": 268_336,
        "params_after": 240_000,
        "macs_before": 40_551_424,
        "macs_after": 30_000_000,
        "verification": [comparison(), comparison("random", images=32, delta_fp32=4e-6)],
    }
    return PruningPlan(**(values | changes))


def spread(median: float, lower: float, upper: float) -> SpreadFigures:
    return SpreadFigures(median=median, lower=lower, upper=upper)


def timed(batch_size: int, median: float, lower: float, upper: float) -> LatencyFigures:
    return LatencyFigures(
        batch_size=batch_size,
        rounds=30,
        threads=2,
        before=spread(0.0412, 0.0401, 0.0433),
        after=spread(0.0412 * median, 0.04, 0.05),
        ratio=spread(median, lower, upper),
    )


def report(classes: list[ClassResult], **changes: Any) -> PruneReport:
    values: dict[str, Any] = {
        "tool": TOOL,
        "started": "2026-01-02T03:04:05Z",
        "duration_seconds": 12.34,
        "path": "models/resnet20.safetensors",
        "sha256": SHA,
        "architecture": ArchitectureInfo(name="zoo:resnet20", how="detected", classes=10),
        "corpus": CorpusInfo(name="cifar10", split="train", images=50_000, available=50_000, seed=None, sha256=SHA),
        "normalisation": NormalisationInfo(
            mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225], pixel_scale=255, source="architecture"
        ),
        "filters": 688,
        "params": 268_336,
        "macs": 40_551_424,
        "before": on_test(827),
        "classes": classes,
        "chosen": "lossless",
        "plan": plan([planned("conv1", [3, 9]), planned("layer1.0.conv1", [0, 1])]),
        "latency": [timed(1, 0.98, 0.93, 1.04), timed(8, 0.81, 0.79, 0.83), timed(64, 1.2, 1.1, 1.3)],
        "output": None,
    }
    return PruneReport(**(values | changes))


def three() -> PruneReport:
    return report(
        [
            of_class("lossless"),
            of_class("silent", dead=17, removed=12, kept=4, test=on_test(830, 3), floor=on_test(830, 3), scattered=2),
            of_class(
                "small",
                dead=21,
                removed=20,
                derived=3,
                kept=4,
                carriers=0,
                params=134_168,
                test=on_test(812, 41),
                floor=on_test(813, 40),
                comparisons=[
                    comparison(delta_fp32=1e-7, limit_fp32=1e-3),
                    comparison("random", delta_fp32=2e-7, limit_fp32=1e-6, noise_floor=1e-7),
                    comparison("untouched", against="untouched", delta_fp32=9.0, limit_fp32=1e-6),
                ],
            ),
        ]
    )


def nothing() -> PruneReport:
    empty = of_class("lossless", dead=0, removed=0, carriers=0, params=268_336, macs=40_551_424, comparisons=[])
    bare = plan([], verification=[], params_after=268_336, macs_after=40_551_424)
    return report([empty], plan=bare, latency=[])


def without_data() -> PruneReport:
    common: dict[str, Any] = {"removed": 1, "test": None, "comparisons": [comparison("random")]}
    classes = [of_class(kind, **common) for kind in ("lossless", "silent")]
    classes.append(of_class("small", removed=9, test=None, comparisons=[]))
    note = "without --data no filter is known to be silent"
    return report(classes, corpus=None, before=None, plan=plan([planned("conv1", [3])], images=None), notes=[note])


def applied() -> PruneReport:
    made = plan([planned("conv1", [3], "silent")], images=None, pruning_class="silent")
    return report([of_class("silent", removed=1, test=None)], corpus=None, before=None, chosen="silent", plan=made)


def nasty() -> PruneReport:
    layer = planned(NASTY, [1], kept={f"reason {NASTY}": [2, 3]}, kept_for_shape=4)
    made = three()
    classes = [made.classes[0], made.classes[1].model_copy(update={"rolled_back": {NASTY: f"why {NASTY}"}})]
    return made.model_copy(
        update={
            "path": f"models/{NASTY}",
            "architecture": ArchitectureInfo(name=f"python:{NASTY}", how="option"),
            "classes": classes,
            "plan": plan([layer], verification=[comparison(NASTY)]),
            "output": f"{NASTY}.safetensors",
            "notes": [NASTY],
        }
    )


def huge(layers: int, key: str = "stage{}.conv") -> PruneReport:
    many = [planned(key.format(i), [0, 1], kept={f"reason {i}": [2]}) for i in range(layers)]
    return three().model_copy(update={"plan": plan(many)})


REPORTS = [three, nothing, without_data, applied, nasty]


def cells(text: str) -> dict[str, list[str]]:
    """Return the rows of a terminal's tables by their first cell; columns stand two spaces apart or more."""
    rows = (re.split(r" {2,}", line.strip()) for line in text.splitlines())
    return {row[0]: row[1:] for row in rows}


def test_the_classes_stand_beside_one_another() -> None:
    rows = cells(prune_terminal.classes(three(), width=WIDTH))
    assert rows["original"] == ["lossless", "silent", "small"]
    assert rows["filters"] == ["688", "684", "676", "668"]
    assert rows["dead"] == ["5", "17", "21"]
    assert rows["removed"] == ["4", "12", "20"]
    assert rows["derived, of them"] == ["0", "0", "3"]
    assert rows["scattered, of them"] == ["0", "2", "0"]
    assert rows["kept though dead"] == ["0", "4", "4"]
    assert rows["carriers"] == ["1", "1", "0"]
    assert rows["params"] == ["268 k", "240 k (-10.6 %)", "240 k (-10.6 %)", "134 k (-50.0 %)"]
    assert rows["MACs"] == ["40.6 M", *["30.0 M (-26.0 %)"] * 3]


def test_each_class_tells_its_price_and_the_floor() -> None:
    rows = cells(prune_terminal.classes(three(), width=WIDTH))
    assert rows["changed predictions of 10,000"] == ["0", "3", "41"]
    assert rows["test error"] == ["8.27 %", "8.27 % (±0.00)", "8.30 % (+0.03)", "8.12 % (-0.15)"]
    assert rows["floor: changed predictions"] == ["–", "3", "40"]
    assert rows["floor: test error"] == ["–", "8.30 % (+0.03)", "8.13 % (-0.14)"]
    # Of small, the comparison nearest to its limit: 0.2 of it on random images; the untouched original is no floor.
    assert rows["Δ output, fp32"] == ["1.9e-06", "1.9e-06", "2e-07"]
    assert rows["noise floor of fp32"] == ["3.1e-06", "3.1e-06", "1e-07"]


def test_a_rise_that_rounds_to_zero_is_not_told_as_none() -> None:
    before = TestFigures(images=1_000_000, error=0.1, loss=1.0)
    after = before.model_copy(update={"error": 0.100001})
    made = report([of_class("lossless", test=after)], before=before)
    assert cells(prune_terminal.classes(made))["test error"][1] == "10.00 % (+<0.01)"


def test_without_images_silent_is_unknown_not_empty() -> None:
    text = prune_terminal.body(without_data(), width=WIDTH)
    rows = cells(prune_terminal.classes(without_data(), width=WIDTH))
    assert rows["removed"] == ["1", "–", "9"]
    assert rows["params"] == ["268 k", "240 k (-10.6 %)", "–", "240 k (-10.6 %)"]
    assert "silent: not known without images (--data)" in text
    assert "note           without --data no filter is known to be silent" in text
    assert "corpus         none: verified on random images" in text
    assert "test error" not in text


def test_a_plan_that_is_applied_has_its_class_alone() -> None:
    text = prune_terminal.body(applied(), width=WIDTH)
    assert cells(text)["removed"] == ["1"]
    assert "each class" not in text
    assert "on the images that the plan was made with" in text
    assert next_words(applied()) == []


def test_layers_before_and_after_and_what_that_saves() -> None:
    layers = [
        planned("conv1", [3, 9], carriers=[5]),
        planned("layer1.0.conv1", [0, 1, 2], "small", derived=[2], scattered=[1], classes={"small": [0, 1]}),
        planned("layer1.0.conv2", [], classes={}, params_saved=288, macs_saved=None),
        planned("untouched", [], classes={}, params_saved=0, macs_saved=0),
    ]
    rows = cells(prune_terminal.layers(report([of_class("lossless")], plan=plan(layers)), width=WIDTH))
    assert rows["layer"] == ["filters", "lossless", "small", "derived", "scattered", "carriers", "saved", "saved"]
    assert rows["conv1"] == ["16 → 14", "2", "0", "0", "0", "1", "1.23 k", "567 k"]
    assert rows["layer1.0.conv1"] == ["16 → 13", "0", "2", "1", "1", "0", "1.23 k", "567 k"]
    assert rows["layer1.0.conv2"] == ["16", "0", "0", "0", "0", "0", "288", "–"]
    assert rows["total"] == ["688 → 683", "2", "2", "1", "1", "1", "28.3 k", "10.6 M"]
    assert "untouched" not in rows


def test_what_stays_is_grouped_by_reason_the_commonest_first() -> None:
    layers = [
        planned(f"l{i}", [0], kept={"the sum needs it": [1, 2], "the width is rounded up": [3]}) for i in range(8)
    ]
    layers.append(planned("last", [], classes={}, kept={"its cut failed: Δ 1e-3": []}, kept_for_shape=7))
    assert kept_words(report([], plan=plan(layers))) == [
        "16 filters (in l0, l1, l2, l3, l4, l5, … and 2 more): the sum needs it",
        "8 filters (in l0, l1, l2, l3, l4, l5, … and 2 more): the width is rounded up",
        "1 filter (in last): a layer can't be empty",
        "1 layer (in last): its cut failed: Δ 1e-3",
    ]


def test_a_class_whose_cut_was_undone_says_so() -> None:
    made = three()
    undone = made.classes[1].model_copy(update={"rolled_back": {"layer2.0.conv1": "Δ 3e-3 in fp64"}})
    text = prune_terminal.classes(made.model_copy(update={"classes": [made.classes[0], undone]}), width=WIDTH)
    assert "silent: layer2.0.conv1 stays, its cut failed: Δ 3e-3 in fp64" in text


def test_verification_has_both_precisions_beside_their_limits() -> None:
    made = plan([planned("conv1", [3])], verification=[comparison(), comparison("other size", against="untouched")])
    rows = cells(prune_terminal.verification(report([], plan=made), width=WIDTH))
    figures = ["2.4e-15", "1.7e-08", "1.9e-06", "3.1e-05", "3.1e-06", "0"]
    assert rows["original, filters held"] == ["24 corpus", *figures]
    assert rows["untouched original"] == ["24 other size", *figures]


def test_outputs_are_numbered_only_where_there_are_several() -> None:
    made = plan([planned("conv1", [3])], verification=[comparison(), comparison(output=1)])
    text = prune_terminal.verification(report([], plan=made), width=WIDTH)
    assert [line.split()[5] for line in text.splitlines() if line.startswith("original, filters held")] == ["0", "1"]
    assert "output" not in prune_terminal.verification(three(), width=WIDTH)


def test_latency_is_median_and_quartiles_and_says_where_it_is_not_faster() -> None:
    text = prune_terminal.latency(three(), width=WIDTH)
    assert cells(text)["8"] == ["30", "2", "41.2 (40.1–43.3)", "33.4 (40–50)", "0.81 (0.79–0.83)"]
    assert latency_words(three()) == [
        "faster at batch size 8",
        "not faster at batch size 1",
        "slower at batch size 64",
        "few filters went, or the widths miss the tiles that kernels work in: try --round-to 8",
    ]


def test_rounding_is_suggested_only_where_it_was_not_used_and_something_is_not_faster() -> None:
    rounded = plan([planned("conv1", [3])], settings=CutSettings(round_to=8))
    assert "round-to" not in " ".join(latency_words(report([], plan=rounded)))
    fast = report([], latency=[timed(1, 0.5, 0.4, 0.6), timed(8, 0.5, 0.4, 0.6), timed(64, 0.7, 0.6, 0.9)])
    assert latency_words(fast) == ["faster at batch sizes 1, 8 and 64"]


def test_what_is_one_flag_away_and_its_price() -> None:
    assert next_words(three()) == [
        "8 more filters go with --class silent: 3 of 10,000 predictions change, test error 8.30 % (+0.03), "
        "params 240 k (-10.6 %)",
        "16 more filters go with --class small: 41 of 10,000 predictions change, test error 8.12 % (-0.15), "
        "params 134 k (-50.0 %)",
    ]
    assert next_words(without_data()) == [
        "8 more filters go with --class small: params 240 k (-10.6 %); what that changes is not known without test "
        "images (--data)"
    ]


def test_what_a_limit_on_the_error_kept() -> None:
    made = three().model_copy(update={"chosen": "small", "plan": plan([planned("conv1", list(range(15)))])})
    (words,) = next_words(made)
    assert words.startswith("5 more filters go without the limit on the error: 41 of 10,000 predictions change")


def test_the_last_line_is_what_came_of_it() -> None:
    last = prune_terminal.end(three(), ["slim model: slim.safetensors"], width=WIDTH).splitlines()
    assert last[1] == "slim model: slim.safetensors"
    assert "4 of 688 filters removed (lossless), params 240 k (-10.6 %), MACs 30.0 M (-26.0 %) in 12.3s" in last[-1]
    assert outcome_words(nothing()) == "no lossless filter can go"
    assert outcome_words(nothing().model_copy(update={"chosen": "small"})) == "no filter can go, small ones included"


def test_where_nothing_goes_there_is_no_empty_section() -> None:
    text = prune_terminal.body(nothing(), width=WIDTH)
    rows = cells(text)
    assert rows["filters"] == ["688", "688"]
    assert rows["params"] == ["268 k", "268 k"]
    for title in ("removed:", "verification", "latency"):
        assert f" {title}" not in text


@pytest.mark.parametrize("make", REPORTS)
def test_a_terminal_gets_a_hundred_columns_no_escapes_and_no_null(make: Callable[[], PruneReport]) -> None:
    text = f"{prune_terminal.body(make(), width=WIDTH)}\n{prune_terminal.end(make(), [], width=WIDTH)}"
    assert not re.search(r"\b(None|nan|null|inf)\b", text)
    assert "\x1b" not in text
    if make is not nasty:
        assert max(map(len, text.splitlines())) <= WIDTH
    assert not any(line != line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("make", REPORTS)
def test_markdown_tables_are_whole(make: Callable[[], PruneReport]) -> None:
    text = prune_markdown(make())
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({unescaped_pipes(row) for row in block.splitlines()}) == 1
    assert not re.search(r"\b(None|nan|null|inf)\b", text)
    assert text.count("<details>") == text.count("</details>")
    assert text.startswith("## sparsity-audit prune: ")


def test_markdown_has_what_the_terminal_has() -> None:
    page = read(prune_markdown(three()))
    rows = {row[0]: row[1:] for row in page.rows}
    assert rows["removed"] == ["", "4", "12", "20"]
    assert rows["test error"] == ["8.27 %", "8.27 % (±0.00)", "8.30 % (+0.03)", "8.12 % (-0.15)"]
    assert rows["conv1"] == ["16 → 14", "2", "1.23 k", "567 k"]
    assert rows["8"] == ["30", "2", "41.2 (40.1–43.3)", "33.4 (40–50)", "0.81 (0.79–0.83)"]
    for words in (*next_words(three()), *latency_words(three())):
        assert words in page.text
    assert "no model was written" in page.text


def test_nothing_foreign_is_read_as_markdown_or_html() -> None:
    text = prune_markdown(nasty())
    page = read(text)
    assert page.tags <= OURS
    assert "<script>" not in text
    assert not re.search(r"@\w", text)
    shown = printable(NASTY)
    assert any(row[0] == shown for row in page.rows)
    assert f"model: models/{shown}" in page.text
    assert f"reason {shown}" in page.text
    assert f"{shown} stays, its cut failed: why {shown}" in page.text
    assert f"slim model: {shown}.safetensors" in page.text


@pytest.mark.parametrize("key", ["stage{}.conv", "a|b<script>@" * 40 + "{}"])
def test_two_thousand_layers_stay_under_githubs_limit(key: str) -> None:
    text = prune_markdown(huge(2000, key))
    assert len(text) <= LONGEST
    page = read(text)
    assert {row[0]: row for row in page.rows}["removed"][1:] == ["", "4", "12", "20"]
    left_out = [int(n.replace(",", "")) for n in re.findall(r"… and ([\d,]+) more in the JSON report", text)]
    shown = sum("16 → 14" in row for row in page.rows)
    assert shown + left_out[0] == 2000


def test_even_the_worst_names_leave_what_came_of_it() -> None:
    worst = "@" * 5000
    made = huge(400, worst + "{}").model_copy(update={"path": worst, "notes": [worst] * 400})
    text = prune_markdown(made)
    assert len(text) <= LONGEST
    assert text.startswith("## sparsity-audit prune: 800 of 688 filters removed")


def test_a_report_survives_json() -> None:
    for make in REPORTS:
        made = make()
        assert PruneReport.model_validate_json(made.to_json()) == made

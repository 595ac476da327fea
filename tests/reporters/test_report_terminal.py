from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest
import report_builders as build

from sparsity_audit.reporters import terminal
from sparsity_audit.schema.config import AuditConfig
from sparsity_audit.schema.report import AuditReport, Coverage

REPORTS = [
    build.all_passed,
    build.failed_with_warnings,
    build.weights_only,
    build.crashed_rule,
    build.session_error,
    build.nasty,
]


def session(report: AuditReport, *, verbosity: int = 0, colour: bool = False) -> str:
    """Return all that a session prints."""
    parts = [terminal.session_head(report.tool, report.config_file, colour=colour)]
    for model in report.models:
        parts += [
            terminal.model_head(model),
            terminal.collected(len(model.results), 0),
            terminal.rule_lines(model, verbosity=verbosity),
            terminal.failures(model, verbosity=verbosity),
            terminal.ledger(model),
            terminal.recommendation(model, verbosity=verbosity),
        ]
    return "\n".join([*parts, terminal.session_end(report, colour=colour, verbosity=verbosity)])


def last_line_counts(text: str) -> dict[str, int]:
    line = text.splitlines()[-1]
    return {word.rstrip("s"): int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", line.split(" in ")[0])}


@pytest.mark.parametrize("make", REPORTS)
@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_counts_in_the_last_line_are_the_reports(make: Callable[[], AuditReport], verbosity: int) -> None:
    report = make()
    words = {"passed": "passed", "skipped": "skipped", "inconclusive": "inconclusive", "error": "error"}
    expected = Counter(
        ("warning" if result.severity == "warning" else "failed")
        if result.outcome == "failed"
        else words[result.outcome]
        for model in report.models
        for result in model.results
    )
    expected["model"] = len(report.errors)
    assert last_line_counts(session(report, verbosity=verbosity)) == {k: n for k, n in expected.items() if n}


@pytest.mark.parametrize("make", REPORTS)
@pytest.mark.parametrize("verbosity", [-1, 0, 1])
def test_no_null_and_no_control_character_is_printed(make: Callable[[], AuditReport], verbosity: int) -> None:
    text = session(make(), verbosity=verbosity)
    assert not re.search(r"\b(None|nan|null|inf)\b", text)
    assert all(line.isprintable() for line in text.split("\n"))


def test_every_failed_layer_is_shown_among_500() -> None:
    report = build.huge(500)
    text = terminal.failures(report.models[0], verbosity=0)
    for layer in report.models[0].layers:
        assert len(re.findall(rf"^{re.escape(layer.key)}  ", text, re.MULTILINE)) == 2  # one for each rule's table
    assert text.count("… and 480 more") == 2
    assert "more (-v" not in terminal.failures(report.models[0], verbosity=1)


def test_long_summaries_are_cut_and_counted() -> None:
    report = build.huge(500)
    text = terminal.session_end(report, colour=False)
    assert text.count("FAILED SA") == 20
    assert "… and 980 more" in text
    assert terminal.session_end(report, colour=False, verbosity=1).count("FAILED SA") == 1000


def test_marks_stand_for_results_in_order() -> None:
    report = build.failed_with_warnings()
    lines = terminal.rule_lines(report.models[0], verbosity=0).splitlines()
    assert [line.split()[2] for line in lines] == ["WF.F", "....", "sss?", "W"]
    assert [line[-6:] for line in lines] == ["[ 30%]", "[ 61%]", "[ 92%]", "[100%]"]
    assert {len(line) for line in lines} == {80}


def test_many_marks_go_on_in_further_lines_of_the_same_width() -> None:
    report = build.huge(500)
    text = terminal.rule_lines(report.models[0], verbosity=0)
    assert len(re.findall("F", re.sub(r"SA\d+ \S+", "", text))) == 1000
    assert {len(line) for line in text.splitlines()} == {80}
    shares = [int(share) for share in re.findall(r"\[ *(\d+)%\]", text)]
    assert shares == sorted(shares)
    assert shares[-1] == 100


def test_verbose_lines_say_value_limit_and_reason() -> None:
    text = terminal.rule_lines(build.failed_with_warnings().models[0], verbosity=1)
    assert "SA102 dead-filter-fraction-by-activation[layer1.0.conv1] PASSED 6.0 %" in text
    assert "SA101 dead-filter-fraction-by-scale[conv1] FAILED (warning) 34.4 %, limit 10.0 %" in text
    assert "[layer2.0.downsample.0] INCONCLUSIVE (fewer than 100 images)" in text
    assert len(text.splitlines()) == 13


def test_quiet_leaves_failures_and_the_last_line() -> None:
    report = build.failed_with_warnings()
    model = report.models[0]
    assert terminal.rule_lines(model, verbosity=-1) == ""
    quiet = terminal.failures(model, verbosity=-1)
    assert "layer2.0.downsample.0" in quiet
    assert "what to do" not in quiet
    assert "not decided" not in quiet
    assert len(terminal.session_end(report, colour=False, verbosity=-1).splitlines()) == 1
    assert terminal.failures(build.weights_only().models[0], verbosity=-1) == ""


def test_remedies_once_a_rule_and_undecided_by_reason() -> None:
    text = terminal.failures(build.failed_with_warnings().models[0], verbosity=0)
    assert text.count("lower the L2 strength") == 1
    assert "SA201 skipped ×3: no nonlinearity follows" in text
    assert "SA201 inconclusive ×1: fewer than 100 images" in text
    assert "evidence: dead: 1–3, 9; threshold: 0.001; n: 50,000" in text


def test_evidence_that_differs_stands_with_its_layer() -> None:
    made = build.model(
        [],
        [
            build.failed(layer_key="a", evidence={"dead": [1], "filters": 8}),
            build.failed(layer_key="b", evidence={"dead": [5, 6], "filters": 8}, interval=(0.1, 0.5)),
        ],
    )
    text = terminal.failures(made, verbosity=0)
    assert "limit 30 % [dead: 1]" in text
    assert "[dead: 5–6; interval: 0.1 to 0.5]" in text
    assert "evidence: n: 50,000" in text


def test_errors_come_before_warnings() -> None:
    text = terminal.failures(build.failed_with_warnings().models[0], verbosity=0)
    assert text.index("layer2.0.downsample.0") < text.index("conv1  ", text.index("layer2.0.downsample.0"))
    assert text.index("SA101") < text.index("SA105")


def test_model_head_tells_origin_data_and_error() -> None:
    text = re.sub(r"\s+", " ", terminal.model_head(build.all_passed().models[0]))
    for part in (
        "sha256 0123456789ab architecture",
        "zoo:resnet20, detected by tensor names and shapes, 10 classes; same tensors as timm:resnet20, "
        "pytorchcv:resnet20_cifar10: they may differ in function, see SA903",
        "adam lr 0.001 betas 0.9 0.99, l2 0.0001, batch size 40",
        "cifar10, train split, 50,000 of 50,000 images",
        "mean 0.485 0.456 0.406, std 0.229 0.224 0.225 (the architecture's)",
        "test error 8.27 % on 10,000 images, top-5 0.25 %",
    ):
        assert part in text


def test_session_head_and_collected() -> None:
    head = terminal.session_head(build.TOOL, None, colour=False, width=100).splitlines()
    assert len(head[0]) == 100
    assert "sparsity-audit session starts" in head[0]
    assert head[1].endswith("Python 3.12.3, sparsity-audit 0.1.0, torch 2.15.0, cpu, 2 threads")
    assert head[2] == "configuration: none"
    assert terminal.collected(1, 0) == "collected 1 item"
    assert terminal.collected(40, 10) == "collected 40 items / 10 deselected / 30 selected"


@pytest.mark.parametrize(
    ("make", "colour"),
    [
        (build.all_passed, "32"),
        (build.weights_only, "32"),
        (build.failed_with_warnings, "31"),
        (build.crashed_rule, "31"),
        (build.session_error, "31"),
    ],
)
def test_colour_only_when_asked_and_by_how_it_went(make: Callable[[], AuditReport], colour: str) -> None:
    report = make()
    assert "\x1b" not in session(report)
    painted = session(report, colour=True)
    assert painted.splitlines()[-1].startswith(f"\x1b[{colour}m=")
    assert re.sub(r"\x1b\[\d+m", "", painted) == session(report)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (build.crashed_rule(), "exit code 3: a rule crashed"),
        (build.session_error(), "exit code 4: a model or its data could not be used"),
        (build.report([], exit_code=5), "exit code 5: nothing was audited"),
        (build.report([], exit_code=2), "exit code 2: interrupted"),
    ],
)
def test_exit_codes_that_counts_do_not_explain_are_explained(report: AuditReport, words: str) -> None:
    assert words in terminal.session_end(report, colour=False)


def test_exit_zero_is_told_and_failures_stay_failures() -> None:
    report = build.failed_with_warnings()
    report = report.model_copy(update={"exit_code": 0, "config": AuditConfig(exit_zero=True)})
    text = terminal.session_end(report, colour=True)
    assert "exit code 0 because of --exit-zero" in text
    assert text.splitlines()[-1].startswith("\x1b[31m")


def test_session_that_ran_nothing_is_not_passed() -> None:
    assert "no rule ran in 12.3s" in terminal.session_end(build.report([], exit_code=5), colour=False).splitlines()[-1]
    only_skipped = build.model([], [build.undecided("skipped", "needs --data")])
    text = terminal.session_end(build.report([only_skipped]), colour=True)
    assert "nothing decided" in text
    assert "passed" not in text
    assert text.splitlines()[-1].startswith("\x1b[33m")


def test_paths_stand_before_items_when_several_models_were_audited() -> None:
    first = build.model([], [build.failed()], path="a.pt")
    second = build.model([], [build.failed()], path="b.pt")
    text = terminal.session_end(build.report([first, second], exit_code=1), colour=False)
    assert "FAILED a.pt::SA101[conv1]" in text
    assert "FAILED b.pt::SA101[conv1]" in text


def test_path_of_an_unreadable_model_is_said_once() -> None:
    text = terminal.session_end(build.session_error(), colour=False)
    assert text.count("broken.pth") == 1


def test_unaudited_layers_are_told_with_reasons() -> None:
    skipped = [{"layer": f"conv{i}", "reason": "no normalisation"} for i in range(3)]
    coverage = Coverage.model_validate(
        {"fraction": 0.5, "selectivity_fraction": None, "audited": [], "skipped": skipped}
    )
    text = terminal.failures(build.model([], [], coverage=coverage), verbosity=0)
    assert "3 layers: no normalisation (conv0, conv1, conv2)" in text

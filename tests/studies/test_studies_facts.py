"""Facts of runs from planted folders: the record alone, with history and audit, damaged, of another model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from shipped_model import MODEL, gammas

from sparsity_audit.engine.audit import audit
from sparsity_audit.schema.record import ScaleCount, SplitResult, TrainingRecord
from sparsity_audit.schema.report import AuditReport
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.specs.load import load_spec
from sparsity_audit.specs.study import load_study
from sparsity_audit.studies.facts import run_facts
from sparsity_audit.studies.gather import gather
from sparsity_audit.studies.report import study_rows
from sparsity_audit.training.history import History

STEPS = 12000


def record_of(spec: ZooSpec, name: str = "digits-adam-l2", status: str = "finished") -> TrainingRecord:
    dead = {key: int((np.abs(gamma) < 1e-3).sum()) for key, (gamma, _) in gammas().items()}
    return TrainingRecord(
        name=name,
        spec=spec,
        digest=spec.digest(),
        seed=spec.seed,
        status=status,
        steps=STEPS,
        total_steps=STEPS,
        steps_per_epoch=35,
        decay_budget=None,
        rate_sum=9.48,
        parameter_groups=[],
        train=SplitResult(images=1400, loss=0.003, error=0.0),
        test=SplitResult(images=397, loss=0.1, error=0.025),
        scale=ScaleCount(filters=232, inactive=sum(dead.values()), per_layer=dead),
    )


def write_record(folder: Path, record: TrainingRecord) -> TrainingRecord:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(record.to_json())
    return record


def write_history(folder: Path, last_step: int = STEPS) -> None:
    history = History()
    for step in (last_step - 250, last_step):
        scale = 1.0 if step == last_step else 2.0
        history.add(
            step,
            {f"gamma/{key}": scale * gamma for key, (gamma, _) in gammas().items()}
            | {f"beta/{key}": scale * beta for key, (_, beta) in gammas().items()},
        )
    history.save(folder / "history.safetensors")


@pytest.fixture(scope="module")
def report() -> AuditReport:
    return audit(MODEL, "digits", limit=60, select=["SA401"])


@pytest.fixture
def run(tmp_path):
    """A run folder with a record and nothing else."""
    return tmp_path, write_record(tmp_path, record_of(load_spec("digits-adam-l2").spec))


def told(run) -> tuple:
    notes: list[str] = []
    return run_facts(*run, note=notes.append), notes


def test_the_record_alone_tells_of_scale_and_error(run):
    facts, notes = told(run)
    dead = sum(int((np.abs(gamma) < 1e-3).sum()) for gamma, _ in gammas().values())
    assert facts.by_scale == dead / 232
    assert (facts.error, facts.train_loss, facts.test_loss, facts.seed) == (0.025, 0.003, 0.1, 0)
    assert (facts.rate_sum, facts.decay_budget, facts.digest) == (9.48, None, run[1].digest)
    assert facts.training.regularizer.kind == "l2"
    assert facts.by_activation is facts.selectivity is facts.capacity_lost is facts.pruned_error is None
    assert (facts.layers, notes) == ([], [])


def test_history_tells_of_scales_and_shifts_at_the_end(run):
    write_history(run[0])
    facts, notes = told(run)
    assert notes == []
    assert [layer.filters for layer in facts.layers] == [8, 16, 16, 32, 32, 64, 64]
    for layer in facts.layers:
        gamma, beta = gammas()[layer.key]
        active = np.abs(gamma) >= 1e-3
        assert layer.inactive_by_scale == (~active).sum()
        assert layer.mean_gamma == pytest.approx(gamma[active].mean(), rel=1e-5)
        assert layer.mean_beta == pytest.approx(beta[active].mean(), rel=1e-4, abs=1e-7)
        assert layer.selectivity is layer.inactive_by_activation is None


def test_a_layer_without_an_active_filter_has_no_mean(run):
    history = History()
    history.add(STEPS, {"gamma/c1.conv": np.full(8, 1e-5, "f4"), "beta/c1.conv": np.zeros(8, "f4")})
    history.save(run[0] / "history.safetensors")
    (layer,) = told(run)[0].layers
    assert layer.mean_gamma is layer.mean_beta is None


def test_an_audit_adds_what_needs_activations(run, report):
    (run[0] / "audit.json").write_text(report.to_json())
    shutil.copy(MODEL, run[0] / "model.safetensors")
    facts, notes = told(run)
    (model,) = report.models
    assert facts.by_activation == sum(len(layer.activation) for layer in model.layers) / 232
    assert facts.by_constant == sum(len(layer.constant) for layer in model.layers) / 232
    rest = [
        1 - universality
        for layer in model.layers
        for i, universality in enumerate(layer.universality)
        if i not in layer.activation
    ]
    assert facts.selectivity == pytest.approx(sum(rest) / len(rest))
    assert facts.capacity_lost == model.totals.lost["scale"].params / model.totals.params > 0
    assert facts.pruned_error == model.ablation.top1_scale_zeroed
    assert facts.error == 0.025  # the record's, over the whole test split
    assert [layer.inactive_by_activation for layer in facts.layers] == [len(layer.activation) for layer in model.layers]
    assert all(layer.mean_beta is not None for layer in facts.layers)
    assert notes == [f"{run[0] / 'audit.json'}: saw 60 of 1,400 training images"]


def test_the_error_of_pruning_is_that_with_gamma_zeroed(run, report):
    (model,) = report.models
    tried = model.ablation.model_copy(update={"top1_after": 0.4, "top1_scale_zeroed": 0.3})
    ablated = model.model_copy(update={"ablation": tried})
    (run[0] / "audit.json").write_text(report.model_copy(update={"models": [ablated]}).to_json())
    assert told(run)[0].pruned_error == 0.3


def test_nothing_dead_leaves_the_error_of_pruning_as_it_is(run, report):
    (model,) = report.models
    none = model.totals.lost["scale"].model_copy(update={"filters": 0, "params": 0})
    totals = model.totals.model_copy(update={"lost": {**model.totals.lost, "scale": none}})
    healthy = model.model_copy(update={"totals": totals, "ablation": None})
    (run[0] / "audit.json").write_text(report.model_copy(update={"models": [healthy]}).to_json())
    facts, _ = told(run)
    assert (facts.pruned_error, facts.capacity_lost) == (model.error.top1, 0.0)


def test_an_audit_without_weights_beside_it_is_believed(run, report):
    (run[0] / "audit.json").write_text(report.to_json())
    assert told(run)[0].by_activation is not None


def damaged_audits(report: AuditReport) -> dict[str, tuple[str, str]]:
    (model,) = report.models
    on_test = model.model_copy(update={"corpus": model.corpus.model_copy(update={"split": "test"})})
    weights_only = model.model_copy(update={"corpus": None})

    def holding(*models) -> str:
        return report.model_copy(update={"models": list(models)}).to_json()

    return {
        "truncated": (report.to_json()[:500], "not an audit report"),
        "another document": ("{}", "not an audit report"),
        "no model": (holding(), "a report of 0 models"),
        "two models": (holding(model, model), "a report of 2 models"),
        "on the test split": (holding(on_test), "not an audit on the training split"),
        "without data": (holding(weights_only), "not an audit on the training split"),
        "other weights": (holding(model.model_copy(update={"sha256": "0" * 64})), "an audit of other weights"),
    }


DAMAGES = ["truncated", "another document", "no model", "two models", "on the test split", "without data"]


@pytest.mark.parametrize("damage", [*DAMAGES, "other weights"])
def test_an_audit_that_cannot_be_used_is_a_note(run, report, damage):
    text, expected = damaged_audits(report)[damage]
    (run[0] / "audit.json").write_text(text)
    shutil.copy(MODEL, run[0] / "model.safetensors")
    facts, notes = told(run)
    assert facts.by_activation is None
    assert facts.by_scale is not None
    (note,) = notes
    assert note.startswith(f"{run[0] / 'audit.json'}: {expected}")
    assert "\n" not in note


@pytest.mark.parametrize("damage", ["truncated", "ends early"])
def test_a_history_that_cannot_be_used_is_a_note(run, damage):
    path = run[0] / "history.safetensors"
    write_history(run[0], STEPS if damage == "truncated" else STEPS - 1000)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    facts, notes = told(run)
    assert facts.layers == []
    assert len(notes) == 1
    assert notes[0].startswith(str(path))


def test_a_study_gathers_its_own_rows_by_what_was_trained(tmp_path):
    (tmp_path / "mine.toml").write_text(
        'schema = 1\ntitle = "x"\nbase = "digits-adam-l2"\nseeds = [0, 1]\n'
        '[[row]]\nid = "row-l2"\nprinted = { error = 0.1 }\n'
        '[[row]]\nid = "row-wd"\nset = { "regularizer.kind" = "wd" }\n'
    )
    study = load_study(str(tmp_path / "mine.toml"))
    spec = load_spec("digits-adam-l2").spec
    other = load_spec("digits-sgd-l2").spec
    stopped = record_of(spec.model_copy(update={"seed": 1}), status="diverged")
    write_record(tmp_path / "runs" / "whatever", record_of(spec))
    write_record(tmp_path / "runs" / "stopped", stopped.model_copy(update={"steps": 900, "message": "loss is nan"}))
    write_record(tmp_path / "runs" / "other", record_of(other, "digits-sgd-l2"))
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "record.json").write_text("{")

    gathered = gather(study, tmp_path / "runs")
    assert [(run.name, run.seed) for run in gathered.runs] == [("row-l2", 0)]
    assert {(missing.name, missing.seed): missing.reason for missing in gathered.missing} == {
        ("row-l2", 1): "diverged after 900 of 12,000 steps: loss is nan",
        ("row-wd", 0): "not run",
        ("row-wd", 1): "not run",
    }
    assert len(gathered.notes) == 1
    assert "broken" in gathered.notes[0]
    ran, absent = study_rows(gathered)
    assert (ran.id, ran.seeds, ran.printed.error) == ("row-l2", [0], 0.1)
    assert (absent.id, absent.seeds, absent.means["error"]) == ("row-wd", [], None)
    assert "wd 1e-3" in absent.settings

    every = gather(None, tmp_path / "runs")
    assert sorted(run.name for run in every.runs) == ["digits-adam-l2", "digits-sgd-l2"]
    assert [missing.reason for missing in every.missing] == ["diverged after 900 of 12,000 steps: loss is nan"]
    assert gather(None, tmp_path / "nowhere").runs == []


def test_two_trainings_of_one_name_are_told_apart_by_their_folders(tmp_path):
    spec = load_spec("digits-adam-l2").spec
    write_record(tmp_path / "a", record_of(spec))
    write_record(tmp_path / "b", record_of(spec.model_copy(update={"batch_size": 80})))
    write_record(tmp_path / "c", record_of(load_spec("digits-sgd-l2").spec, "digits-sgd-l2"))
    assert sorted(run.name for run in gather(None, tmp_path).runs) == ["a", "b", "digits-sgd-l2"]

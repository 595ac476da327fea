"""A run folder: what is in it, who may write there, and that nothing but the spec decides the weights."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import SETS, STEPS, assert_same, spec, tensors

from sparsity_audit.checkpoints.safetensors_io import read_safetensors
from sparsity_audit.data.load import load_corpus
from sparsity_audit.errors import CheckpointError, ConfigError, DataError, TrainingError, UsageError
from sparsity_audit.schema.record import TrainingRecord
from sparsity_audit.specs.load import load_spec
from sparsity_audit.training.history import History
from sparsity_audit.training.train import TrainListener, TrainOptions, default_folder, train


def test_a_run_folder_holds_what_other_commands_need(whole: tuple[Path, TrainingRecord]) -> None:
    folder, record = whole
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name[0] != ".") == [
        "history.safetensors",
        "model.safetensors",
        "record.json",
        "snapshots/step-100.safetensors",
        "snapshots/step-40.safetensors",
    ]
    assert TrainingRecord.model_validate_json((folder / "record.json").read_text()) == record
    metadata = json.loads(read_safetensors(folder / "model.safetensors")[1]["sparsity_audit"])
    assert metadata["spec"] == json.loads(spec().spec.model_dump_json(by_alias=True))
    assert metadata["classes"] == [str(digit) for digit in range(10)]
    assert metadata["input_shape"] == [1, 8, 8]
    assert metadata["pixel_scale"] == 16


def test_the_record_says_what_was_done(whole: tuple[Path, TrainingRecord]) -> None:
    _, record = whole
    assert (record.status, record.steps, record.total_steps, record.steps_per_epoch) == ("finished", STEPS, STEPS, 35)
    assert record.digest == spec().spec.digest()
    assert record.decay_budget is None  # Adam under L2 decays by no fixed factor
    assert record.rate_sum == pytest.approx(80 * 1e-3 + 40 * 1e-4)
    groups = {group.role: group for group in record.parameter_groups}
    assert groups["gamma"].parameters == [f"c{n}.norm.weight" for n in range(1, 8)] + ["head.1.weight"]
    assert {(group.regularizer, group.strength, group.lr) for group in groups.values()} == {("l2", 1e-3, 1e-3)}
    assert sum(len(group.parameters) for group in groups.values()) == 7 * 3 + 2 + 2 + 2
    (session,) = record.sessions
    assert (session.from_step, session.to_step, session.device) == (0, STEPS, "cpu")
    assert session.threads == torch.get_num_threads()
    assert record.history == "history.safetensors"
    assert record.snapshots == ["snapshots/step-40.safetensors", "snapshots/step-100.safetensors"]


def test_the_recorded_errors_are_those_of_the_saved_model(whole: tuple[Path, TrainingRecord]) -> None:
    """Against the stored file, run by plain torch over the whole arrays."""
    from sparsity_audit.models.registry import build_network

    folder, record = whole
    model = build_network(spec().spec.network, 1, 10)
    model.load_state_dict({name: torch.tensor(value) for name, value in tensors(folder / "model.safetensors").items()})
    model.eval()
    for split, result in (("train", record.train), ("test", record.test)):
        corpus = load_corpus("digits", split)  # type: ignore[arg-type]
        images = (np.array(corpus.images, np.float64) / 16 - 0.30532366071428574) / 0.37602959923595713
        labels = torch.from_numpy(corpus.labels)
        with torch.no_grad():
            logits = model.double()(torch.from_numpy(images).permute(0, 3, 1, 2))
        assert result is not None
        assert result.images == len(labels)
        assert result.error == pytest.approx((logits.argmax(1) != labels).double().mean().item(), abs=1e-12)
        loss = -logits.log_softmax(1)[torch.arange(len(labels)), labels].mean().item()
        assert result.loss == pytest.approx(loss, rel=1e-5)


def test_history_and_snapshots_agree_with_each_other_and_the_model(whole: tuple[Path, TrainingRecord]) -> None:
    folder, _ = whole
    history = History.load(folder / "history.safetensors")
    assert history.steps == [0, 50, 100, STEPS]
    state, model = tensors(folder / "snapshots/step-100.safetensors"), tensors(folder / "model.safetensors")
    for number, filters in enumerate([8, 16, 16, 32, 32, 64, 64], start=1):
        gamma, beta = history.series(f"gamma/c{number}.conv"), history.series(f"beta/c{number}.conv")
        assert gamma.shape == beta.shape == (4, filters)
        assert (gamma[0] == 1).all()
        assert (beta[0] == 0).all()
        assert np.array_equal(gamma[2], state[f"model/c{number}.norm.weight"])
        assert np.array_equal(gamma[3], model[f"c{number}.norm.weight"])
        assert np.array_equal(beta[3], model[f"c{number}.norm.bias"])
    assert state["optimizer/c1.conv.weight/exp_avg"].shape == (8, 1, 5, 5)
    assert state["optimizer/c1.conv.weight/step"] == 100


def test_observing_changes_no_weight(whole: tuple[Path, TrainingRecord], tmp_path: Path) -> None:
    quiet = load_spec("digits-adam-l2", [*SETS[:2], "observe.snapshots=[]", "observe.history_every=7"])
    assert quiet.spec.digest() == spec().spec.digest()
    train(quiet, tmp_path / "run")
    assert_same(tmp_path / "run/model.safetensors", whole[0] / "model.safetensors")


def test_the_seed_decides(whole: tuple[Path, TrainingRecord], tmp_path: Path) -> None:
    train(spec("seed=1"), tmp_path / "run")
    one, other = tensors(tmp_path / "run/model.safetensors"), tensors(whole[0] / "model.safetensors")
    assert not np.array_equal(one["c1.conv.weight"], other["c1.conv.weight"])


def test_the_callers_chance_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    train(spec("schedule.total=100", "observe.snapshots=[]"), tmp_path / "run")
    assert torch.equal(torch.rand(3), expected)


def test_a_finished_run_is_returned_as_it_is(whole: tuple[Path, TrainingRecord]) -> None:
    folder, record = whole
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*s*")}
    assert train(spec(), folder) == record
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.*s*")} == stamps


def test_a_folder_is_never_overwritten(whole: tuple[Path, TrainingRecord], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds a run of another spec \(digits-adam-l2, digest .{8}, not .{8}\)"):
        train(spec("seed=5"), whole[0], TrainOptions(resume=True))
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds thesis.tex and no record.json"):
        train(spec(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"file: cannot be created"):
        train(spec(), tmp_path / "file")


def test_a_bad_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text('{"schema": 1}')
    with pytest.raises(CheckpointError, match=r"record.json: not a record of a run \(name: Field required\)"):
        train(spec(), tmp_path)


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second is refused at once; the lock of a process that was killed is free again."""
    folder, refused = tmp_path / "run", list[str]()

    class Intruder(TrainListener):
        def started(self, record: TrainingRecord, step: int) -> None:  # noqa: ARG002
            try:
                train(spec(), folder, TrainOptions(resume=True))
            except UsageError as failure:
                refused.append(str(failure))

    train(spec("schedule.total=90", "observe.snapshots=[]"), folder, listener=Intruder())
    assert refused == [f"{folder}: another process is training here; wait for it, or stop it"]


def test_a_diverging_run_stops_with_its_record(tmp_path: Path) -> None:
    named = spec("optimizer.name=sgd", "optimizer.lr=1e7")
    with pytest.raises(TrainingError, match=r"diverged: the loss is (nan|inf) at step \d+ of 120") as told:
        train(named, tmp_path / "run")
    record = TrainingRecord.model_validate_json((tmp_path / "run/record.json").read_text())
    assert record.status == "diverged"
    assert record.message is not None
    assert record.message in str(told.value)
    assert not (tmp_path / "run/model.safetensors").exists()
    with pytest.raises(TrainingError, match="this run diverged"):
        train(named, tmp_path / "run", TrainOptions(resume=True))


def test_a_last_update_that_was_one_too_many_is_a_divergence_too(tmp_path: Path) -> None:
    """No loss comes after it, so only the test of the model shows it."""
    wild = load_spec("digits-adam-l2", ["schedule.total=2", "schedule.milestones=[1]", "schedule.factor=1e38"])
    with pytest.raises(TrainingError, match="diverged: the loss is nan at step 2 of 2"):
        train(wild, tmp_path / "run")
    assert not (tmp_path / "run/model.safetensors").exists()


def test_what_the_spec_asks_for_in_vain_is_noted(tmp_path: Path) -> None:
    notes: list[str] = []

    class Listener(TrainListener):
        def note(self, text: str) -> None:
            notes.append(text)

    train(spec("schedule.total=90", "schedule.milestones=[80]"), tmp_path / "run", listener=Listener())
    assert notes == ["no snapshot of step 100: training ends at step 90"]


@pytest.mark.parametrize(
    ("sets", "error", "message"),
    [
        (["network.name=basicnt"], ConfigError, r"zoo:digits-adam-l2.*network 'basicnt' \(did you mean 'basicnet'"),
        (["network.name=vgg16"], ConfigError, "VGG does not run on images of 1×8×8"),
        (["data.name=cifr10"], DataError, "unknown data set 'cifr10' .did you mean 'cifar10'"),
        (["data.test_size=3"], DataError, "the split of the digits is fixed"),
        (["data.split_seed=3"], DataError, "the split of the digits is fixed"),
    ],
)
def test_a_spec_that_cannot_be_trained_leaves_nothing(
    sets: list[str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        train(spec(*sets), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--device cuda:99: not available here"):
        train(spec(), tmp_path / "run", TrainOptions(device="cuda:99"))
    assert list(tmp_path.iterdir()) == []


def test_it_trains_outside_the_main_thread(tmp_path: Path) -> None:
    """Signals cannot be caught there, so none is."""
    done: list[TrainingRecord] = []
    worker = threading.Thread(
        target=lambda: done.append(train(spec("schedule.total=90", "observe.snapshots=[]"), tmp_path / "run"))
    )
    worker.start()
    worker.join()
    assert done[0].status == "finished"


def test_every_digest_has_a_folder_of_its_own() -> None:
    one, other = default_folder(spec()), default_folder(spec("seed=1"))
    assert one != other
    assert one.parts[0] == "runs"
    assert one.name == f"digits-adam-l2-{spec().spec.digest()[:8]}"

"""What the shipped studies say the paper printed agrees with itself, but for the conflicts that they list."""

from __future__ import annotations

from collections import defaultdict
from functools import cache

import pytest

from sparsity_audit.resources import packaged
from sparsity_audit.schema.spec import ZooSpec
from sparsity_audit.schema.study import PrintedValues
from sparsity_audit.specs.study import expand, load_study

FILTERS = {
    "basicnet": [64, 128, 128, 256, 256, 512, 512],
    "vgg16": [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512],
}


@cache
def first_runs() -> dict[str, tuple[ZooSpec, PrintedValues]]:
    """Return every row of every study with its first seed, 0."""
    files = packaged("zoo").joinpath("studies").iterdir()
    names = sorted(file.name.removesuffix(".toml") for file in files)
    runs = [run for name in names for run in expand(load_study(name))]
    return {run.row_id: (run.spec, run.printed or PrintedValues()) for run in runs if run.seed == 0}


def test_two_tables_that_print_the_same_training_agree_but_for_the_known_conflict() -> None:
    printed = defaultdict(lambda: defaultdict(set))  # type: ignore[var-annotated]
    for spec, values in first_runs().values():
        for key, value in values.model_dump(exclude_none=True).items():
            printed[spec.digest()][key].add(str(value))
    known = first_runs()["table2-cifar100-adam-l2-1e-4"][0].digest()
    apart = {(digest, key): found for digest, fields in printed.items() for key, found in fields.items()}
    assert {place: found for place, found in apart.items() if len(found) > 1} == {(known, "by_scale"): {"0.46", "0.47"}}


def layerwise() -> list[tuple[str, list[int], PrintedValues]]:
    found = [(name, spec.network.name, printed) for name, (spec, printed) in first_runs().items()]
    found += [(row.id, "vgg16", row.printed) for row in load_study("table7").spec.reference]
    return [(name, FILTERS[network], printed) for name, network, printed in found if printed.layers]


def test_the_total_of_a_row_follows_from_its_layers() -> None:
    """Within a point, which the rounding of the layers explains; no row is an exception."""
    checked = layerwise()
    assert len(checked) == 36
    for name, filters, printed in checked:
        assert printed.layers is not None
        assert printed.by_scale is not None
        dead = sum(share * count for share, count in zip(printed.layers, filters, strict=True))
        assert dead / sum(filters) == pytest.approx(printed.by_scale, abs=0.01), name


def test_the_parameters_pruned_follow_from_the_layers() -> None:
    """A convolution keeps what has both its filter and its channel alive (C1 5×5, the others 3×3, no bias)."""
    checked = [row for row in layerwise() if row[2].params_pruned is not None]
    assert len(checked) == 16
    for name, filters, printed in checked:
        total, kept, channels, alive_in = 0, 0.0, 3, 1.0
        for index, (count, share) in enumerate(zip(filters, printed.layers or (), strict=True)):
            params = (9 if index else 25) * channels * count
            total, kept = total + params, kept + params * (1 - share) * alive_in
            channels, alive_in = count, 1 - share
        assert total == 4_649_664
        assert 1 - kept / total == pytest.approx(printed.params_pruned, abs=0.01), name


def test_filters_pruned_are_the_share_of_vgg16_printed_beside_them() -> None:
    for row_id, count, share in (("tinyimagenet-b20", 3016, 0.71), ("tinyimagenet-b40", 2571, 0.61)):
        printed = first_runs()[f"table8-{row_id}"][1]
        assert (printed.filters_pruned, printed.by_scale) == (count, share)
        assert count / sum(FILTERS["vgg16"]) == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize(
    ("study", "words"),
    [
        *((name, ("46 %", "47 %")) for name in ("table1", "table2", "table3", "table4")),
        *((name, ("46 %", "47 %")) for name in ("supplement-table2", "supplement-table3")),
        ("table5", ("SGD's regulariser",)),
        ("table5", ("'both VGG-16 and TinyImageNet",)),
        ("table7", ("70 % (Sec. 4.1)", "76 %")),
        ("table8", ("'both VGG-16 and TinyImageNet",)),
        ("table9", ("reference 18", "reference 19")),
        ("table10", ("schedule of VGG-19",)),
        ("supplement-table4", ("RMSProp",)),
    ],
)
def test_what_the_paper_contradicts_or_leaves_open_is_listed(study: str, words: tuple[str, ...]) -> None:
    told = [" ".join([each.what, *each.found, each.chosen]) for each in load_study(study).spec.conflict]
    assert any(all(word in text for word in words) for text in told)

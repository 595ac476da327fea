"""Measures that installed packages bring by an entry point."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from sparsity_audit.errors import ConfigError
from sparsity_audit.measures import lookup
from sparsity_audit.measures.lookup import measure_for
from sparsity_audit.measures.registry import MEASURES, Measurement, measure
from sparsity_audit.schema.rule import Rule

PLUGIN = '''
from sparsity_audit.measures.registry import Measurement, measure

@measure("model", "count")
def layers_in_all(model):
    """Number of feature layers."""
    return Measurement(float(len(model.layers)))
'''


def rule_on(name: str) -> Rule:
    return Rule.model_validate(
        {"id": "ACME001", "name": "x", "scope": "model", "measure": name, "warning": {"max": 1}, "summary": "x"}
    )


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path in which distributions can be laid down; what they register is forgotten again."""
    monkeypatch.syspath_prepend(str(tmp_path))
    ours = dict(MEASURES)
    lookup._load_entry_points.cache_clear()
    yield tmp_path
    lookup._load_entry_points.cache_clear()
    MEASURES.clear()
    MEASURES.update(ours)
    for name in ("acme_measures", "broken_measures"):
        sys.modules.pop(name, None)


def install(folder: Path, name: str, source: str) -> None:
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[sparsity_audit.measures]\nmine = {name}\n")
    importlib.invalidate_caches()


def test_installed_packages_bring_measures(installed: Path) -> None:
    install(installed, "acme_measures", PLUGIN)
    found = measure_for(rule_on("layers_in_all"))
    assert (found.unit, found.summary) == ("count", "Number of feature layers.")
    assert found.function(SimpleNamespace(layers="abc")).value == 3


def test_a_package_is_loaded_only_for_a_measure_that_is_not_ours(installed: Path) -> None:
    install(installed, "broken_measures", "raise RuntimeError('not this time')")
    assert measure_for(rule_on("nonfinite")).name == "nonfinite"
    assert "broken_measures" not in sys.modules


def test_a_broken_package_is_named_in_one_line(installed: Path) -> None:
    install(installed, "broken_measures", "raise RuntimeError('two\\nlines')")
    with pytest.raises(ConfigError) as failure:
        measure_for(rule_on("layers_in_all"))
    assert "broken_measures 1.2 (mine = broken_measures)" in str(failure.value)
    assert "RuntimeError: two lines" in str(failure.value)
    assert "\n" not in str(failure.value)


def test_a_broken_package_does_not_keep_another_from_its_measures(installed: Path) -> None:
    install(installed, "broken_measures", "import there_is_no_such_module")
    install(installed, "acme_measures", PLUGIN)
    assert measure_for(rule_on("layers_in_all")).unit == "count"


def test_nobody_replaces_a_measure_of_ours(installed: Path) -> None:
    with pytest.raises(ConfigError, match="already defined in sparsity_audit"):

        @measure("model")
        def nonfinite(model: object) -> Measurement:
            return Measurement(float(model is None))

    install(installed, "acme_measures", PLUGIN.replace("layers_in_all", "coverage"))
    with pytest.raises(ConfigError, match=r"acme_measures 1\.2"):
        measure_for(rule_on("covrage"))
    assert measure_for(rule_on("coverage")).unit == "fraction"

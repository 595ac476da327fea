"""What sessions don't pay for: imports they have no use for, and weights that collection has no use for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from audit_folder import RULE, AuditFolder

from sparsity_audit.checkpoints.checkpoint import read_checkpoint
from sparsity_audit.engine.describe_weights import describe_weights
from sparsity_audit.integrations.pytest_audit import layer_keys
from sparsity_audit.schema.config import AuditConfig

HEAVY = {"torch", "pydantic", "numpy", "pyarrow", "rich", "safetensors", "matplotlib", "scipy", "jinja2", "filelock"}
LOADED = """
import pathlib, sys

def pytest_unconfigure():
    with open("loaded.txt", "w") as file:
        print(*sys.modules, file=file)
    status = pathlib.Path("/proc/self/status")  # rusage has the parent's peak, from before exec
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        pathlib.Path("peak.txt").write_text(peak.split()[1])
"""


def loaded(folder: AuditFolder) -> set[str]:
    return set((folder.path / "loaded.txt").read_text().split())


def test_a_session_without_audits_imports_nothing(folder: AuditFolder) -> None:
    folder.pytester.makeconftest(LOADED)
    folder.pytester.makepyfile(test_own="def test_own():\n    pass\n")
    folder.run_process().assert_outcomes(passed=1)
    found = loaded(folder)
    assert "sparsity_audit.integrations.pytest_plugin" in found
    assert not found & HEAVY
    assert {name for name in found if name.startswith("sparsity_audit")} == {
        "sparsity_audit",
        "sparsity_audit.version",
        "sparsity_audit.integrations",
        "sparsity_audit.integrations.pytest_names",
        "sparsity_audit.integrations.pytest_plugin",
    }


def sparse(path: Path, width: int = 7600) -> None:
    """Write a file of a convolution of about 2 GB and its norm, of which only the header takes room."""
    header: dict[str, object] = {}
    end = 0
    shapes = {"a.conv.weight": [width, width, 3, 3]}
    shapes |= {f"a.bn.{leaf}": [width] for leaf in ("weight", "bias", "running_mean", "running_var")}
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


@pytest.mark.skipif(sys.platform != "linux", reason="counts kilobytes as Linux does, in a sparse file")
@pytest.mark.parametrize("options", [(), ("--sparsity-audit-per-layer",)])
def test_collection_reads_headers_alone(folder: AuditFolder, options: tuple[str, ...]) -> None:
    folder.pytester.makeconftest(LOADED)
    sparse(folder.path / "net.safetensors")
    assert (folder.path / "net.safetensors").stat().st_size > 2_000_000_000
    folder.audit("net.safetensors", text='data = "digits"')
    result = folder.run_process("--co", "-q", *options)
    layer = "[[]a.conv[]]" if options else ""
    result.stdout.fnmatch_lines([f"m.audit.toml::net.safetensors::{RULE}{layer}"])
    assert "torch" not in loaded(folder)
    assert int((folder.path / "peak.txt").read_text()) < 500_000  # kB; with the weights 2 GB more


@pytest.mark.shared
def test_names_and_shapes_tell_the_layers_that_an_audit_finds(shared: Path) -> None:
    files = sorted(path for path in (shared / "models").iterdir() if path.suffix in (".th", ".pth", ".safetensors"))
    assert files
    for file in files:
        audited = [layer.key for layer in describe_weights(read_checkpoint(file)).layers]
        assert layer_keys(str(file), AuditConfig()) == audited, file

"""``inspect`` on good and alien files; ``schema`` for every format."""

from __future__ import annotations

import json

import jsonschema
import pytest
from cli_helpers import DIGITS_MODEL, call, write_healthy, write_linear

from sparsity_audit.cli.schema import Format


def test_inspect_says_what_a_file_holds(capsys):
    ended = call(capsys, "inspect", DIGITS_MODEL, "--tensors")
    assert ended.code == 0
    assert "zoo:basicnet (10 classes; from the file's metadata)" in ended.out
    assert "8 (264 features)" in ended.out
    assert "head.3.weight                F32      10×32" in ended.out


def test_inspect_tells_an_alien_from_a_failure(tmp_path, capsys):
    healthy = call(capsys, "inspect", write_healthy(tmp_path / "m.safetensors"))
    assert healthy.code == 0
    assert "not recognised: the tensors fit no known network" in healthy.out
    linear = call(capsys, "inspect", write_linear(tmp_path / "l.safetensors"))
    assert linear.code == 0
    assert "batch norms      0" in linear.out
    (tmp_path / "page.pth").write_text("<html>")
    call(capsys, "inspect", "page.pth").refused("page.pth")


@pytest.mark.parametrize("name", list(Format))
def test_every_format_has_a_schema(capsys, name):
    ended = call(capsys, "schema", name.value)
    assert ended.code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(ended.out))

"""``rules list | explain | validate``, shipped packs and users' own files."""

from __future__ import annotations

import pytest
from cli_helpers import call, write_sick

from sparsity_audit.engine.rulepacks import load_rules, shipped_packs
from sparsity_audit.measures.lookup import measure_for

OWN = """
[[rule]]
id = "ACME001"
name = "half-dead"
scope = "layer"
measure = "dead_fraction"
args = { criterion = "scale" }
error = { max = 0.5 }
summary = "More than half of a layer is dead"
"""


def validated(capsys, tmp_path, text):
    (tmp_path / "own.toml").write_text(text)
    return call(capsys, "rules", "validate", "own.toml")


@pytest.mark.parametrize("pack", ["default", "paper", "strict", "weights-only"])
def test_shipped_packs_load_and_their_measures_are_known(capsys, pack):
    assert pack in shipped_packs()
    rules = load_rules([pack])
    for rule in rules:
        assert rule.id.startswith("SA")
        assert measure_for(rule).summary
        assert rule.why
        assert rule.remedies
        assert rule.source
    listed = call(capsys, "rules", "list", "--rules", pack)
    assert listed.code == 0
    for rule in rules:
        assert f"{rule.id}  {rule.name}" in listed.out


def test_packs_hold_what_their_names_say():
    ids = {pack: [rule.id for rule in load_rules([pack])] for pack in shipped_packs()}
    every = [
        f"SA{number}"
        for number in (*range(101, 108), *range(201, 205), *range(301, 306), 311, 312, 401, *range(901, 905))
    ]
    assert ids["default"] == ids["strict"] == every
    assert ids["weights-only"] == ["SA101", "SA104", "SA106", "SA203", "SA904"]
    assert all(rule.error is None for rule in load_rules(["paper"]) if rule.id in ("SA101", "SA102", "SA105"))


@pytest.mark.parametrize("rule", load_rules(["default"]), ids=lambda rule: rule.id)
def test_every_rule_is_explained_by_id_and_by_name(capsys, rule):
    by_id = call(capsys, "rules", "explain", rule.id.lower())
    assert by_id.code == 0
    assert call(capsys, "rules", "explain", rule.name).out == by_id.out
    told = " ".join(by_id.out.split())
    for part in (rule.summary, rule.measure, " ".join(rule.why.split()), *rule.remedies, rule.source):
        assert part in told
    assert max(len(line) for line in by_id.out.splitlines()) <= 120


def test_a_rule_of_ones_own_is_validated_explained_and_applied(tmp_path, capsys):
    ended = validated(capsys, tmp_path, OWN)
    assert (ended.code, ended.out) == (0, "own.toml: 1 rule: ACME001\n")
    explained = call(capsys, "rules", "explain", "ACME001", "--rules", "own.toml")
    assert "Limits: error above 0.5." in explained.out
    five = write_sick(tmp_path / "five.safetensors", dead=5)
    six = write_sick(tmp_path / "six.safetensors", dead=6)
    assert call(capsys, "run", five, "--rules", "own.toml").code == 0
    failed = call(capsys, "run", six, "--rules", "own.toml")
    assert failed.code == 1
    assert "ACME001[b.conv]" in failed.out


def test_a_pack_may_extend_select_and_re_limit(tmp_path, capsys):
    ended = validated(
        capsys,
        tmp_path,
        'extends = "default"\nselect = ["SA101", "SA9"]\n[limits]\nSA101 = { warning = false, error = { max = 0.5 } }\n'
        + OWN,
    )
    assert "SA101, SA901, SA902, SA903, SA904, ACME001" in ended.out
    (rule,) = [rule for rule in load_rules(["own.toml"]) if rule.id == "SA101"]
    assert rule.warning is None
    assert rule.error.max == 0.5
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "next.toml").write_text(
        'extends = "../own.toml"\n[limits]\nSA101 = { warning = { max = 0.2 } }'
    )
    (rule,) = [rule for rule in load_rules(["deeper/next.toml"]) if rule.id == "SA101"]
    assert (rule.warning.max, rule.error.max) == (0.2, 0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OWN.replace("ACME001", "acme1"), ["rule acme1", "three digits"]),
        (OWN + OWN, ["ACME001 stands twice"]),
        (OWN.replace("dead_fraction", "dead_fractoin"), ["ACME001", "'dead_fraction'"]),
        (OWN.replace('"layer"', '"study"'), ["scope 'study'"]),
        (OWN.replace("criterion =", "criterio ="), ["did you mean 'criterion'"]),
        (OWN.replace('"scale"', '"scal"'), ["'scal'", "'scale'"]),
        (OWN.replace('criterion = "scale"', 'threshold = "x"'), ["threshold", "not a number"]),
        (OWN.replace("max = 0.5", "max = 0.1, min = 0.2"), ["min 0.2 is above max 0.1"]),
        (OWN.replace("max = 0.5", "maxx = 0.5"), ["error.maxx", "did you mean 'max'"]),
        (OWN.replace("max = 0.5", 'max = "half"'), ["error.max 'half'"]),
        (OWN.replace("error = { max = 0.5 }", ""), ["no limit"]),
        (OWN.replace("name =", "nam ="), ["nam is an unknown key", "did you mean 'name'"]),
        (OWN.replace('summary = "More', 'layer = "*"\nsummary = "More'), ["did you mean 'layers'"]),
        (OWN.replace('scope = "layer"', 'scope = "model"\nlayers = "a*"'), ["layers is for rules of scope 'layer'"]),
        (OWN + "[[rule]]\n", ["rule number 2", "is missing"]),
        ("", ["holds no rule"]),
        ("schema = 2", ["schema"]),
        ("x = [", ["not TOML"]),
        ('extend = "default"', ["did you mean 'extends'"]),
        ('extends = "defalt"', ["did you mean 'default'"]),
        ('extends = "own.toml"', ["extends itself"]),
        ('extends = "default"\nselect = ["SA7"]', ["select", "'SA7'"]),
        ('extends = "default"\n[limits]\nSA199 = { warning = false }', ["'SA199'"]),
        ('extends = "default"\n[limits]\nSA101 = { warnin = false }', ["did you mean 'warning'"]),
        ('extends = "default"\n[limits]\nSA101 = { warning = { maxx = 1 } }', ["SA101.warning.maxx", "'max'"]),
        ('extends = "default"\n[limits]\nSA101 = { warning = true }', ["SA101.warning should be a table"]),
    ],
)
def test_what_validate_catches(tmp_path, capsys, text, said):
    validated(capsys, tmp_path, text).refused("own.toml", *said)


def test_a_pack_that_extends_itself_by_another_way_is_found(tmp_path, capsys):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "own.toml").write_text('extends = "../here/own.toml"')
    ended = call(capsys, "rules", "validate", "here/own.toml")
    ended.refused("extends itself")
    assert len(ended.err) < 200


def test_a_file_that_is_not_text_and_a_folder(tmp_path, capsys):
    (tmp_path / "own.toml").write_bytes(b"\xff\xfe")
    call(capsys, "rules", "validate", "own.toml").refused("own.toml", "UTF-8")
    call(capsys, "rules", "validate", tmp_path).refused("directory")
    call(capsys, "rules", "list", "--rules", "defualt").refused("'default'")

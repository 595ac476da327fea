"""One folder of images, one name in the spec, and so one run, however the path to it is written."""

from __future__ import annotations

from pathlib import Path

from sparsity_audit.specs.edit import anchored


def test_a_folder_reached_by_its_parent_has_its_own_name(tmp_path: Path) -> None:
    assert anchored({"data.name": "imagefolder:../pets"}, tmp_path / "specs") == {
        "data.name": f"imagefolder:{tmp_path / 'pets'}"
    }


def test_links_are_followed_only_where_a_parent_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "disk" / "data").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "data")
    for given, wanted in (("link/pets", "link/pets"), ("link/../pets", "disk/pets")):
        assert anchored({"data.name": given}, tmp_path)["data.name"] == str(tmp_path / wanted)

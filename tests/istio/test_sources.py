"""Manifests come from where the user says, or from what is bundled, and always say which."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_istio.errors import ManifestError, UnknownVersionError
from pytest_istio.istio import sources
from pytest_istio.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

BUNDLED = Settings(istio_version="1.0.5")


def test_the_bundled_set_says_that_it_is_re_created() -> None:
    found = sources.manifests(BUNDLED)
    assert found.source == "re-created 1.0.5 (bundled)"
    assert len(found.objects) == 134
    assert len(found.sha256) == 64


def test_an_addon_comes_beside_the_bundled_set() -> None:
    twice = replace(BUNDLED, addons=("grafana", "grafana"))
    given, found = sources.manifests(BUNDLED), sources.manifests(twice)
    assert len(found.objects) == 134 + 9
    assert found.source == "re-created 1.0.5 (bundled) with grafana"
    assert found.sha256 != given.sha256


def test_an_addon_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="--istio-addon: 'kiali' is none of grafana"):
        sources.manifests(replace(BUNDLED, addons=("kiali",)))
    with pytest.raises(ManifestError, match="render your own"):
        sources.manifests(replace(BUNDLED, addons=("grafana",), manifests=tmp_path))


def test_another_patch_is_the_bundled_set_with_other_tags() -> None:
    given, found = sources.manifests(BUNDLED), sources.manifests(Settings(istio_version="1.0.6"))
    before, after = json.dumps(given.objects), json.dumps(found.objects)
    assert "istio/pilot:1.0.6" in after
    assert "istio/proxy_init:1.0.6" in after, "the injection template names images, too"
    assert ":1.0.5" not in after
    assert "prom/prometheus:v2.3.1" in after
    assert after.replace(":1.0.6", ":1.0.5") == before
    assert "1.0.6" in found.source
    assert any("1.0.5" in warning for warning in found.warnings)


def test_another_namespace_moves_everything() -> None:
    found = sources.manifests(replace(BUNDLED, namespace="mesh"))
    assert "istio-system" not in json.dumps(found.objects)
    assert found.objects[0]["metadata"]["name"] == "mesh"


def test_the_users_own_file_wins_and_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: istio-system}\n")
    found = sources.manifests(replace(BUNDLED, manifests=file, namespace="mesh"))
    assert found.source == str(file)
    assert [each["metadata"]["namespace"] for each in found.objects] == ["istio-system"]


def test_an_unknown_version_is_refused_also_with_manifests_of_the_users_own(tmp_path: Path) -> None:
    with pytest.raises(UnknownVersionError):
        sources.manifests(Settings(istio_version="0.9.0", manifests=tmp_path))


def test_nothing_bundled_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sources, "fixtures_folder", lambda: tmp_path)
    with pytest.raises(ManifestError, match="--istio-manifests"):
        sources.manifests(BUNDLED)


def test_bookinfo_of_an_unbundled_patch_is_the_nearest() -> None:
    assert sources.bookinfo("1.0.9").name == "1.0.5"

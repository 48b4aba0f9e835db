"""Choosing among kept clusters, without a container engine: what is recorded decides."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pytest_istio.clusters.base import Cluster
from pytest_istio.clusters.engine import find_engine
from pytest_istio.clusters.kind_folder import KindFolder, folders
from pytest_istio.clusters.kind_reuse import fingerprint, take_kept
from pytest_istio.progress import Silent
from pytest_istio.run.folder import RunFolder
from pytest_istio.run.owner import Owner, attach
from pytest_istio.run.states import BOOKINFO, MESH
from pytest_istio.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.clusters.engine import Engine

SETTINGS = Settings(istio_version="1.0.5", reuse=True)
INFO = {"Architecture": "x86_64", "CgroupVersion": "2", "MemTotal": 2**34, "DockerRootDir": "/nowhere"}
NOBODY = "https://127.0.0.1:9"


class Notes(Silent):
    """Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, what: str) -> None:
        self.lines.append(what)


@pytest.fixture
def engine(programs: Path) -> Engine:
    """An engine that has no containers, and images of which it tells nothing."""
    script = f"""#!/bin/sh
case "$1" in
info) echo '{json.dumps(INFO)}' ;;
image) echo '[{{"Id": "sha256:1"}}]' ;;
esac
"""
    for name, text in (("docker", script), ("kind", "#!/bin/sh\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return find_engine()


@pytest.fixture
def wanted(engine: Engine) -> dict[str, Any]:
    return fingerprint(engine, SETTINGS, image="node:1", config="kind: Cluster")


@pytest.fixture
def kept(engine: Engine, programs: Path, wanted: dict[str, Any]) -> KindFolder:
    """The record of a kept cluster that does not answer."""
    folder = KindFolder.create("kept-1", programs / "kind", engine)
    folder.fingerprint = wanted
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": NOBODY, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": {}}],
    }
    folder.kubeconfig.write_text(yaml.safe_dump(config))
    containers = frozenset({"containers"})
    details: dict[str, Any] = {"ports": {}}
    folder.keep(
        Cluster(folder.name, "kind", folder.kubeconfig, "c", True, containers, "1 node", details, {MESH: {}})
    )
    return folder


def told(engine: Engine, wanted: dict[str, Any], settings: Settings = SETTINGS) -> str:
    """Return what is said where no cluster is taken."""
    notes = Notes()
    assert take_kept(wanted, settings, engine, notes) is None
    (line,) = notes.lines
    return line


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"istio_version": "1.0.6"}, "Istio's version"),
        ({"namespace": "mesh"}, "namespace"),
        ({"injection": "automatic"}, "injection"),
        ({"addons": ("grafana",)}, "manifests"),
        ({"image_registries": (("docker.io", "example.com"),)}, "image registries"),
    ],
)
def test_another_setting_is_another_cluster(
    engine: Engine, kept: KindFolder, change: dict[str, Any], name: str
) -> None:
    other = fingerprint(engine, replace(SETTINGS, **change), image="node:1", config="kind: Cluster")
    assert f"kept-1 is not reused: it differs in {name}; `pytest-istio cleanup`" in told(engine, other)
    assert kept.kept
    assert not kept.in_use


def test_what_does_not_shape_the_cluster_makes_no_difference(engine: Engine, wanted: dict[str, Any]) -> None:
    other = replace(SETTINGS, profile="extended", keep="always", gate=True, client_image="another")
    assert fingerprint(engine, other, image="node:1", config="kind: Cluster") == wanted


def test_only_the_named_one_is_looked_at(engine: Engine, kept: KindFolder, wanted: dict[str, Any]) -> None:
    said = told(engine, wanted, replace(SETTINGS, kind_name="another"))
    assert said == "no cluster is kept that could be reused; making one"
    assert kept.kept


def test_one_that_another_run_uses_is_left_alone(
    engine: Engine, kept: KindFolder, wanted: dict[str, Any]
) -> None:
    assert kept.claim()
    assert told(engine, wanted) == "cluster kept-1 is not reused: another run uses it"
    kept.take()
    assert told(engine, wanted) == "cluster kept-1 is not reused: another run uses it"


def test_one_that_does_not_answer_is_told_and_deleted(
    engine: Engine, kept: KindFolder, wanted: dict[str, Any]
) -> None:
    pytest.importorskip("pytest_kind")
    said = told(engine, wanted)
    assert said.startswith("cluster kept-1 is not reused: ")
    assert NOBODY.removeprefix("https://") in said
    assert said.endswith("; it is deleted, and a new one made")
    assert list(folders()) == []


class Provider:
    """Hands out a cluster, and keeps what it is told at the end."""

    trouble: str | None = None

    def __init__(self, folder: Path) -> None:
        self.cluster = Cluster("k", "kind", folder / "kubeconfig", None, True, frozenset(), "one", {})
        self.stopped: tuple[Cluster, bool] | None = None

    def start(self, settings: Settings, progress: Silent) -> Cluster:
        return self.cluster

    def stop(self, cluster: Cluster, *, keep: bool) -> None:
        self.stopped = (cluster, keep)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Provider:
    made = Provider(tmp_path)
    monkeypatch.setattr("pytest_istio.clusters.resolve", lambda _: "kind")
    monkeypatch.setattr("pytest_istio.clusters.provider", lambda _: made)
    return made


GOOD = {"run": "run-1", "preflight": {}, "troubles": [], "restarts": {"pilot/discovery": 1}}
BAD = {**GOOD, "troubles": [{}]}


@pytest.mark.parametrize(
    ("mesh", "bookinfo", "settings", "keeps"),
    [
        (GOOD, {"finished": True, "bookinfo": {"troubles": []}}, SETTINGS, True),
        (GOOD, None, SETTINGS, True),
        (GOOD, {"finished": False, "bookinfo": {"troubles": []}}, SETTINGS, False),
        (GOOD, {"finished": True, "bookinfo": {"troubles": [{}]}}, SETTINGS, False),
        (BAD, None, SETTINGS, False),
        (None, None, SETTINGS, False),
        (GOOD, None, replace(SETTINGS, sources={"keep": "option"}), False),
        (GOOD, None, replace(SETTINGS, reuse=False), False),
    ],
)
def test_a_run_keeps_for_the_next_one_what_that_can_use(
    provider: Provider,
    mesh: dict[str, Any] | None,
    bookinfo: dict[str, Any] | None,
    settings: Settings,
    keeps: bool,
) -> None:
    folder = RunFolder(provider.cluster.kubeconfig.parent)
    owner = Owner(settings, folder)
    owner.start(Silent())
    for name, state in ((MESH, mesh), (BOOKINFO, bookinfo)):
        if state:
            folder.write(name, state)
    owner.stop(Silent(), failed=False)
    assert provider.stopped
    cluster, kept = provider.stopped
    assert kept == keeps
    if keeps:
        assert cluster.setup[MESH] == {**GOOD, "restarts": None}
        assert (BOOKINFO in cluster.setup) == bool(bookinfo)


def test_a_run_finds_what_an_earlier_one_has_set_up(provider: Provider) -> None:
    provider.cluster = replace(provider.cluster, setup={MESH: GOOD})
    folder = RunFolder(provider.cluster.kubeconfig.parent)
    Owner(SETTINGS, folder).start(Silent())
    assert folder.read(MESH) == GOOD
    attached = attach(folder)
    assert attached
    assert attached.reused

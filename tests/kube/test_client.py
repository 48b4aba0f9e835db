"""The client against a real API server."""

from __future__ import annotations

import base64
import json
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.errors import ClusterError
from pytest_istio.kube import client
from pytest_istio.kube.client import Kube
from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.discovery import Resource
from pytest_istio.kube.errors import (
    ConflictError,
    ForbiddenError,
    KindNotServedError,
    KubeError,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
)

if TYPE_CHECKING:
    from pytest_istio.local.controlplane import ControlPlane

Object = dict[str, Any]


def config_map(namespace: str, name: str, **data: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def kubeconfig(plane: ControlPlane, path: Path, **changed: object) -> Path:
    """Write the administrator's kubeconfig with other settings for the cluster or the user."""
    config = json.loads(plane.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    for name, value in changed.items():
        (user if name in {"token", "exec"} else cluster)[name] = value
    path.write_text(json.dumps(config))
    return path


def test_the_server_tells_its_version_and_that_it_is_ready(kube: Kube, plane: ControlPlane) -> None:
    assert kube.server == plane.server
    assert kube.version()["major"] == "1"
    assert kube.ready()


def test_an_object_lives_through_all_verbs(kube: Kube, namespace: str) -> None:
    created = kube.create(config_map(namespace, "a", x="1"))
    assert created["metadata"]["uid"]
    with pytest.raises(ConflictError) as caught:
        kube.create(config_map(namespace, "a"))
    assert caught.value.reason == "AlreadyExists"
    kube.patch("v1", "ConfigMap", "a", namespace, {"data": {"y": "2"}})
    kube.patch(
        "v1", "ConfigMap", "a", namespace, [{"op": "add", "path": "/data/z", "value": "3"}], how="json"
    )
    kube.patch("v1", "ConfigMap", "a", namespace, {"data": {"x": None}}, how="strategic")
    assert kube.get("v1", "ConfigMap", "a", namespace)["data"] == {"y": "2", "z": "3"}
    assert kube.replace(config_map(namespace, "a", only="this"))["data"] == {"only": "this"}
    applied = kube.apply(config_map(namespace, "a", only="that", more="m"), manager="test")
    assert applied["data"] == {"only": "that", "more": "m"}
    with pytest.raises(ConflictError):
        kube.apply(config_map(namespace, "a", only="other"), manager="somebody", force=False)
    kube.delete("v1", "ConfigMap", "a", namespace)
    kube.delete("v1", "ConfigMap", "a", namespace)
    assert kube.find("v1", "ConfigMap", "a", namespace) is None
    with pytest.raises(NotFoundError, match='configmaps "a" not found'):
        kube.get("v1", "ConfigMap", "a", namespace)


def test_whatever_is_written_says_that_this_program_wrote_it(kube: Kube, namespace: str) -> None:
    made = kube.create(config_map(namespace, "a", x="1"))
    replaced = kube.replace(config_map(namespace, "a", y="2"))
    patched = kube.patch("v1", "ConfigMap", "a", namespace, {"data": {"z": "3"}})
    managers = [[each["manager"] for each in obj["metadata"]["managedFields"]] for obj in (made, replaced)]
    assert all(names and all(name.startswith("pytest-istio-") for name in names) for names in managers)
    assert "pytest-istio" in [each["manager"] for each in patched["metadata"]["managedFields"]]


def test_a_list_has_all_pages_and_says_what_its_items_are(
    kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PAGE", 2)
    for name in "abcde":
        obj = config_map(namespace, name)
        obj["metadata"]["labels"] = {"vowel": str(name in "ae").lower()}
        kube.create(obj)
    own = "metadata.name!=kube-root-ca.crt"
    found = kube.list("v1", "ConfigMap", namespace, fields=own)
    assert [item["metadata"]["name"] for item in found] == list("abcde")
    assert {(item["apiVersion"], item["kind"]) for item in found} == {("v1", "ConfigMap")}
    pages = list(kube.pages("v1", "ConfigMap", namespace, fields=own))
    assert [len(page) for page in pages] == [2, 2, 1]
    vowels = kube.list("v1", "ConfigMap", namespace, labels="vowel=true")
    assert [item["metadata"]["name"] for item in vowels] == ["a", "e"]


def test_kinds_are_found_by_discovery_also_those_that_come_later(kube: Kube) -> None:
    assert kube.resource("apps/v1", "Deployment") == Resource("deployments", True, "apps/v1", "Deployment")
    assert ("v1", "Pod") in kube.served()
    with pytest.raises(KindNotServedError, match=r"no kind Deployment in apps/v2; it has it in apps/v1\."):
        kube.resource("apps/v2", "Deployment")
    with pytest.raises(KindNotServedError, match="is its CRD missing"):
        kube.list("example.com/v1", "Later")
    crd: Object = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "laters.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Cluster",
            "names": {"kind": "Later", "plural": "laters"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    }
    kube.create(crd)
    try:
        kube.learn(crd)
        assert (
            kube.resource("example.com/v1", "Later").path(name="a b") == "/apis/example.com/v1/laters/a%20b"
        )
    finally:
        kube.delete("apiextensions.k8s.io/v1", "CustomResourceDefinition", "laters.example.com")


def test_an_older_server_without_aggregated_discovery_is_understood(
    kube: Kube, plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio.kube.discovery.AGGREGATED", "application/json")
    older = Kube.connect(plane.kubeconfig)
    assert older.served() == kube.served()
    older.close()


def test_a_refusal_says_what_was_asked_and_why(plane: ControlPlane, kube: Kube, tmp_path: Path) -> None:
    with pytest.raises(
        NotFoundError, match=r"^POST /api/v1/namespaces/none/configmaps: 404 NotFound: namespaces"
    ):
        kube.create(config_map("none", "a"))
    with pytest.raises(KubeError, match="422 Invalid: ") as caught:
        kube.create(config_map("default", "Not A Name"))
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")
    stranger = Kube.connect(kubeconfig(plane, tmp_path / "k", token="wrong"))
    with pytest.raises(
        UnauthorizedError, match="credentials in the kubeconfig are missing, wrong or expired"
    ):
        stranger.list("v1", "Pod")
    stranger.close()
    request = {"spec": {}, "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"}
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    token = kube.json("POST", path, body=request)["status"]["token"]
    guest = Kube.connect(kubeconfig(plane, tmp_path / "k", token=token))
    with pytest.raises(ForbiddenError, match=r"cannot list resource .* `kubectl auth can-i --list`\.$"):
        guest.list("v1", "Secret")
    guest.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_a_server_that_is_not_there_is_reported_in_bounded_time(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio.kube.connection.RETRY_SECONDS", 0.3)
    server = f"https://127.0.0.1:{free_port()}"
    absent = Kube.connect(kubeconfig(plane, tmp_path / "k", server=server))
    assert not absent.ready()
    message = (
        f"^GET /version: no answer from the API server at {server}: .*Connection refused.*cluster-info`.$"
    )
    with pytest.raises(UnreachableError, match=message) as caught:
        absent.version()
    assert isinstance(caught.value, ClusterError)
    assert caught.value.status is None
    absent.close()


def test_a_server_with_another_certificate_is_not_talked_to(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio.kube.connection.RETRY_SECONDS", 0.3)
    # Any other authority will do; the one of the machine's own trust store is always there.
    other = kubeconfig(plane, tmp_path / "k")
    config = json.loads(other.read_text())
    del config["clusters"][0]["cluster"]["certificate-authority"]
    other.write_text(json.dumps(config))
    stranger = Kube.connect(other)
    with pytest.raises(
        UnreachableError, match="belongs to another cluster, or its certificates have expired"
    ):
        stranger.version()
    stranger.close()


def test_a_server_that_hangs_is_reported_in_bounded_time(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio.kube.connection.RETRY_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = f"http://127.0.0.1:{silent.getsockname()[1]}"
        path = kubeconfig(plane, tmp_path / "k", server=server)
        hanging = Kube.connect(path, request_timeout=0.2)
        with pytest.raises(UnreachableError, match="the API server is overloaded or hangs"):
            hanging.version()
        with pytest.raises(UnreachableError, match="did not open within"):
            hanging.exec("default", "web", ["true"], timeout=0.5)
        hanging.close()


def test_an_answer_without_end_is_reported(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio.kube.connection.RETRY_SECONDS", 0.1)
    monkeypatch.setattr("pytest_istio.kube.connection.ANSWER_BYTES", 2**20)

    def pour(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                caller, _ = listener.accept()
                with caller, suppress(OSError):
                    caller.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    while True:
                        caller.sendall(b" " * 2**16)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        pouring = threading.Thread(target=pour, args=[listener])
        pouring.start()
        server = f"http://127.0.0.1:{listener.getsockname()[1]}"
        kube = Kube.connect(kubeconfig(plane, tmp_path / "k", server=server))
        with pytest.raises(UnreachableError, match="the answer is longer than 1 MiB"):
            kube.version()
        kube.close()
        listener.shutdown(socket.SHUT_RDWR)
    pouring.join()


def test_proxies_of_the_environment_are_not_for_this_machine(
    plane: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    direct = Kube.connect(plane.kubeconfig)
    assert direct.ready()
    direct.close()


def cluster_with(setting: str) -> str:
    return json.dumps(
        {
            "clusters": [
                {"name": "c", "cluster": {"server": "https://127.0.0.1", f"{AUTHORITY}{setting}": "aGkK"}}
            ],
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "current-context": "c",
        }
    )


AUTHORITY = "certificate-authority"
UNUSABLE = {
    "missing": (None, r"^kubeconfig \S*/kubeconfig: no such file\.$"),
    "not YAML": ("a: b: c", "cannot be used: mapping values are not allowed"),
    "empty": ("", "cannot be used: Invalid kube-config"),
    "a list": ("[]", "cannot be used: "),
    "a number": ("1", "cannot be used: "),
    "no contexts": ("{apiVersion: v1, kind: Config}", "cannot be used: "),
    "a missing file": (cluster_with(""), r"cannot be used: File does not exist: \S*/aGkK\. See `kubectl"),
    "no certificate": (cluster_with("-data"), "cannot be used: .*no certificate or crl found"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_kubeconfig_that_cannot_be_used_is_one_line(name: str, tmp_path: Path) -> None:
    text, message = UNUSABLE[name]
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ClusterError, match=message) as caught:
        Kube.connect(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_context_is_named(plane: ControlPlane) -> None:
    with pytest.raises(
        ClusterError, match=r"context 'nowhere' cannot be used: .*`kubectl config get-contexts`\.$"
    ):
        Kube.connect(plane.kubeconfig, "nowhere")


def test_no_key_stays_in_a_file(plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    authority = Path(
        json.loads(plane.kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority"]
    )
    config = json.loads(kubeconfig(plane, tmp_path / "k").read_text())
    cluster = config["clusters"][0]["cluster"]
    del cluster["certificate-authority"]
    cluster["certificate-authority-data"] = base64.b64encode(authority.read_bytes()).decode()
    (tmp_path / "k").write_text(json.dumps(config))
    found = Kube.connect(tmp_path / "k")
    assert list(folder.iterdir()) == []
    assert found.ready()
    found.close()


def test_a_watch_starts_with_what_exists_and_ends_at_the_deadline(kube: Kube, namespace: str) -> None:
    kube.create(config_map(namespace, "a"))
    seen = []
    deadline = Deadline(30)
    chosen = "metadata.name!=kube-root-ca.crt"
    for event in kube.watch("v1", "ConfigMap", namespace, fields=chosen, deadline=deadline):
        seen.append((event.type, event.object["metadata"]["name"]))
        if len(seen) == 1:
            kube.create(config_map(namespace, "b"))
            kube.patch("v1", "ConfigMap", "b", namespace, {"data": {"x": "y"}})
            kube.delete("v1", "ConfigMap", "a", namespace)
            deadline.shorten(1.0)
    assert seen == [("ADDED", "a"), ("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "a")]
    assert deadline.elapsed() < 5


def test_a_watch_can_be_closed_while_it_waits(kube: Kube, namespace: str) -> None:
    watch = kube.follow("v1", "Secret", namespace, deadline=Deadline(60))
    synced = threading.Event()

    def run() -> None:
        for event in watch:
            if event.type == "SYNCED":
                synced.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert synced.wait(10)
    watch.close()
    thread.join(5)
    assert not thread.is_alive()

"""Volumes and environment: what a container is told, and how soon it learns of changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.local.node.cluster import eventually

if TYPE_CHECKING:
    from tests.local.node.cluster import Namespace

WEB: dict[str, Any] = {"image": "web", "args": ["8080"]}


def _secret(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def _config(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_a_changed_secret_arrives_in_a_running_container(namespace: Namespace) -> None:
    namespace.apply(_secret("certs", key="old", gone="x"))
    namespace.pod(
        "reader",
        **WEB,
        volumes=[{"name": "certs", "secret": {"secretName": "certs"}}],
        volumeMounts=[{"name": "certs", "mountPath": "/etc/certs", "readOnly": True}],
    )
    namespace.wait_ready("reader")
    eventually(lambda: namespace.ask("reader", "file/etc/certs/key") == "old")
    namespace.kubectl("delete", "secret", "certs")
    namespace.apply(_secret("certs", key="new", more="y"))
    eventually(lambda: namespace.ask("reader", "file/etc/certs/key") == "new", timeout=2)
    assert namespace.ask("reader", "file/etc/certs/more") == "y"
    assert namespace.ask("reader", "file/etc/certs/gone") == ""


def test_an_optional_secret_arrives_later(namespace: Namespace) -> None:
    namespace.pod(
        "early",
        **WEB,
        volumes=[{"name": "certs", "secret": {"secretName": "later", "optional": True}}],
        volumeMounts=[{"name": "certs", "mountPath": "/etc/certs"}],
    )
    namespace.wait_ready("early")
    namespace.apply(_secret("later", key="value"))
    eventually(lambda: namespace.ask("early", "file/etc/certs/key") == "value")


def test_a_pod_waits_for_a_secret_that_it_needs(namespace: Namespace) -> None:
    namespace.pod(
        "patient",
        **WEB,
        volumes=[{"name": "certs", "secret": {"secretName": "needed"}}],
        volumeMounts=[{"name": "certs", "mountPath": "/etc/certs"}],
    )
    assert 'secret "needed" not found' in namespace.event("patient", "FailedMount")
    assert namespace.waiting("patient") == "ContainerCreating"
    namespace.apply(_secret("needed", key="value"))
    namespace.wait_ready("patient")


def test_items_sub_paths_and_projections_are_where_the_spec_wants_them(namespace: Namespace) -> None:
    namespace.apply(_config("config", mesh="enabled: true", other="o"), _secret("secret", token="s"))
    picked = {"name": "config", "items": [{"key": "mesh", "path": "dir/mesh.yaml"}]}
    sources = [
        {"configMap": {"name": "config", "items": [{"key": "other", "path": "o.txt"}]}},
        {"secret": {"name": "secret"}},
        {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {"serviceAccountToken": {"path": "jwt", "audience": "istio-ca"}},
    ]
    namespace.pod(
        "placed",
        **WEB,
        volumes=[
            {"name": "picked", "configMap": picked},
            {"name": "whole", "configMap": {"name": "config"}},
            {"name": "all", "projected": {"sources": sources}},
        ],
        volumeMounts=[
            {"name": "picked", "mountPath": "/etc/istio"},
            {"name": "whole", "mountPath": "/etc/one/mesh.yaml", "subPath": "mesh"},
            {"name": "all", "mountPath": "/all"},
        ],
    )
    namespace.wait_ready("placed")
    eventually(lambda: namespace.ask("placed", ""))

    def read(path: str) -> str:
        return namespace.ask("placed", f"file{path}")

    assert read("/etc/istio/dir/mesh.yaml") == "enabled: true"
    assert read("/etc/one/mesh.yaml") == "enabled: true"
    assert read("/all/o.txt") == "o"
    assert read("/all/token") == "s"
    assert read("/all/labels") == 'app="placed"'
    assert read("/all/jwt").count(".") == 2
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    assert read(f"{account}/namespace") == namespace.name
    assert read(f"{account}/ca.crt").startswith("-----BEGIN CERTIFICATE")
    assert read(f"{account}/token").count(".") == 2


def test_the_environment_comes_from_everywhere(namespace: Namespace) -> None:
    namespace.apply(_config("config", COLOR="blue"), _secret("secret", password="s3cret"))

    def field(path: str) -> dict[str, Any]:
        return {"fieldRef": {"fieldPath": path}}

    key = {"name": "secret", "key": "password"}
    cpu = {"resource": "limits.cpu", "divisor": "1m"}
    namespace.pod(
        "told",
        **WEB,
        resources={"limits": {"cpu": "250m", "memory": "64Mi"}},
        envFrom=[{"prefix": "MY_", "configMapRef": {"name": "config"}}],
        env=[
            {"name": "POD_NAME", "valueFrom": field("metadata.name")},
            {"name": "POD_IP", "valueFrom": field("status.podIP")},
            {"name": "NODE", "valueFrom": field("spec.nodeName")},
            {"name": "APP", "valueFrom": field("metadata.labels['app']")},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": key}},
            {"name": "NOTHING", "valueFrom": {"secretKeyRef": {**key, "key": "none", "optional": True}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": cpu}},
            {"name": "URL", "value": "http://$(POD_NAME):$(UNKNOWN)/$$(POD_NAME)"},
        ],
    )
    namespace.wait_ready("told")
    eventually(lambda: namespace.ask("told", ""))

    def told(name: str) -> str:
        return namespace.ask("told", f"env/{name}")

    assert told("MY_COLOR") == "blue"
    assert told("POD_NAME") == "told"
    assert told("POD_IP") == namespace.get("pod", "told")["status"]["podIP"]
    assert told("POD_IP").startswith("10.")
    assert told("NODE") == "local"
    assert told("APP") == "told"
    assert told("PASSWORD") == "s3cret"
    assert told("NOTHING") == ""
    assert told("CPU") == "250"
    assert told("URL") == "http://told:$(UNKNOWN)/$(POD_NAME)"


def test_a_missing_key_holds_the_container_back_until_it_is_there(namespace: Namespace) -> None:
    key = {"name": "config", "key": "color"}
    env = [{"name": "COLOR", "valueFrom": {"configMapKeyRef": key}}]
    namespace.pod("keyless", **WEB, env=env)
    eventually(lambda: namespace.waiting("keyless") == "CreateContainerConfigError")
    assert namespace.state("keyless")["state"]["waiting"]["message"] == 'configmap "config" not found'
    namespace.apply(_config("config", color="red"))
    namespace.wait_ready("keyless")


def test_a_volume_of_the_machine_is_refused(namespace: Namespace) -> None:
    namespace.pod("curious", **WEB, volumes=[{"name": "host", "hostPath": {"path": "/"}}])
    message = namespace.event("curious", "FailedMount")
    assert message == 'volume "host": hostPath is not available on the cluster `local`'

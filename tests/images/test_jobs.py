"""The install jobs: their scripts, run by the machine's shell, do their work through the API."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from pytest_istio.local.images.cluster_api import ApiError
from tests.images.pods import Object, Pods, eventually, istio_objects

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

_SECRETS = "/api/v1/namespaces/{}/secrets"
_MESH_POLICY = "/apis/authentication.istio.io/v1alpha1/meshpolicies/default"


@pytest.fixture(params=["bundled", "the release's own"])
def objects(request: pytest.FixtureRequest) -> list[Object]:
    """All manifests, once as they are bundled and once the release's."""
    if request.param == "bundled":
        return istio_objects("Job", "ConfigMap")
    folder = os.environ.get("PYTEST_ISTIO_REFERENCE_DATA")
    if not folder:
        pytest.skip("PYTEST_ISTIO_REFERENCE_DATA names no folder with the release's own files")
    text = (Path(folder) / "istio-1.0.5" / "default.yaml").read_text()
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


def run_job(pods: Pods, objects: list[Object], name: str) -> subprocess.CompletedProcess[str]:
    """Run a job's only container, with the rights of its ServiceAccount and its ConfigMap mounted."""
    (job,) = [each for each in objects if each["kind"] == "Job" and each["metadata"]["name"] == name]
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    root = pods.root_of(pod["serviceAccountName"])
    pods.provide("kubectl", root)
    for mount in container.get("volumeMounts", []):
        (volume,) = [each for each in pod["volumes"] if each["name"] == mount["name"]]
        wanted = volume["configMap"]["name"]
        (config,) = [
            each for each in objects if each["kind"] == "ConfigMap" and each["metadata"]["name"] == wanted
        ]
        folder = root / mount["mountPath"].lstrip("/")
        folder.mkdir(parents=True)
        for key, text in config["data"].items():
            (folder / key).write_text(text)
    return pods.run("hyperkube", container["command"], root)


def secret(name: str, namespace: str, kind: str) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata}


def secrets(pods: Pods, namespace: str) -> set[str]:
    found = pods.admin.request("GET", _SECRETS.format(namespace))["items"]
    return {each["metadata"]["name"] for each in found}


def test_cleanup_deletes_certificates_and_nothing_else(pods: Pods, objects: list[Object]) -> None:
    pods.apply(
        secret("istio.doomed", "default", "istio.io/key-and-cert"),
        secret("istio.doomed", "kube-public", "istio.io/key-and-cert"),
        secret("istio.kept", "default", "Opaque"),
    )
    done = run_job(pods, objects, "istio-cleanup-secrets")
    assert done.returncode == 0, done.stderr
    assert 'secret "istio.doomed" deleted' in done.stdout
    assert "istio.doomed" not in secrets(pods, "default") | secrets(pods, "kube-public")
    assert "istio.kept" in secrets(pods, "default")


def mesh_policies() -> Object:
    """The definition that Pilot makes at its start."""
    names = {
        "plural": "meshpolicies",
        "singular": "meshpolicy",
        "kind": "MeshPolicy",
        "listKind": "MeshPolicyList",
    }
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "authentication.istio.io", "names": names, "scope": "Cluster", "versions": [version]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "meshpolicies.authentication.istio.io"},
        "spec": spec,
    }


def registration() -> Object:
    """What Galley registers, as far as the script looks at it."""
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "istio-galley"},
        "webhooks": [],
    }


@pytest.fixture
def galley_registered(pods: Pods) -> Iterator[None]:
    """The definition and the registration that the script looks for; Galley itself is not there."""
    pods.apply(mesh_policies(), registration())
    yield
    pods.admin.request(
        "DELETE", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/istio-galley"
    )


@pytest.mark.usefixtures("galley_registered")
def test_post_install_sets_the_meshs_authentication_policy(pods: Pods) -> None:
    eventually(lambda: pods.admin.request("GET", _MESH_POLICY.rpartition("/")[0]))
    done = run_job(pods, istio_objects("Job", "ConfigMap"), "istio-security-post-install")
    assert done.returncode == 0, done.stderr
    assert "meshpolicy.authentication.istio.io/default created" in done.stdout
    assert pods.admin.request("GET", _MESH_POLICY)["spec"] == {"peers": [{"mtls": {"mode": "PERMISSIVE"}}]}
    again = run_job(pods, istio_objects("Job", "ConfigMap"), "istio-security-post-install")
    assert "meshpolicy.authentication.istio.io/default unchanged" in again.stdout


def kubectl(pods: Pods, account: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return pods.run("kubectl", list(arguments), pods.root_of(account))


def test_what_the_account_may_not_do_fails(pods: Pods) -> None:
    denied = kubectl(pods, "istio-cleanup-secrets-service-account", "get", "pods", "-A")
    assert denied.returncode == 1
    assert denied.stderr.startswith("Error from server (Forbidden): pods is forbidden: User ")


def test_tables_are_the_servers_own(pods: Pods) -> None:
    pods.apply(secret("istio.shown", "default", "istio.io/key-and-cert"))
    shown = kubectl(pods, "istio-citadel-service-account", "get", "secret", "--all-namespaces").stdout
    lines = [line.split() for line in shown.splitlines()]
    assert lines[0] == ["NAMESPACE", "NAME", "TYPE", "DATA", "AGE"]
    assert ["default", "istio.shown", "istio.io/key-and-cert", "0"] in [line[:4] for line in lines]
    named = kubectl(
        pods, "istio-citadel-service-account", "-n", "default", "get", "secrets", "-o", "name"
    ).stdout
    assert "secret/istio.shown" in named.split()


def test_a_missing_object_fails_unless_that_is_fine(pods: Pods) -> None:
    command = ["delete", "secret", "nobody", "-n", "default"]
    missing = kubectl(pods, "istio-citadel-service-account", *command)
    assert missing.returncode == 1
    assert missing.stderr.strip() == 'Error from server (NotFound): secrets "nobody" not found'
    assert kubectl(pods, "istio-citadel-service-account", *command, "--ignore-not-found").returncode == 0


def test_an_unknown_kind_fails(pods: Pods) -> None:
    unknown = kubectl(pods, "istio-citadel-service-account", "get", "wombat")
    assert unknown.returncode == 1
    assert unknown.stderr.strip() == 'error: the server doesn\'t have a resource type "wombat"'


def test_rollout_status_waits_for_the_deployment(pods: Pods) -> None:
    labels = {"app": "sleepy"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "b"}]}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "sleepy", "namespace": "istio-system"},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": template},
    }
    pods.apply(deployment)
    root = pods.root(pods.admin_token)
    done = pods.run("kubectl", ["rollout", "status", "deployment", "sleepy", "-n", "istio-system"], root)
    assert done.stdout.splitlines()[-1] == 'deployment "sleepy" successfully rolled out'


def test_a_script_without_its_program_fails(pods: Pods) -> None:
    done = pods.run("hyperkube", ["/bin/no-such-shell", "-c", "true"], pods.root(""))
    assert done.returncode == 127
    assert "no-such-shell: not found" in done.stderr


def test_what_the_server_refuses_fails_the_script(pods: Pods) -> None:
    root = pods.root_of("istio-security-post-install-account")
    pods.provide("kubectl", root)
    (root / "tmp").mkdir()
    (root / "tmp/bad.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\n")
    done = pods.run("hyperkube", ["/bin/sh", "-c", "kubectl apply -f /tmp/bad.yaml"], root)
    assert done.returncode == 1
    assert "Forbidden" in done.stderr
    with pytest.raises(ApiError, match="NotFound"):
        pods.admin.request("GET", "/api/v1/namespaces/istio-system/configmaps/bad")

"""The webhooks of the injector and of Galley, called by a real API server by their Services' names."""

from __future__ import annotations

import base64
import shutil
import time
from typing import TYPE_CHECKING

import pytest
import yaml

from pytest_istio.local.images.citadel.authority import Authority
from pytest_istio.local.images.cluster_api import ApiError
from pytest_istio.paths import fixtures_folder
from tests.images.pods import Object, Pods, Running, eventually, istio_objects

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CERTIFICATES = [
    "--caCertFile=/etc/istio/certs/root-cert.pem",
    "--tlsCertFile=/etc/istio/certs/cert-chain.pem",
    "--tlsKeyFile=/etc/istio/certs/key.pem",
    "--healthCheckFile=/health",
]
_REGISTRATIONS = "/apis/admissionregistration.k8s.io/v1"


def mount_certificates(root: Path, authority: Authority, account: str, service: str) -> None:
    """Write the files of a workload's Secret."""
    pair = authority.issue(
        f"spiffe://cluster.local/ns/istio-system/sa/{account}", [f"{service}.istio-system.svc"]
    )
    folder = root / "etc/istio/certs"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "root-cert.pem").write_bytes(authority.root.certificate)
    (folder / "cert-chain.pem").write_bytes(pair.certificate)
    (folder / "key.pem").write_bytes(pair.key)


def mount_config_map(root: Path, path: str, name: str) -> None:
    """Write the files of one of the bundled ConfigMaps."""
    (found,) = [each for each in istio_objects("ConfigMap") if each["metadata"]["name"] == name]
    folder = root / path
    folder.mkdir(parents=True)
    for key, text in found["data"].items():
        (folder / key).write_text(text)


def ca_bundle(pods: Pods, kind: str, name: str) -> bytes:
    """Return the CA bundle of a webhook configuration, empty if there is none."""
    found = pods.admin.request("GET", f"{_REGISTRATIONS}/{kind}/{name}")
    return base64.b64decode(found["webhooks"][0]["clientConfig"].get("caBundle") or "")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.self_signed()


@pytest.fixture(scope="module")
def injector_root(pods: Pods, authority: Authority) -> Path:
    root = pods.root_of("istio-sidecar-injector-service-account")
    mount_certificates(root, authority, "istio-sidecar-injector-service-account", "istio-sidecar-injector")
    mount_config_map(root, "etc/istio/inject", "istio-sidecar-injector")
    mount_config_map(root, "etc/istio/config", "istio")
    return root


@pytest.fixture(scope="module")
def injector(pods: Pods, injector_root: Path) -> Iterator[Running]:
    address = pods.address(10)
    pods.apply(
        *[each for each in istio_objects("Service") if each["metadata"]["name"] == "istio-sidecar-injector"]
    )
    pods.serve("istio-sidecar-injector", address, 443)
    (registration,) = istio_objects("MutatingWebhookConfiguration")
    registration["apiVersion"] = "admissionregistration.k8s.io/v1"
    for hook in registration["webhooks"]:
        hook |= {"admissionReviewVersions": ["v1beta1"], "sideEffects": "None"}
    arguments = [
        *_CERTIFICATES,
        "--injectConfig=/etc/istio/inject/config",
        "--meshConfig=/etc/istio/config/mesh",
        "--healthCheckInterval=2s",
    ]
    with pods.running("sidecar_injector", arguments, injector_root, address) as running:
        eventually((injector_root / "health").exists)
        # The configuration may come after the injector; its health must not depend on that.
        pods.apply(registration)
        eventually(lambda: ca_bundle(pods, "mutatingwebhookconfigurations", "istio-sidecar-injector"))
        yield running
    pods.admin.request("DELETE", f"{_REGISTRATIONS}/mutatingwebhookconfigurations/istio-sidecar-injector")


@pytest.fixture
def namespace(pods: Pods) -> Iterator[str]:
    """A namespace whose pods are injected."""
    labels = {"istio-injection": "enabled"}
    name = "injected"
    metadata = {"name": name, "labels": labels}
    pods.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": name},
    }
    pods.apply(account)
    yield name
    pods.admin.request("DELETE", f"/api/v1/namespaces/{name}/pods")


def pod(name: str, **annotations: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}, "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1", "ports": [{"containerPort": 9080}]}]},
    }


def test_pods_of_labelled_namespaces_are_injected(pods: Pods, injector: Running, namespace: str) -> None:
    created = pods.admin.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod("plain"))
    assert [each["name"] for each in created["spec"]["containers"]] == ["app", "istio-proxy"]
    assert [each["name"] for each in created["spec"]["initContainers"]] == ["istio-init"]
    assert "sidecar.istio.io/status" in created["metadata"]["annotations"]
    assert {each["name"] for each in created["spec"]["volumes"]} >= {"istio-envoy", "istio-certs"}


def test_an_annotation_opts_out(pods: Pods, injector: Running, namespace: str) -> None:
    opted_out = pod("opted-out", **{"sidecar.istio.io/inject": "false"})
    created = pods.admin.request("POST", f"/api/v1/namespaces/{namespace}/pods", opted_out)
    assert [each["name"] for each in created["spec"]["containers"]] == ["app"]


def test_pods_that_cannot_be_injected_are_denied_with_the_reason(
    pods: Pods, injector: Running, injector_root: Path, namespace: str
) -> None:
    config = injector_root / "etc/istio/inject/config"
    good = config.read_text()
    config.write_text("policy: enabled\ntemplate: '[[ if ]]'\n")
    try:
        with pytest.raises(ApiError) as denied:
            pods.admin.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod("broken"))
    finally:
        config.write_text(good)
    assert (
        'admission webhook "sidecar-injector.istio.io" denied the request: '
        "failed to inject the sidecar into pod injected/broken: "
    ) in str(denied.value)


def test_an_emptied_ca_bundle_is_filled_again_within_a_second(pods: Pods, injector: Running) -> None:
    patch = {"webhooks": [{"name": "sidecar-injector.istio.io", "clientConfig": {"caBundle": ""}}]}
    path = f"{_REGISTRATIONS}/mutatingwebhookconfigurations/istio-sidecar-injector"
    content_type = "application/strategic-merge-patch+json"
    pods.admin.request("PATCH", path, patch, content_type=content_type)
    eventually(lambda: ca_bundle(pods, "mutatingwebhookconfigurations", "istio-sidecar-injector"), timeout=1)


def test_a_renewed_certificate_is_served_without_a_restart(
    pods: Pods, injector: Running, injector_root: Path, namespace: str
) -> None:
    other = Authority.self_signed()
    mount_certificates(
        injector_root, other, "istio-sidecar-injector-service-account", "istio-sidecar-injector"
    )
    kind, name = "mutatingwebhookconfigurations", "istio-sidecar-injector"
    eventually(lambda: ca_bundle(pods, kind, name) == other.root.certificate)
    path = f"/api/v1/namespaces/{namespace}/pods"
    created = eventually(lambda: pods.admin.request("POST", path, pod("renewed")))
    assert len(created["spec"]["containers"]) == 2


def test_the_probe_looks_at_the_age_of_the_health_file(
    pods: Pods, injector: Running, injector_root: Path, tmp_path: Path
) -> None:
    arguments = ["/usr/local/bin/sidecar-injector", "probe", "--probe-path=/health", "--interval=4s"]
    assert pods.run("sidecar_injector", arguments, injector_root).returncode == 0
    missing = pods.run("sidecar_injector", arguments, tmp_path)
    assert missing.returncode == 1
    assert "fail on checking the health file" in missing.stderr
    (tmp_path / "health").touch()
    shutil.copystat("/proc/version", tmp_path / "health")
    old = pods.run("sidecar_injector", [*arguments[:-1], "--interval=1ms"], tmp_path)
    assert old.returncode == 1
    assert "1ms" in old.stderr or "0.001 s are allowed" in old.stderr


GALLEY = [
    "/usr/local/bin/galley",
    "validator",
    "--deployment-namespace=istio-system",
    *_CERTIFICATES,
    "--healthCheckInterval=1s",
    "--webhook-config-file",
    "/etc/istio/config/validatingwebhookconfiguration.yaml",
]


@pytest.fixture(scope="module")
def galley_root(pods: Pods, authority: Authority) -> Path:
    account = "istio-galley-service-account"
    root = pods.root_of(account)
    mount_certificates(root, authority, account, "istio-galley")
    mount_config_map(root, "etc/istio/config", "istio-galley-configuration")
    return root


@pytest.fixture(scope="module")
def galley(pods: Pods, galley_root: Path) -> Iterator[Running]:
    address = pods.address(11)
    pods.apply(*[each for each in istio_objects("Service") if each["metadata"]["name"] == "istio-galley"])
    definitions = istio_objects("CustomResourceDefinition", owner="networking.istio.io")
    pods.apply(*[served_definition(each) for each in definitions])
    (deployment,) = [
        each for each in istio_objects("Deployment") if each["metadata"]["name"] == "istio-galley"
    ]
    deployment["apiVersion"] = "apps/v1"
    deployment["spec"]["selector"] = {"matchLabels": deployment["spec"]["template"]["metadata"]["labels"]}
    pods.apply(deployment)
    with pods.running("galley", GALLEY, galley_root, address) as running:
        eventually((galley_root / "health").exists)
        # Not before its Service has an address.
        with pytest.raises(ApiError, match="NotFound"):
            ca_bundle(pods, "validatingwebhookconfigurations", "istio-galley")
        pods.serve("istio-galley", address, 443)
        eventually(lambda: ca_bundle(pods, "validatingwebhookconfigurations", "istio-galley"))
        yield running
    pods.admin.request("DELETE", f"{_REGISTRATIONS}/validatingwebhookconfigurations/istio-galley")


def served_definition(given: Object) -> Object:
    """Return a CustomResourceDefinition for the API version that is served today."""
    spec = {key: given["spec"][key] for key in ("group", "names", "scope")}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": given["spec"]["version"], "served": True, "storage": True, "schema": schema}
    metadata = {"name": given["metadata"]["name"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {**spec, "versions": [version]},
    }


_VIRTUAL_SERVICES = "/apis/networking.istio.io/v1alpha3/namespaces/default/virtualservices"


def sample(name: str) -> Object:
    text = (fixtures_folder() / "bookinfo" / "1.0.5" / "networking" / f"{name}.yaml").read_text()
    return {**yaml.safe_load(text)}


def test_good_configuration_enters_the_cluster(pods: Pods, galley: Running) -> None:
    given = sample("virtual-service-reviews-80-20")
    created = eventually(lambda: pods.admin.request("POST", _VIRTUAL_SERVICES, given))
    assert created["spec"] == given["spec"]
    assert "accepted" in galley.log


def test_bad_configuration_is_refused_in_upstreams_words(pods: Pods, galley: Running) -> None:
    given = sample("virtual-service-reviews-90-10")
    given["metadata"]["name"] = "bad"
    given["spec"]["http"][0]["route"][0]["weight"] = 80
    with pytest.raises(ApiError) as refused:
        pods.admin.request("POST", _VIRTUAL_SERVICES, given)
    assert (
        'admission webhook "pilot.validation.istio.io" denied the request: '
        "configuration is invalid: total destination weight 90 != 100"
    ) in str(refused.value)


def test_server_side_dry_run_is_judged_too(pods: Pods, galley: Running) -> None:
    given = sample("virtual-service-reviews-90-10")
    given["metadata"]["name"] = "dry"
    given["spec"]["typo"] = 1
    with pytest.raises(ApiError, match='unknown field "typo" in VirtualService'):
        pods.admin.request("POST", _VIRTUAL_SERVICES, given, query={"dryRun": "All"})


def test_galley_registers_what_its_file_says_and_owns_it(pods: Pods, galley: Running) -> None:
    path = f"{_REGISTRATIONS}/validatingwebhookconfigurations/istio-galley"
    found = pods.admin.request("GET", path)
    assert [each["name"] for each in found["webhooks"]] == [
        "pilot.validation.istio.io",
        "mixer.validation.istio.io",
    ]
    assert {each["failurePolicy"] for each in found["webhooks"]} == {"Fail"}
    assert [each["kind"] for each in found["metadata"]["ownerReferences"]] == ["Deployment"]


def test_galley_registers_again_what_somebody_deleted_or_changed(pods: Pods, galley: Running) -> None:
    path = f"{_REGISTRATIONS}/validatingwebhookconfigurations/istio-galley"
    first = pods.admin.request("GET", path)
    pods.admin.request("DELETE", path)
    again = eventually(lambda: pods.admin.request("GET", path), timeout=2)
    assert again["metadata"]["uid"] != first["metadata"]["uid"]
    patch: Object = {"webhooks": []}
    pods.admin.request("PATCH", path, patch, content_type="application/merge-patch+json")
    eventually(lambda: len(pods.admin.request("GET", path).get("webhooks") or []) == 2, timeout=2)


def test_galley_leaves_a_configuration_alone_that_is_right(
    pods: Pods, galley: Running, galley_root: Path
) -> None:
    path = f"{_REGISTRATIONS}/validatingwebhookconfigurations/istio-galley"
    eventually(lambda: pods.admin.request("GET", path)["webhooks"])
    with pods.running("galley", GALLEY, galley_root, pods.address(12)) as second:
        eventually(lambda: "serving" in second.log)
        time.sleep(2.5)
    assert "webhooks registered" not in second.log

"""The webhooks of the injector and of Galley, called by a real API server by their Services' names."""

from __future__ import annotations

import base64
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml

from pytest_istio.local.images.citadel.authority import Authority
from pytest_istio.local.images.cluster_api import ApiError
from pytest_istio.paths import fixtures_folder
from tests.images.pods import Object, Pods, Running, eventually, istio_objects, served_definition

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


def trusting(registration: Object, authority: Authority) -> Object:
    """Return a webhook configuration as somebody else registers it where the API of 1.0 is gone."""
    bundle = base64.b64encode(authority.root.certificate).decode()
    served = {"admissionReviewVersions": ["v1beta1"], "sideEffects": "None"}
    webhooks = [
        {**hook, **served, "clientConfig": {**hook["clientConfig"], "caBundle": bundle}}
        for hook in registration["webhooks"]
    ]
    metadata = {"name": registration["metadata"]["name"]}
    return {
        **registration,
        "apiVersion": "admissionregistration.k8s.io/v1",
        "metadata": metadata,
        "webhooks": webhooks,
    }


def patch_authority(pods: Pods, kind: str, name: str, certificate: bytes) -> None:
    """Change the CA bundle of the injector's webhook."""
    config = {"caBundle": base64.b64encode(certificate).decode()}
    pods.admin.request(
        "PATCH",
        f"{_REGISTRATIONS}/{kind}/{name}",
        {"webhooks": [{"name": "sidecar-injector.istio.io", "clientConfig": config}]},
        content_type="application/strategic-merge-patch+json",
    )


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
def injector(pods: Pods, injector_root: Path, authority: Authority) -> Iterator[Running]:
    address = pods.address(10)
    pods.apply(
        *[each for each in istio_objects("Service") if each["metadata"]["name"] == "istio-sidecar-injector"]
    )
    pods.serve("istio-sidecar-injector", address, 443)
    (registration,) = istio_objects("MutatingWebhookConfiguration")
    arguments = [
        *_CERTIFICATES,
        "--injectConfig=/etc/istio/inject/config",
        "--meshConfig=/etc/istio/config/mesh",
        "--healthCheckInterval=2s",
    ]
    with pods.running("sidecar_injector", arguments, injector_root, address) as running:
        eventually((injector_root / "health").exists)
        # The configuration may come after the injector; its health must not depend on that.
        pods.apply(trusting(registration, authority))
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


def test_an_emptied_ca_bundle_stays_empty_where_the_injectors_api_is_gone(
    pods: Pods, injector: Running, authority: Authority
) -> None:
    kind, name = "mutatingwebhookconfigurations", "istio-sidecar-injector"
    patch_authority(pods, kind, name, b"")
    told = injector.log.count("CA bundle not patched")
    # It tries every two seconds.
    eventually(lambda: injector.log.count("CA bundle not patched") > told + 1)
    assert ca_bundle(pods, kind, name) == b""
    patch_authority(pods, kind, name, authority.root.certificate)


def test_a_renewed_certificate_is_served_without_a_restart(
    pods: Pods, injector: Running, injector_root: Path, namespace: str, authority: Authority
) -> None:
    name = "istio-sidecar-injector"
    for number, each in enumerate((Authority.self_signed(), authority)):
        mount_certificates(injector_root, each, f"{name}-service-account", name)
        patch_authority(pods, "mutatingwebhookconfigurations", name, each.root.certificate)
        path, given = f"/api/v1/namespaces/{namespace}/pods", pod(f"renewed-{number}")
        created = eventually(lambda path=path, given=given: pods.admin.request("POST", path, given))
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
def galley(pods: Pods, galley_root: Path, authority: Authority) -> Iterator[Running]:
    address = pods.address(11)
    pods.apply(*[each for each in istio_objects("Service") if each["metadata"]["name"] == "istio-galley"])
    definitions = istio_objects("CustomResourceDefinition", owner="networking.istio.io")
    pods.apply(*[served_definition(each) for each in definitions])
    text = (galley_root / "etc/istio/config/validatingwebhookconfiguration.yaml").read_text()
    with pods.running("galley", GALLEY, galley_root, address) as running:
        eventually((galley_root / "health").exists)
        pods.serve("istio-galley", address, 443)
        # It tries every second.
        eventually(lambda: running.log.count("webhooks not registered") > 1)
        with pytest.raises(ApiError, match="NotFound"):
            ca_bundle(pods, "validatingwebhookconfigurations", "istio-galley")
        pods.apply(trusting(yaml.safe_load(text), authority))
        eventually(lambda: refuses_a_typo(pods))
        yield running
    pods.admin.request("DELETE", f"{_REGISTRATIONS}/validatingwebhookconfigurations/istio-galley")


def refuses_a_typo(pods: Pods) -> bool:
    """Tell whether the webhook is asked already; nothing is created."""
    given = sample("virtual-service-reviews-90-10")
    given["spec"]["typo"] = 1
    try:
        pods.admin.request("POST", _VIRTUAL_SERVICES, given, query={"dryRun": "All"})
    except ApiError as error:
        return 'unknown field "typo"' in str(error)
    return False


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


def test_galley_serves_although_it_cannot_register_itself(pods: Pods, galley: Running) -> None:
    path = f"{_REGISTRATIONS}/validatingwebhookconfigurations/istio-galley"
    before = pods.admin.request("GET", path)["metadata"]["resourceVersion"]
    told = galley.log.count("webhooks not registered")
    eventually(lambda: galley.log.count("webhooks not registered") > told + 1)
    assert pods.admin.request("GET", path)["metadata"]["resourceVersion"] == before

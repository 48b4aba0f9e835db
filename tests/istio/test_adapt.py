"""Adapting a release to what an API server has left behind; that Istio runs so is shown by test_local."""

from __future__ import annotations

import copy
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pytest_istio.errors import ManifestError
from pytest_istio.istio.adapt import Adapted, Registration, adapt
from pytest_istio.istio.catalog import release
from pytest_istio.istio.registration import Registering
from pytest_istio.kube.manifests import load
from pytest_istio.kube.migrate import migrate
from pytest_istio.kube.objects import Ref
from tests.fixtures.bundled import ISTIO
from tests.istio.fake import FakeKube, mesh, obj

if TYPE_CHECKING:
    from collections.abc import Iterable

Object = dict[str, Any]

WORKLOADS = 16
DEFINITIONS = 22
GONE = {
    ("extensions/v1beta1", "Deployment"): WORKLOADS,
    ("extensions/v1beta1", "ReplicaSet"): WORKLOADS,
    ("extensions/v1beta1", "Ingress"): DEFINITIONS,
    ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition"): DEFINITIONS,
    ("admissionregistration.k8s.io/v1beta1", "MutatingWebhookConfiguration"): DEFINITIONS,
    ("admissionregistration.k8s.io/v1beta1", "ValidatingWebhookConfiguration"): DEFINITIONS,
    ("rbac.authorization.k8s.io/v1beta1", "ClusterRole"): DEFINITIONS,
    ("rbac.authorization.k8s.io/v1beta1", "ClusterRoleBinding"): DEFINITIONS,
    ("autoscaling/v2beta1", "HorizontalPodAutoscaler"): 25,
}
"""The minor version without an API; from Kubernetes' deprecated API migration guide."""
SINCE = {
    ("apps/v1", "Deployment"): 9,
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): 16,
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"): 16,
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"): 16,
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): 8,
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): 8,
    ("autoscaling/v2", "HorizontalPodAutoscaler"): 23,
}
ALWAYS = {
    ("batch/v1", "Job"),
    *(("v1", kind) for kind in ("ConfigMap", "Namespace", "Service", "ServiceAccount")),
}

RULES = ("rule kubeattrgenrulerule", "rule tcpkubeattrgenrulerule")
NEWER = (
    *RULES,
    "Deployment istio-pilot",
    "CustomResourceDefinition policies.authentication.istio.io",
    "CustomResourceDefinition meshpolicies.authentication.istio.io",
    "ConfigMap istio",
    "MutatingWebhookConfiguration istio-sidecar-injector",
    "ValidatingWebhookConfiguration istio-galley",
)


def served(minor: int) -> set[tuple[str, str]]:
    """Return what Kubernetes 1.`minor` has of what the release and its manifests need."""
    old = {kind for kind, gone in GONE.items() if minor < gone}
    return old | {kind for kind, since in SINCE.items() if minor >= since} | ALWAYS


def adapted(minor: int, *changes: Object, without: Iterable[str] = ()) -> Adapted:
    """Adapt the bundled manifests with some objects in the place of theirs."""
    named = {(each["kind"], each["metadata"]["name"]): each for each in load(ISTIO).objects}
    named |= {(each["kind"], each["metadata"]["name"]): each for each in changes}
    objects = [each for (kind, name), each in named.items() if f"{kind} {name}" not in without]
    migrated = migrate(objects, served(minor)).objects
    before = copy.deepcopy(migrated)
    found = adapt(migrated, release("1.0.5"), served(minor), "istio-system")
    assert migrated == before, "what is passed in is left alone"
    return found


def told(found: Adapted) -> list[str]:
    return [f"{each.ref.kind} {each.ref.name}" for each in found.adaptations]


def one(found: Adapted, kind: str, name: str) -> Object:
    (obj,) = [each for each in found.objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return obj


@pytest.mark.parametrize(
    ("minor", "expected"), [(15, ()), (16, RULES), (21, RULES), (22, NEWER), (34, NEWER)]
)
def test_only_what_the_kubernetes_version_needs_is_adapted(minor: int, expected: tuple[str, ...]) -> None:
    found = adapted(minor)
    assert told(found) == list(expected)
    assert len(found.objects) == (136 if expected == NEWER else 134)
    assert all(int(each.kubernetes.partition(".")[2]) <= minor for each in found.adaptations)
    assert all(each.why and each.source and each.change for each in found.adaptations)


def test_the_versions_are_those_without_the_api() -> None:
    for spec in release("1.0.5").adaptations:
        assert spec.kubernetes == f"1.{GONE[spec.unserved_kind]}"


def test_everything_else_stays_as_it_is() -> None:
    found = adapted(34)
    refs = {each.ref for each in found.adaptations}
    given = migrate(load(ISTIO).objects, served(34)).objects
    assert [each for each in found.objects if Ref.of(each) not in refs] == [
        each for each in given if Ref.of(each) not in refs
    ]


def test_pilot_makes_no_definitions_and_follows_no_ingresses() -> None:
    found = adapted(34)
    containers = one(found, "Deployment", "istio-pilot")["spec"]["template"]["spec"]["containers"]
    assert [each["name"] for each in containers if "--disable-install-crds" in each["args"]] == ["discovery"]
    text = one(found, "ConfigMap", "istio")["data"]["mesh"]
    before = next(
        each
        for each in load(ISTIO).objects
        if Ref.of(each) == Ref("v1", "ConfigMap", "istio-system", "istio")
    )
    assert yaml.safe_load(text) == {**yaml.safe_load(before["data"]["mesh"]), "ingressControllerMode": "OFF"}
    assert "ingressControllerMode: 'OFF'" in text, "a boolean would undo all of the mesh configuration"
    for plural, scope in (("policies", "Namespaced"), ("meshpolicies", "Cluster")):
        definition = one(found, "CustomResourceDefinition", f"{plural}.authentication.istio.io")
        assert definition["apiVersion"] == "apiextensions.k8s.io/v1"
        assert definition["spec"]["scope"] == scope
        assert "namespace" not in definition["metadata"]


def test_no_rule_uses_the_adapter_any_more_and_none_is_gone() -> None:
    found = adapted(16)
    rules = [each for each in found.objects if each["kind"] == "rule"]
    assert len(rules) == 6
    handlers = Counter(action["handler"] for rule in rules for action in rule["spec"]["actions"])
    assert handlers == {"handler.stdio": 4, "handler.prometheus": 2}
    off = [rule["metadata"]["name"] for rule in rules if rule["spec"].get("match") == "false"]
    assert off == [each.partition(" ")[2] for each in RULES]


@pytest.mark.parametrize(
    "spec", [None, [1], "text", {}, {"actions": 3}, {"actions": [{}]}, {"actions": ["a"]}]
)
def test_rules_of_another_shape_are_left_alone(spec: object) -> None:
    odd = obj("rule", "odd", "config.istio.io/v1alpha2", spec=spec)
    found = adapted(34, odd)
    assert told(found) == list(NEWER)
    assert one(found, "rule", "odd").get("spec") == spec


def test_the_webhooks_are_registered_once_their_servers_run() -> None:
    injector, galley = adapted(34).registrations
    assert (injector.secret, injector.service) == (
        "istio.istio-sidecar-injector-service-account", "istio-sidecar-injector",
    )  # fmt: skip
    assert (galley.secret, galley.service) == ("istio.istio-galley-service-account", "istio-galley")
    assert galley.webhooks["apiVersion"] == "admissionregistration.k8s.io/v1"
    assert "namespace" not in galley.webhooks["metadata"]
    assert [each["admissionReviewVersions"] for each in galley.webhooks["webhooks"]] == [["v1beta1"]] * 2
    assert [each["failurePolicy"] for each in galley.webhooks["webhooks"]] == ["Fail"] * 2
    assert adapted(21).registrations == ()


def test_what_is_so_already_is_no_adaptation() -> None:
    first = adapted(34)
    again = adapt(first.objects, release("1.0.5"), served(34), "istio-system")
    assert again.objects == first.objects
    # What is done at run time is not to be seen in the objects.
    assert told(again) == list(NEWER[-2:])
    assert again.registrations == first.registrations


def test_webhooks_with_an_authority_of_their_own_are_left_alone() -> None:
    given = adapted(34)
    hook = copy.deepcopy(one(given, "MutatingWebhookConfiguration", "istio-sidecar-injector"))
    hook["webhooks"][0]["clientConfig"]["caBundle"] = "Q0E="
    own = {**given.registrations[1].webhooks}
    found = adapt([hook, own], release("1.0.5"), served(34), "istio-system")
    assert found.registrations == ()


def test_webhooks_without_a_service_are_not_registered() -> None:
    hook = copy.deepcopy(one(adapted(34), "MutatingWebhookConfiguration", "istio-sidecar-injector"))
    hook["webhooks"][0]["clientConfig"] = {"url": "https://127.0.0.1:1"}
    found = adapt([hook], release("1.0.5"), served(34), "istio-system")
    assert found.registrations == ()
    assert found.objects[0] == hook


@pytest.mark.parametrize("spec", [None, {}, {"template": 5}, {"template": {"spec": {"containers": [5]}}}])
def test_a_workload_of_another_shape_is_left_to_the_api_server(spec: object) -> None:
    odd = obj("Deployment", "istio-pilot", "apps/v1", spec=spec)
    found = adapt([odd], release("1.0.5"), served(34), "istio-system")
    assert found.objects[0] == odd


def test_what_is_not_installed_is_not_adapted() -> None:
    found = adapted(
        34, without=["Deployment istio-pilot", "ConfigMap istio", "ConfigMap istio-galley-configuration",
                     "MutatingWebhookConfiguration istio-sidecar-injector", *RULES],
    )  # fmt: skip
    assert told(found) == [each for each in NEWER if "authentication" in each]


@pytest.mark.parametrize("text", ["defaultConfig: [unclosed", "since: 2018-99-99"])
def test_a_mesh_configuration_that_is_no_yaml_is_left_to_the_checks(text: str) -> None:
    broken = obj("ConfigMap", "istio", data={"mesh": text})
    found = adapted(34, broken)
    assert one(found, "ConfigMap", "istio") == broken
    assert "ConfigMap istio" not in told(found)


@pytest.mark.parametrize("text", ["[unclosed", "just a text", "kind: ValidatingWebhookConfiguration", ""])
def test_webhooks_that_cannot_be_read_are_named(text: str) -> None:
    broken = obj(
        "ConfigMap", "istio-galley-configuration", data={"validatingwebhookconfiguration.yaml": text}
    )
    with pytest.raises(ManifestError, match="ConfigMap istio-system/istio-galley-configuration, key valid"):
        adapted(34, broken)


def hook(name: str) -> Registration:
    client = {"service": {"name": name, "namespace": "istio-system"}}
    given = obj("ValidatingWebhookConfiguration", name, "admissionregistration.k8s.io/v1", None)
    return Registration({**given, "webhooks": [{"name": "a.b.c", "clientConfig": client}]}, f"istio.{name}")


@pytest.mark.parametrize(
    ("there", "said"),
    [([], "Secret istio-system/istio.galley has no root-cert.pem"),
     ([obj("Secret", "istio.galley", data={"root-cert.pem": "Q0E="})],
      "no ready address is behind Service istio-system/galley")],
)  # fmt: skip
def test_webhooks_whose_server_does_not_run_are_a_trouble_with_its_reason(
    there: list[Object], said: str
) -> None:
    some = obj("Secret", "another")
    given = mesh(FakeKube([some, *there]))
    with Registering(given, [hook("galley")], timeout=20) as registering:
        (trouble,) = registering.troubles(within=0.5)
    assert (trouble.reason, trouble.detail) == ("NotRegistered", said)
    assert trouble.ref.name == "galley"


def test_where_nothing_is_to_be_registered_nothing_is_waited_for() -> None:
    with Registering(mesh(FakeKube()), [], timeout=3600) as registering:
        assert registering.troubles(within=3600) == ()

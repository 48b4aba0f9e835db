"""Manual injection is a pure function whose result is the official one, and which can be repeated."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from pytest_istio.errors import ManifestError
from pytest_istio.istio.inject import (
    InjectionConfig,
    InjectionError,
    SeveralTemplatesError,
    inject,
    injection_required,
    json_patch,
)
from pytest_istio.paths import fixtures_folder
from tests.istio.reference import documents, reference, without_emptiness

TEMPLATE = """\
initContainers:
- name: istio-init
  image: init:1
  args: [-p, [[ .MeshConfig.ProxyListenPort ]], -b, "[[ includeInboundPorts .Spec.Containers ]]"]
  restartPolicy: Always
containers:
- name: istio-proxy
  image: [[ annotation .ObjectMeta `sidecar.istio.io/proxyImage` "proxy:1" ]]
  args:
  - --drain
  - [[ formatDuration .ProxyConfig.DrainDuration ]]
  - --app
  - [[ index .ObjectMeta.Labels "app" ]]
  env:
  - name: ANNOTATIONS
    value: |
      [[ toJson .ObjectMeta.Annotations ]]
  resources:
    requests:
      cpu: "[[ annotation .ObjectMeta `sidecar.istio.io/proxyCPU` `10m` ]]"
volumes:
- name: istio-certs
  secret:
    secretName: [[ printf "istio.%s" (or .Spec.ServiceAccountName "default") ]]
"""
CONFIG = InjectionConfig("enabled", TEMPLATE, {"defaultConfig": {"drainDuration": "60s"}})
KINDS = ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController", "Job")


def pod(**metadata: object) -> dict[str, Any]:
    ports = [{"containerPort": 9080}]
    return {
        "metadata": {"labels": {"app": "on"}, **metadata},
        "spec": {"containers": [{"name": "web", "ports": ports, "startupProbe": {"new": True}}]},
    }


def workload(kind: str = "Deployment", template: dict[str, Any] | None = None) -> dict[str, Any]:
    template = template or pod()
    spec: dict[str, Any] = {"template": template}
    if kind == "CronJob":
        spec = {"jobTemplate": {"spec": spec}}
    return {"apiVersion": "any/v9", "kind": kind, "metadata": {"name": "web"}, "spec": spec}


def containers(template: dict[str, Any]) -> list[str]:
    return [each["name"] for each in template["spec"]["containers"]]


def official() -> InjectionConfig:
    return InjectionConfig.from_manifests(documents(reference("default.yaml")))


def test_bookinfo_comes_out_as_the_official_kube_inject_writes_it() -> None:
    ours = inject(documents(reference("bookinfo.yaml")), official())
    theirs = documents(reference("bookinfo-injected.yaml"))
    assert [without_emptiness(each) for each in ours] == [without_emptiness(each) for each in theirs]


def test_bookinfo_with_the_bundled_configuration_differs_in_the_templates_version_only() -> None:
    folder = fixtures_folder() / "istio" / "1.0.5"
    if not folder.is_dir():
        pytest.skip("the bundled manifests are not there")
    bundled = [each for path in sorted(folder.glob("*.yaml")) for each in documents(path)]
    config = InjectionConfig.from_manifests(bundled)
    ours = json.dumps(
        [without_emptiness(each) for each in inject(documents(reference("bookinfo.yaml")), config)]
    )
    theirs = json.dumps([without_emptiness(each) for each in documents(reference("bookinfo-injected.yaml"))])
    assert json.loads(ours.replace(config.version, official().version)) == json.loads(theirs)


def test_a_second_injection_changes_nothing() -> None:
    once = inject([workload()], CONFIG)
    assert inject(once, CONFIG) == once


def test_a_second_injection_takes_the_newer_template() -> None:
    newer = InjectionConfig("enabled", TEMPLATE.replace("init:1", "init:2"), CONFIG.mesh)
    (twice,) = inject(inject([workload()], CONFIG), newer)
    spec = twice["spec"]["template"]["spec"]
    assert [each["image"] for each in spec["initContainers"]] == ["init:2"]
    assert containers(twice["spec"]["template"]) == ["web", "istio-proxy"]


def test_what_is_passed_in_stays_as_it_is() -> None:
    given = [workload()]
    before = copy.deepcopy(given)
    inject(given, CONFIG)
    assert given == before


def test_fields_newer_than_the_release_are_kept() -> None:
    (result,) = inject([workload()], CONFIG)
    assert result["spec"]["template"]["spec"]["containers"][0]["startupProbe"] == {"new": True}


def test_values_reach_the_container_as_texts() -> None:
    (result,) = inject([workload()], CONFIG)
    spec = result["spec"]["template"]["spec"]
    assert spec["initContainers"][0]["args"] == ["-p", "15001", "-b", "9080"]
    # "on" would be a truth value to YAML 1.1.
    assert spec["containers"][1]["args"] == ["--drain", "1m0s", "--app", "on"]
    assert spec["volumes"][0]["secret"] == {"secretName": "istio.default"}


def test_no_container_becomes_a_native_sidecar() -> None:
    (result,) = inject([workload()], CONFIG)
    spec = result["spec"]["template"]["spec"]
    assert all("restartPolicy" not in each for each in spec["initContainers"] + spec["containers"])


@pytest.mark.parametrize("kind", [*KINDS, "CronJob"])
def test_every_kind_with_a_pod_template_is_injected(kind: str) -> None:
    (result,) = inject([workload(kind)], CONFIG)
    spec = result["spec"]["jobTemplate"]["spec"] if kind == "CronJob" else result["spec"]
    assert containers(spec["template"]) == ["web", "istio-proxy"]
    assert result["apiVersion"] == "any/v9"


def test_pods_and_lists_are_injected_and_other_kinds_are_not() -> None:
    plain = {"apiVersion": "v1", "kind": "Pod", **pod(name="p")}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"template": pod()}}
    (result,) = inject([{"kind": "List", "items": [plain, service]}], CONFIG)
    assert containers(result["items"][0]) == ["web", "istio-proxy"]
    assert result["items"][1] == service


def test_the_status_annotation_names_what_was_added() -> None:
    (result,) = inject([workload()], CONFIG)
    status = json.loads(result["spec"]["template"]["metadata"]["annotations"]["sidecar.istio.io/status"])
    assert status == {
        "version": CONFIG.version,
        "initContainers": ["istio-init"],
        "containers": ["istio-proxy"],
        "volumes": ["istio-certs"],
        "imagePullSecrets": None,
    }


@pytest.mark.parametrize(
    ("annotation", "policy", "expected"),
    [("", "enabled", True), ("", "disabled", False), ("true", "disabled", True), ("Yes", "disabled", True),
     ("false", "enabled", False), ("nonsense", "enabled", False)],
)  # fmt: skip
def test_annotation_and_policy_decide(annotation: str, policy: str, expected: bool) -> None:
    annotations = {"sidecar.istio.io/inject": annotation} if annotation else {}
    assert injection_required(pod(annotations=annotations), "default", policy) is expected


def test_host_network_and_system_namespaces_are_left_alone() -> None:
    assert not injection_required({"spec": {"hostNetwork": True}}, "default")
    assert not injection_required(pod(), "kube-system")
    opted_out = workload(template=pod(annotations={"sidecar.istio.io/inject": "false"}))
    assert inject([opted_out], CONFIG) == [opted_out]


def test_a_quantity_left_empty_names_the_annotations() -> None:
    broken = workload(template=pod(annotations={"sidecar.istio.io/proxyCPU": ""}))
    with pytest.raises(ManifestError, match=r"Deployment web: .*resources.requests.cpu.*proxyMemory"):
        inject([broken], CONFIG)


def test_a_broken_template_names_object_and_line() -> None:
    with pytest.raises(InjectionError, match=r"Deployment web: .* template line 2: "):
        inject([workload()], InjectionConfig("enabled", "a: 1\n[[ .Nowhere.At.All ]]", {}))


@pytest.mark.parametrize(
    "template", ["containers: [{name: a, env: 5}]", "initContainers: [{name: a, resources: [1]}]"]
)
def test_a_template_that_yields_no_containers_names_the_object(template: str) -> None:
    with pytest.raises(InjectionError, match=r"Deployment web: .*ontainers that are not of their shape"):
        inject([workload()], InjectionConfig("enabled", template, {}))


@pytest.mark.parametrize("template", [{"spec": 5}, {"spec": {"containers": [5]}}, {"metadata": 5}])
def test_a_workload_of_another_shape_is_named(template: dict[str, Any]) -> None:
    with pytest.raises(InjectionError, match="Deployment web: it has no pod template, or one of another"):
        inject([workload(template=template)], CONFIG)


def test_several_templates_are_told_from_a_broken_one() -> None:
    with pytest.raises(SeveralTemplatesError, match="only Istio's own programs"):
        InjectionConfig.from_texts("{template: x, templates: {sidecar: x}}", "{}")


def test_manifests_without_the_template_say_what_is_missing() -> None:
    with pytest.raises(InjectionError, match="ConfigMap istio-sidecar-injector"):
        InjectionConfig.from_manifests([])


def patched(target: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """Apply the operations as an API server does."""
    result = copy.deepcopy(target)
    for operation in operations:
        *parents, last = [
            each.replace("~1", "/").replace("~0", "~") for each in operation["path"].split("/")[1:]
        ]
        parent: Any = result
        for key in parents:
            parent = parent[int(key)] if isinstance(parent, list) else parent[key]
        if operation["op"] == "remove":
            del parent[int(last) if isinstance(parent, list) else last]
        elif isinstance(parent, list):
            assert last == "-"
            parent.append(operation["value"])
        else:
            parent[last] = operation["value"]
    return result


@pytest.mark.parametrize("annotations", [None, {}, {"mine": "1"}])
def test_the_webhooks_patch_leads_to_the_same_pod(annotations: dict[str, str] | None) -> None:
    given = pod(annotations=annotations) if annotations is not None else pod()
    (expected,) = inject([{"kind": "Pod", **given}], CONFIG)
    assert patched({"kind": "Pod", **given}, json_patch(given, CONFIG)) == expected


def test_the_webhooks_patch_replaces_an_older_sidecar() -> None:
    (older,) = inject([{"kind": "Pod", **pod()}], CONFIG)
    newer = InjectionConfig("enabled", TEMPLATE.replace("proxy:1", "proxy:2"), CONFIG.mesh)
    (expected,) = inject([older], newer)
    result = patched(older, json_patch(older, newer))
    assert without_emptiness(result) == without_emptiness(expected)
    assert result["spec"]["containers"][1]["image"] == "proxy:2"

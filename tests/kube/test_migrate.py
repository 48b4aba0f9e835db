"""Rules of migration one by one; that a real API server takes the result is shown by test_apply."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from pytest_istio.errors import ManifestError
from pytest_istio.kube.manifests import load, parse
from pytest_istio.kube.migrate import Migrated, _rules, migrate
from pytest_istio.kube.objects import Ref
from tests.istio.reference import reference

SERVED = {
    ("v1", "ConfigMap"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "StatefulSet"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("autoscaling/v2", "HorizontalPodAutoscaler"),
    ("batch/v1", "CronJob"),
    ("batch/v1", "Job"),
    ("networking.k8s.io/v1", "Ingress"),
    ("policy/v1", "PodDisruptionBudget"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
}


def migrated(text: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Migrate one object and return it with the changes that were told."""
    (given,), _ = parse(text, origin="test")
    before = copy.deepcopy(given)
    found = migrate([given], SERVED)
    assert given == before
    ((rewrite,), (obj,)) = found.rewrites, found.objects
    assert rewrite.ref == Ref.of(given)
    assert rewrite.to == obj["apiVersion"]
    return obj, rewrite.changes


DEPLOYMENT = """
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {name: a, namespace: n}
spec: {template: {metadata: {labels: {app: a}}, spec: {containers: []}}}
"""


def test_a_deployment_keeps_the_defaults_of_its_time() -> None:
    obj, changes = migrated(DEPLOYMENT)
    assert obj["apiVersion"] == "apps/v1"
    assert obj["spec"] == {
        "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": []}},
        "selector": {"matchLabels": {"app": "a"}},
        "revisionHistoryLimit": 2147483647,
        "progressDeadlineSeconds": 2147483647,
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}},
    }
    assert len(changes) == 5
    assert "spec.selector = the labels of the template, the old default" in changes


def test_what_a_deployment_says_itself_stays() -> None:
    said = (
        "selector: {matchLabels: {x: y}}, revisionHistoryLimit: 3, progressDeadlineSeconds: 9, "
        "rollbackTo: {revision: 1}, strategy: {rollingUpdate: {maxUnavailable: 0}}"
    )
    obj, changes = migrated(DEPLOYMENT.replace("spec: {", f"spec: {{{said}, "))
    spec = obj["spec"]
    assert spec["selector"] == {"matchLabels": {"x": "y"}}
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (3, 9)
    assert spec["strategy"] == {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert "rollbackTo" not in spec
    assert changes == (
        "spec.rollbackTo removed: rollbacks are made by the client",
        "spec.strategy.rollingUpdate.maxSurge = 1, the old default",
    )


def test_a_deployment_that_is_recreated_gets_no_rolling_update() -> None:
    obj, _ = migrated(DEPLOYMENT.replace("spec: {", "spec: {strategy: {type: Recreate}, "))
    assert obj["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(("version", "kept"), [("apps/v1beta1", True), ("apps/v1beta2", False)])
def test_stateful_sets_are_updated_as_they_were(version: str, kept: bool) -> None:  # a parameter
    text = DEPLOYMENT.replace("extensions/v1beta1", version).replace("Deployment", "StatefulSet")
    obj, _ = migrated(text)
    assert obj["spec"].get("updateStrategy") == ({"type": "OnDelete"} if kept else None)


def test_daemon_sets_lose_what_the_server_counts() -> None:
    text = DEPLOYMENT.replace("Deployment", "DaemonSet").replace("spec: {", "spec: {templateGeneration: 2, ")
    obj, changes = migrated(text)
    assert "templateGeneration" not in obj["spec"]
    assert obj["spec"]["updateStrategy"] == {"type": "OnDelete"}
    assert "spec.templateGeneration removed: counted by the server" in changes


CRD = """
apiVersion: apiextensions.k8s.io/v1beta1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  names: {kind: Thing, plural: things}
"""
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def test_a_crd_of_one_version_keeps_unknown_fields() -> None:
    obj, changes = migrated(
        CRD + "  version: v1alpha3\n  preserveUnknownFields: true\nstatus: {conditions: []}\n"
    )
    assert obj["spec"] == {
        "group": "example.com",
        "names": {"kind": "Thing", "plural": "things"},
        "scope": "Namespaced",
        "versions": [
            {"name": "v1alpha3", "served": True, "storage": True, "schema": {"openAPIV3Schema": OPEN}}
        ],
    }
    assert "status" not in obj
    assert "spec.versions = v1alpha3" in changes


def test_what_a_crd_says_for_all_versions_is_said_by_each() -> None:
    obj, changes = migrated(
        CRD
        + """
  scope: Cluster
  validation: {openAPIV3Schema: {properties: {spec: {type: object, properties: {n: {type: integer}}}}}}
  subresources: {status: {}}
  additionalPrinterColumns: [{name: Age, type: date, JSONPath: .metadata.creationTimestamp}]
  versions: [{name: v1, served: true, storage: true}, {name: v2, served: true, storage: false}]
  conversion: {strategy: Webhook, webhookClientConfig: {url: "https://x"}}
"""
    )
    spec = obj["spec"]
    assert spec["scope"] == "Cluster"
    for version in spec["versions"]:
        assert version["subresources"] == {"status": {}}
        assert version["additionalPrinterColumns"] == [
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
        ]
    assert not {"validation", "subresources", "additionalPrinterColumns", "version"} & spec.keys()
    assert spec["conversion"] == {
        "strategy": "Webhook",
        "webhook": {"clientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1beta1"]},
    }
    assert spec["versions"][1]["schema"] == {"openAPIV3Schema": OPEN}
    assert "validation of v1 removed: its schema leaves types open" in changes


def test_a_structural_schema_of_a_crd_is_kept() -> None:
    schema = "{type: object, properties: {spec: {type: array, items: {type: string}}}}"
    obj, _ = migrated(CRD + f"  version: v1\n  validation: {{openAPIV3Schema: {schema}}}\n")
    (version,) = obj["spec"]["versions"]
    assert version["schema"]["openAPIV3Schema"] == {
        **OPEN,
        "properties": {"spec": {"type": "array", "items": {"type": "string"}}},
    }


def test_a_crd_in_a_group_of_kubernetes_says_that_nobody_approved_it() -> None:
    obj, _ = migrated(CRD.replace("example.com", "certmanager.k8s.io") + "  version: v1alpha1\n")
    assert obj["metadata"]["annotations"]["api-approved.kubernetes.io"].startswith("unapproved")


def test_webhooks_keep_the_defaults_of_their_time_and_are_in_no_namespace() -> None:
    obj, changes = migrated("""
apiVersion: admissionregistration.k8s.io/v1beta1
kind: MutatingWebhookConfiguration
metadata: {name: a, namespace: istio-system}
webhooks:
- {name: one.example.com, clientConfig: {caBundle: ""}}
- {name: two.example.com, clientConfig: {}, failurePolicy: Fail, sideEffects: NoneOnDryRun, timeoutSeconds: 5}
""")
    assert obj["metadata"] == {"name": "a"}
    one, two = obj["webhooks"]
    assert one == {
        "name": "one.example.com",
        "clientConfig": {"caBundle": ""},
        "admissionReviewVersions": ["v1beta1"],
        "failurePolicy": "Ignore",
        "matchPolicy": "Exact",
        "sideEffects": "None",
        "timeoutSeconds": 30,
    }
    assert (two["failurePolicy"], two["sideEffects"], two["timeoutSeconds"]) == ("Fail", "NoneOnDryRun", 5)
    assert "metadata.namespace removed: belongs to the whole cluster" in changes


def test_autoscalers_write_their_targets_as_objects() -> None:
    obj, changes = migrated("""
apiVersion: autoscaling/v2beta1
kind: HorizontalPodAutoscaler
metadata: {name: a, namespace: n}
spec:
  scaleTargetRef: {apiVersion: apps/v1beta1, kind: Deployment, name: a}
  metrics:
  - {type: Resource, resource: {name: cpu, targetAverageUtilization: 80}}
  - {type: Resource, resource: {name: memory, targetAverageValue: 1Gi}}
  - {type: Pods, pods: {metricName: p, targetAverageValue: "5"}}
  - {type: Object, object: {metricName: o, targetValue: "7", target: {kind: Service, name: s}}}
  - type: External
    external: {metricName: e, metricSelector: {matchLabels: {a: b}}, targetAverageValue: "3"}
""")
    assert obj["spec"]["scaleTargetRef"]["apiVersion"] == "apps/v1"
    assert [metric[metric["type"].lower()] for metric in obj["spec"]["metrics"]] == [
        {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
        {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
        {"metric": {"name": "p"}, "target": {"type": "AverageValue", "averageValue": "5"}},
        {
            "metric": {"name": "o"},
            "describedObject": {"kind": "Service", "name": "s"},
            "target": {"type": "Value", "value": "7"},
        },
        {
            "metric": {"name": "e", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "AverageValue", "averageValue": "3"},
        },
    ]
    assert "metric cpu: target Utilization 80" in changes


def test_an_empty_selector_of_a_budget_goes_on_selecting_nothing() -> None:
    obj, _ = migrated("{apiVersion: policy/v1beta1, kind: PodDisruptionBudget, metadata: {name: a}, "
                      "spec: {minAvailable: 1, selector: {}}}")  # fmt: skip
    assert obj["spec"] == {"minAvailable": 1}


def test_an_ingress_writes_its_backends_as_objects() -> None:
    obj, _ = migrated("""
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: a, namespace: n}
spec:
  backend: {serviceName: d, servicePort: 80}
  rules:
  - http: {paths: [{path: /login, backend: {serviceName: p, servicePort: http}}]}
  - host: only.example.com
""")
    assert obj["spec"] == {
        "defaultBackend": {"service": {"name": "d", "port": {"number": 80}}},
        "rules": [
            {
                "http": {
                    "paths": [
                        {
                            "path": "/login",
                            "pathType": "ImplementationSpecific",
                            "backend": {"service": {"name": "p", "port": {"name": "http"}}},
                        }
                    ]
                }
            },
            {"host": "only.example.com"},
        ],
    }


def test_what_is_served_stays_untouched_but_for_an_empty_spec() -> None:
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "n"}, "spec": {}}
    empty = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "spec": None}
    found = migrate([job, empty], SERVED)
    assert found == Migrated((job, {key: empty[key] for key in ("apiVersion", "kind", "metadata")}), (), ())


def test_what_an_older_server_has_stays_untouched() -> None:
    objects = [yaml.safe_load(DEPLOYMENT)]
    assert migrate(objects, {("extensions/v1beta1", "Deployment")}).objects == tuple(objects)


def test_kinds_of_the_crds_among_the_objects_count_as_served() -> None:
    thing = {"apiVersion": "example.com/v1alpha3", "kind": "Thing", "metadata": {"name": "a"}}
    objects = [yaml.safe_load(CRD + "  version: v1alpha3"), thing]
    assert len(migrate(objects, SERVED).rewrites) == 1


AUTOSCALER = "apiVersion: autoscaling/v2beta1, kind: HorizontalPodAutoscaler, metadata: {name: a}"
UNSERVED = {
    "unknown kind": (
        "{apiVersion: example.com/v1, kind: Thing, metadata: {name: a, namespace: n}}",
        "Thing n/a: example.com/v1 is not served by this cluster, and nothing is known to take its place.",
    ),
    "no successor": (
        "{apiVersion: policy/v1beta1, kind: PodSecurityPolicy, metadata: {name: a}}",
        "PodSecurityPolicy a: policy/v1beta1 is not served by this cluster, and nothing is known",
    ),
    "successor not served": (
        "{apiVersion: storage.k8s.io/v1beta1, kind: StorageClass, metadata: {name: a}}",
        "and neither is storage.k8s.io/v1.",
    ),
}
REFUSED = {
    "a spec that is a list": (
        "{apiVersion: extensions/v1beta1, kind: Ingress, metadata: {name: a}, spec: [1]}",
        "Ingress a: cannot be rewritten from extensions/v1beta1 to networking.k8s.io/v1, since its shape is",
    ),
    "a template without labels": (
        DEPLOYMENT.replace("metadata: {labels: {app: a}}, ", ""),
        "KeyError: 'metadata'",
    ),
    "an unknown metric": (
        f"{{{AUTOSCALER}, spec: {{scaleTargetRef: {{}}, metrics: [{{type: Odd, odd: {{}}}}]}}}}",
        "KeyError: 'Odd'",
    ),
    "the same in two versions": (
        f"{DEPLOYMENT}---{DEPLOYMENT.replace('extensions/v1beta1', 'apps/v1')}",
        "Deployment n/a: is there twice, under apps/v1 and another API version.",
    ),
}


@pytest.mark.parametrize("name", UNSERVED)
def test_what_the_server_does_not_take_is_told_apart_with_the_reason(name: str) -> None:
    text, message = UNSERVED[name]
    objects, _ = parse(f"{text}\n---{DEPLOYMENT}", origin="test")
    found = migrate(objects, SERVED)
    assert [each["kind"] for each in found.objects] == ["Deployment"]
    assert [each.ref for each in found.unserved] == [Ref.of(objects[0])]
    assert message in found.unserved[0].why
    assert "\n" not in found.unserved[0].why


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_rewritten_is_named_with_the_reason(name: str) -> None:
    text, message = REFUSED[name]
    objects, _ = parse(text, origin="test")
    with pytest.raises(ManifestError) as caught:
        migrate(objects, SERVED)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


WORDS = """
spec group names kind plural versions version name served validation openAPIV3Schema properties items
metrics type resource targetAverageUtilization rules http paths backend serviceName servicePort strategy
template metadata labels conversion webhooks webhookClientConfig scaleTargetRef selector updateStrategy
"""
FIELDS = st.sampled_from(WORDS.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "Webhook", "Resource", "Pods"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=15,
)
RULES = _rules()
POD = {"template": {"spec": {"containers": []}}}
LEAST = {
    "CustomResourceDefinition": {"group": "g", "names": {"kind": "K", "plural": "ks"}},
    **dict.fromkeys(("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"), POD),
}
"""What a spec must say for its object to be read at all."""


@settings(max_examples=200, deadline=None)
@drawn(st.sampled_from(sorted(RULES)), st.dictionaries(FIELDS, JSON, max_size=4))
def test_any_shape_that_can_be_read_is_migrated_or_refused(
    given: tuple[str, str], fields: dict[str, Any]
) -> None:
    version, kind = given
    obj = {**fields, "apiVersion": version, "kind": kind, "metadata": {"name": "a"}}
    obj["spec"] = {**LEAST.get(kind, {}), **fields}
    with suppress(ManifestError):
        objects, _ = parse(json.dumps(obj), origin="drawn")
        migrate(objects, {(RULES[given].to, kind)})


def test_the_official_render_is_rewritten_as_the_server_wants_it() -> None:
    core = {("v1", "Service"), ("v1", "ServiceAccount")}
    found = migrate(load(reference("default.yaml")).objects, SERVED | core)
    assert len(found.objects) == 133
    counted: dict[str, int] = {}
    for rewrite in found.rewrites:
        counted[rewrite.to] = counted.get(rewrite.to, 0) + 1
    assert counted == {
        "admissionregistration.k8s.io/v1": 1,
        "apiextensions.k8s.io/v1": 48,
        "apps/v1": 9,
        "autoscaling/v2": 5,
        "rbac.authorization.k8s.io/v1": 20,
    }

"""What moves from one API version to the next, where a rule of ``migrations.yaml`` needs more than data.

Each function changes the object in place and gives a sentence for each thing that it did. An object of
another shape than its kind's makes it raise KeyError, TypeError, AttributeError or ValueError, which
`pytest_istio.kube.migrate` reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.kube.objects import Object

__all__ = [
    "budget_selector",
    "crd_approval",
    "crd_conversion",
    "crd_versions",
    "hpa_scale_target",
    "hpa_targets",
    "ingress_backends",
    "rolling_update_one_by_one",
    "selector_of_template",
    "webhook_defaults",
]

WORKLOADS = frozenset({"extensions/v1beta1", "apps/v1beta1", "apps/v1beta2"})
"""Former API versions of Deployment, StatefulSet, DaemonSet and ReplicaSet."""


def selector_of_template(obj: Object) -> Iterator[str]:
    """Select the pods by the template's labels, which the old version did where nothing was said."""
    spec = obj["spec"]
    if not spec.get("selector"):
        spec["selector"] = {"matchLabels": dict(spec["template"]["metadata"]["labels"])}
        yield "spec.selector = the labels of the template, the old default"


def rolling_update_one_by_one(obj: Object) -> Iterator[str]:
    """Replace one pod at a time where nothing is said; apps/v1 would replace a quarter of them."""
    strategy = _below(obj["spec"], "strategy")
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return
    rolling = _below(strategy, "rollingUpdate")
    for name in ("maxSurge", "maxUnavailable"):
        if rolling.get(name) is None:
            rolling[name] = 1
            yield f"spec.strategy.rollingUpdate.{name} = 1, the old default"


def crd_versions(obj: Object) -> Iterator[str]:
    """Give each version of a custom resource its own schema, subresources and columns."""
    spec = obj["spec"]
    name = spec.pop("version", None)
    versions = spec.get("versions") or [{"name": name, "served": True, "storage": True}]
    spec["versions"] = versions
    yield f"spec.versions = {', '.join(version['name'] for version in versions)}"
    shared = {key: spec.pop(key, None) for key in ("validation", "subresources", "additionalPrinterColumns")}
    for version in versions:
        yield from _crd_schema(version, version.get("schema") or shared["validation"] or {})
        for key in ("subresources", "additionalPrinterColumns"):
            if version.get(key) is None and shared[key] is not None:
                version[key] = shared[key]
        for column in version.get("additionalPrinterColumns") or []:
            if "JSONPath" in column:
                column["jsonPath"] = column.pop("JSONPath")
                yield f"column {column['name']} of {version['name']}: JSONPath is called jsonPath"


def _crd_schema(version: Object, validation: Object) -> Iterator[str]:
    """Keep the schema where the new version takes it; either way unknown fields stay, as they did."""
    schema = validation.get("openAPIV3Schema") or {}
    if schema and not _is_structural(schema):
        yield f"validation of {version['name']} removed: its schema leaves types open"
        schema = {}
    version["schema"] = {
        "openAPIV3Schema": {**schema, "type": "object", "x-kubernetes-preserve-unknown-fields": True}
    }
    yield f"schema of {version['name']} keeps unknown fields, the old default"


def _is_structural(schema: Object) -> bool:
    """Return whether each field of the schema has one type."""
    parts = [
        *(schema.get("properties") or {}).values(),
        *(schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)),
    ]
    typed = schema.get("type") or schema.get("x-kubernetes-int-or-string")
    return bool(typed) and "$ref" not in schema and all(_is_structural(part) for part in parts)


def crd_conversion(obj: Object) -> Iterator[str]:
    """Move the settings of a conversion webhook below one field."""
    conversion = obj["spec"].get("conversion") or {}
    if conversion.get("strategy") == "Webhook":
        conversion["webhook"] = {
            "clientConfig": conversion.pop("webhookClientConfig"),
            "conversionReviewVersions": conversion.pop("conversionReviewVersions", None) or ["v1beta1"],
        }
        yield "spec.conversion.webhook holds the conversion webhook"


def crd_approval(obj: Object) -> Iterator[str]:
    """Say of a CRD in a group of Kubernetes' own that nobody approved it, which the new version requires."""
    group = obj["spec"]["group"]
    if f".{group}".endswith((".k8s.io", ".kubernetes.io")):
        annotations = _below(obj["metadata"], "annotations")
        if "api-approved.kubernetes.io" not in annotations:
            annotations["api-approved.kubernetes.io"] = "unapproved, older than the requirement"
            yield f"annotation api-approved.kubernetes.io, required in the group {group}"


def webhook_defaults(obj: Object) -> Iterator[str]:
    """Fill in what the old version filled in otherwise, and what the new one requires.

    The servers behind webhooks of that time answer the review version v1beta1 only.
    """
    defaults = {
        "admissionReviewVersions": ["v1beta1"],
        "failurePolicy": "Ignore",
        "matchPolicy": "Exact",
        "timeoutSeconds": 30,
    }
    for webhook in obj.get("webhooks") or []:
        for key, value in defaults.items():
            if webhook.get(key) is None:
                webhook[key] = value
                yield f"{webhook['name']}: {key} = {value}, the old default"
        if webhook.get("sideEffects") not in {"None", "NoneOnDryRun"}:
            before = webhook.get("sideEffects") or "Unknown"
            webhook["sideEffects"] = "None"
            yield f"{webhook['name']}: sideEffects = None instead of {before}, which is no longer accepted"


def hpa_targets(obj: Object) -> Iterator[str]:
    """Write the targets of autoscaling/v2beta1 as autoscaling/v2 does."""
    for metric in obj["spec"].get("metrics") or []:
        kind = metric["type"]
        source = metric[kind[:1].lower() + kind[1:]]
        _METRICS[kind](source)
        target = " ".join(str(value) for value in source["target"].values())
        yield f"metric {_metric_name(source)}: target {target}"


def _resource_metric(source: Object) -> None:
    utilization = source.pop("targetAverageUtilization", None)
    average = source.pop("targetAverageValue", None)
    if utilization is not None:
        source["target"] = {"type": "Utilization", "averageUtilization": utilization}
    else:
        source["target"] = {"type": "AverageValue", "averageValue": average}


def _pods_metric(source: Object) -> None:
    source["metric"] = _metric(source, "selector")
    source["target"] = {"type": "AverageValue", "averageValue": source.pop("targetAverageValue")}


def _object_metric(source: Object) -> None:
    source["describedObject"] = source.pop("target")
    source["metric"] = _metric(source, "selector")
    source["target"] = _value_target(source.pop("targetValue", None), source.pop("averageValue", None))


def _external_metric(source: Object) -> None:
    source["metric"] = _metric(source, "metricSelector")
    source["target"] = _value_target(source.pop("targetValue", None), source.pop("targetAverageValue", None))


_METRICS = {
    "Resource": _resource_metric,
    "ContainerResource": _resource_metric,
    "Pods": _pods_metric,
    "Object": _object_metric,
    "External": _external_metric,
}


def _metric(source: Object, selector: str) -> Object:
    metric = {"name": source.pop("metricName"), "selector": source.pop(selector, None)}
    return {key: value for key, value in metric.items() if value is not None}


def _metric_name(source: Object) -> str:
    return str(source["metric"]["name"] if "metric" in source else source["name"])


def _value_target(value: object, average: object) -> Object:
    if average is not None:
        return {"type": "AverageValue", "averageValue": average}
    return {"type": "Value", "value": value}


def hpa_scale_target(obj: Object) -> Iterator[str]:
    """Scale the workload in the API version that it is rewritten to."""
    target = obj["spec"]["scaleTargetRef"]
    before = target.get("apiVersion")
    if before in WORKLOADS:
        target["apiVersion"] = "apps/v1"
        yield f"spec.scaleTargetRef.apiVersion = apps/v1 instead of {before}"


def budget_selector(obj: Object) -> Iterator[str]:
    """Keep an empty selector selecting nothing; in policy/v1 it selects all pods of the namespace."""
    spec = obj["spec"]
    if spec.get("selector") == {}:
        del spec["selector"]
        yield "spec.selector removed: empty, it would select every pod"


def ingress_backends(obj: Object) -> Iterator[str]:
    """Write the backends as objects and say how paths match."""
    spec = obj["spec"]
    if spec.get("backend") is not None:
        spec["defaultBackend"] = _ingress_backend(spec.pop("backend"))
        yield "spec.backend is called spec.defaultBackend"
    for rule in spec.get("rules") or []:
        for path in (rule.get("http") or {}).get("paths") or []:
            path["backend"] = _ingress_backend(path["backend"])
            if path.get("pathType") is None:
                path["pathType"] = "ImplementationSpecific"
            yield f"path {path.get('path') or '/'}: backend as an object, pathType {path['pathType']}"


def _ingress_backend(backend: Object) -> Object:
    if "serviceName" not in backend:
        return backend
    port = backend["servicePort"]
    return {
        "service": {
            "name": backend["serviceName"],
            "port": {"number": port} if isinstance(port, int) else {"name": port},
        }
    }


def _below(parent: Object, name: str) -> Object:
    """Return the object in that field, made where there is none."""
    if parent.get(name) is None:
        parent[name] = {}
    below: Object = parent[name]
    return below

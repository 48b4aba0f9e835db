"""Putting the sidecar into pods: what ``istioctl kube-inject`` and the injector's webhook do.

Both the program's own manual injection and the stand-in of the sidecar injector go through `inject_pod`. The
result is that of Istio 1.0.5, with these differences from its ``istioctl``, all deliberate:

* a second injection replaces the first instead of doubling it, as the webhook has always done;
* the annotation ``sidecar.istio.io/inject: "false"`` is honoured; 1.0.5 honours it in the webhook only;
* fields that Kubernetes 1.10 did not know are kept; 1.0.5 drops them without a word.

The template of 1.0.5 asks for ``restartPolicy: Always`` on containers, a field that containers did not have
in its day and that was therefore dropped. It is dropped here too: a current API server would take the init
container of the iptables rules for a native sidecar, and restart it for ever.
"""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from pytest_istio.errors import ManifestError
from pytest_istio.istio.inject_functions import FUNCTIONS
from pytest_istio.istio.meshconfig import mesh_structs, pod_structs
from pytest_istio.istio.template import render

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_istio.kube.objects import Object

__all__ = [
    "InjectionConfig",
    "InjectionError",
    "SeveralTemplatesError",
    "inject",
    "inject_pod",
    "injection_required",
    "json_patch",
]

INJECT = "sidecar.istio.io/inject"
STATUS = "sidecar.istio.io/status"
PARTS = ("initContainers", "containers", "volumes", "imagePullSecrets")
LEGACY = {"initContainers": ["istio-init", "enable-core-dump"], "containers": ["istio-proxy"],
          "volumes": ["istio-certs", "istio-envoy"], "imagePullSecrets": []}  # fmt: skip
"""What a pod that carries no status was given by injectors older than the status annotation."""
EXEMPT_NAMESPACES = ("kube-system", "kube-public")
WORKLOADS = ("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "ReplicationController", "Job",
             "DeploymentConfig")  # fmt: skip


class InjectionError(ManifestError):
    """A sidecar cannot be put into a pod: the configuration or an annotation is wrong."""


class SeveralTemplatesError(InjectionError):
    """The injector has several templates, as releases later than 1.4 do; only their own programs know how."""


@dataclass(frozen=True)
class InjectionConfig:
    """What the injector is told by the ConfigMaps ``istio-sidecar-injector`` and ``istio``.

    Attributes:
        policy: ``enabled`` or ``disabled``: what happens to pods without an annotation.
        template: The template of the parts that are added.
        mesh: The mesh configuration.
    """

    policy: str
    template: str
    mesh: Mapping[str, Any]

    @classmethod
    def from_texts(cls, config: str, mesh: str) -> InjectionConfig:
        """Return the configuration from the texts under the keys ``config`` and ``mesh`` of the ConfigMaps.

        Raises:
            InjectionError: A text is not YAML, or the template is missing.
            SeveralTemplatesError: There are several.
        """
        injector = _mapping(config, "the key 'config' of ConfigMap istio-sidecar-injector")
        if "templates" in injector:
            raise SeveralTemplatesError(
                "ConfigMap istio-sidecar-injector holds several templates, which only Istio's own programs "
                "can evaluate"
            )
        template = injector.get("template")
        if not isinstance(template, str):
            raise InjectionError("ConfigMap istio-sidecar-injector: its key 'config' holds no template")
        return cls(
            policy=str(injector.get("policy", "disabled")),
            template=template,
            mesh=_mapping(mesh, "the key 'mesh' of ConfigMap istio"),
        )

    @classmethod
    def from_manifests(cls, objects: Iterable[Object]) -> InjectionConfig:
        """Return the configuration that manifests of Istio hold.

        Raises:
            InjectionError: One of the two ConfigMaps is missing or malformed.
        """
        data = {
            each["metadata"]["name"]: each.get("data") or {}
            for each in objects
            if each["kind"] == "ConfigMap"
        }
        texts = []
        for name, key in (("istio-sidecar-injector", "config"), ("istio", "mesh")):
            if key not in data.get(name, {}):
                raise InjectionError(
                    f"ConfigMap {name} with the key {key!r} is not among the manifests, so nothing says "
                    "what an injected pod looks like; manual injection needs it"
                )
            texts.append(data[name][key])
        return cls.from_texts(*texts)

    @property
    def version(self) -> str:
        """What the status annotation calls the template: its SHA-256."""
        return hashlib.sha256(self.template.encode()).hexdigest()


def injection_required(pod: Object, namespace: str | None, policy: str = "enabled") -> bool:
    """Return whether the injector puts a sidecar into a pod.

    Args:
        pod: A pod or a pod template.
        namespace: The namespace the pod goes to; None when it is not known.
        policy: ``enabled`` or ``disabled``: what happens to pods without an annotation.
    """
    if (pod.get("spec") or {}).get("hostNetwork") or namespace in EXEMPT_NAMESPACES:
        return False
    wish = ((pod.get("metadata") or {}).get("annotations") or {}).get(INJECT, "")
    if wish.lower() in ("y", "yes", "true", "on"):
        return True
    return wish == "" and policy == "enabled"


def inject(objects: Iterable[Object], config: InjectionConfig) -> list[Object]:
    """Return the objects with the sidecar in every pod and pod template that takes one.

    The kind decides, whatever the apiVersion; other objects are returned as they are. Nothing that is
    passed in is changed. Asking for manual injection overrides a policy of ``disabled``, as it does upstream.

    Raises:
        InjectionError: The template or an annotation of a pod cannot be used; names the object.
    """
    return [_inject_object(each, config) for each in objects]


def _inject_object(given: Object, config: InjectionConfig) -> Object:
    kind = given.get("kind")
    if kind == "List":
        return {**given, "items": inject(given.get("items") or [], config)}
    if kind == "Pod":
        path: tuple[str, ...] = ()
    elif kind == "CronJob":
        path = ("spec", "jobTemplate", "spec", "template")
    elif kind in WORKLOADS:
        path = ("spec", "template")
    else:
        return given
    result = parent = copy.deepcopy(given)
    metadata = given.get("metadata") or {}
    try:
        for key in path[:-1]:
            parent = parent[key]
        pod = parent[path[-1]] if path else parent
        if injection_required(pod, metadata.get("namespace")):
            injected = inject_pod(pod, config)
            result = injected if not path else result
            if path:
                parent[path[-1]] = injected
    except (KeyError, TypeError, AttributeError) as error:
        raise InjectionError(
            f"{kind} {metadata.get('name')}: it has no pod template, or one of another shape ({error!r})"
        ) from error
    except ManifestError as error:
        raise InjectionError(f"{kind} {metadata.get('name')}: no sidecar can be injected: {error}") from error
    return result


def inject_pod(pod: Object, config: InjectionConfig) -> Object:
    """Return a pod, or a pod template, with the sidecar that `config` describes.

    What an earlier injection added is replaced.

    Raises:
        ManifestError: The template cannot be evaluated for this pod, or yields no valid containers.
    """
    bare = _without_sidecar(pod)
    added = _rendered(bare, config)
    for part in PARTS:
        if added[part]:
            bare["spec"][part] = [*(bare["spec"].get(part) or []), *added[part]]
    names = {part: [each["name"] for each in added[part]] or None for part in PARTS}
    status = json.dumps({"version": config.version, **names}, separators=(",", ":"))
    bare["metadata"]["annotations"] = {**(bare["metadata"].get("annotations") or {}), STATUS: status}
    return bare


def _without_sidecar(pod: Object) -> Object:
    """Return a copy of the pod without what an injector has added before."""
    bare = copy.deepcopy(pod)
    metadata = bare["metadata"] = bare.get("metadata") or {}
    spec = bare["spec"] = bare.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    names = _injected_names(annotations.pop(STATUS, None))
    for part in PARTS:
        if part in spec:
            spec[part] = [each for each in spec[part] or [] if each.get("name") not in names[part]]
            if not spec[part] and part != "containers":
                del spec[part]
    if "annotations" in metadata and not annotations:
        del metadata["annotations"]
    return bare


def _injected_names(status: str | None) -> Mapping[str, list[str]]:
    if status is None:
        return LEGACY
    try:
        recorded = json.loads(status)
        return {part: list(recorded.get(part) or []) for part in PARTS}
    except (ValueError, AttributeError, TypeError):
        return LEGACY


def _rendered(pod: Object, config: InjectionConfig) -> dict[str, list[Object]]:
    """Return what the template makes of a pod, by part."""
    data = {**pod_structs(pod), **mesh_structs(config.mesh)}
    text = render(config.template, data, FUNCTIONS, left="[[", right="]]")
    made = _mapping(text, "the text that the injection template yields")
    # The same text with every scalar as it is written: `15001` among arguments is the text "15001".
    written = yaml.load(text, Loader=yaml.CBaseLoader)  # noqa: S506  # makes texts only, no objects
    parts: dict[str, list[Object]] = {}
    for part in PARTS:
        listed = made.get(part) or []
        if not isinstance(listed, list) or not all(
            isinstance(each, dict) and "name" in each for each in listed
        ):
            raise InjectionError(f"the injection template yields {part} that are no list of named objects")
        parts[part] = listed
    for part in ("initContainers", "containers"):
        pairs = zip(parts[part], written.get(part) or [], strict=True)
        try:
            parts[part] = [_container(each, as_written) for each, as_written in pairs]
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise InjectionError(
                f"the injection template yields {part} that are not of their shape ({error})"
            ) from error
    return parts


def _container(made: Object, written: Object) -> Object:
    """Return a container with texts wherever the API wants texts."""
    container = {key: value for key, value in made.items() if key != "restartPolicy"}
    # Where the template trims white space, the same line slides into the block above it.
    (container.get("securityContext") or {}).pop("restartPolicy", None)
    for key in ("image", "args", "command"):
        if key in container:
            container[key] = written[key]
    for variable, as_written in zip(container.get("env") or [], written.get("env") or [], strict=True):
        if "value" in variable:
            variable["value"] = as_written["value"]
    for kind, quantities in (written.get("resources") or {}).items():
        empty = [name for name, quantity in quantities.items() if not quantity]
        if empty:
            raise InjectionError(
                f"container {made['name']}: expected a quantity as resources.{kind}.{empty[0]}, saw none: "
                "annotations sidecar.istio.io/proxyCPU and proxyMemory only work together"
            )
    return container


def json_patch(pod: Object, config: InjectionConfig) -> list[Object]:
    """Return the JSON Patch (RFC 6902) with which the webhook answers for a pod.

    Raises:
        ManifestError: As `inject_pod`.
    """
    bare, injected = _without_sidecar(pod), inject_pod(pod, config)
    given = pod.get("spec") or {}
    operations: list[Object] = []
    for part in PARTS:
        before, kept, after = given.get(part), bare["spec"].get(part) or [], injected["spec"].get(part) or []
        gone = [index for index, each in enumerate(before or []) if each not in kept]
        operations += [{"op": "remove", "path": f"/spec/{part}/{index}"} for index in reversed(gone)]
        added = after[len(kept) :]
        if added and before is None:
            operations.append({"op": "add", "path": f"/spec/{part}", "value": added})
        else:
            operations += [{"op": "add", "path": f"/spec/{part}/-", "value": each} for each in added]
    status = injected["metadata"]["annotations"][STATUS]
    if (pod.get("metadata") or {}).get("annotations") is None:
        operations.append({"op": "add", "path": "/metadata/annotations", "value": {STATUS: status}})
    else:
        key = STATUS.replace("~", "~0").replace("/", "~1")
        operations.append({"op": "add", "path": f"/metadata/annotations/{key}", "value": status})
    return operations


def _mapping(text: str, what: str) -> dict[str, Any]:
    try:
        value = yaml.load(text, Loader=yaml.CSafeLoader)  # the safe loader, in C
    except (yaml.YAMLError, ValueError) as error:
        raise InjectionError(f"{what} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise InjectionError(f"{what} is no mapping")
    return value

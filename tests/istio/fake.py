"""An API server that is a dictionary, for judging objects that no cluster would hold for long."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pytest_istio.istio.catalog import release
from pytest_istio.istio.mesh import Mesh
from pytest_istio.istio.preflight import Preflight
from pytest_istio.kube.errors import KubeError, NotFoundError
from pytest_istio.kube.manifests import Manifests
from pytest_istio.kube.watch import Event
from pytest_istio.settings import Settings
from pytest_istio.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_istio.kube.client import Kube

Object = dict[str, Any]
NOWHERE = Preflight("v1.34.3", "", (), (), (), (), (), ())


@dataclass
class FakeKube:
    """Answers from `objects`; `paths` are answers to plain requests, `admit` changes what is created."""

    objects: list[Object] = field(default_factory=list)
    paths: dict[str, Any] = field(default_factory=dict)
    kinds: set[tuple[str, str]] = field(default_factory=set)
    admit: Callable[[Object], Object] = lambda obj: obj
    log: str = ""
    deleted: list[tuple[str, str]] = field(default_factory=list)
    server: str = "https://fake"

    def served(self) -> frozenset[tuple[str, str]]:
        return frozenset(self.kinds | {(each["apiVersion"], each["kind"]) for each in self.objects})

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> list[Object]:
        wanted = dict(part.split("=") for part in labels.split(",")) if labels else {}
        uid = next((part.partition("uid=")[2] for part in (fields or "").split(",") if "uid=" in part), None)
        return [
            each
            for each in self.objects
            if (each["apiVersion"], each["kind"]) == (api_version, kind)
            and namespace in (None, each["metadata"].get("namespace"))
            and wanted.items() <= (each["metadata"].get("labels") or {}).items()
            and uid in (None, each.get("involvedObject", {}).get("uid"))
        ]

    def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        found = self.list(api_version, kind, namespace)
        return next((each for each in found if each["metadata"]["name"] == name), None)

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object:
        found = self.find(api_version, kind, name, namespace)
        if found is None:
            raise NotFoundError(f"{kind} {name}: not found")
        return found

    def watch(self, api_version: str, kind: str, *_: object, **__: object) -> Iterator[Event]:
        yield from (Event("ADDED", each) for each in self.list(api_version, kind))

    follow = watch

    def logs(self, *_: object, **__: object) -> str:
        return self.log

    def request(self, _method: str, path: str, **_: object) -> bytes:
        answer = self.paths.get(path)
        if answer is None:
            raise KubeError(f"GET {path}: 503 ServiceUnavailable", status=503)
        return answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()

    def create(self, obj: Object) -> Object:
        stored = self.admit(obj)
        self.objects.append(stored)
        if obj["kind"] == "Namespace":
            account = {"name": "default", "namespace": obj["metadata"]["name"]}
            self.objects.append({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
        return stored

    def delete(self, _api_version: str, kind: str, name: str, *_: object, **__: object) -> None:
        self.deleted.append((kind, name))


def mesh(kube: FakeKube, *objects: Object, **fields: Any) -> Mesh:  # noqa: ANN401  # any field
    """Return a mesh on a fake API server, with bounds so short that nothing is waited for."""
    return Mesh(
        kube=cast("Kube", kube),
        settings=Settings(istio_version="1.0.5", timeouts=Timeouts().scaled(0.001)),
        release=release("1.0.5"),
        manifests=Manifests((), "test", "0" * 64, ()),
        objects=objects,
        rewrites=(),
        run="test",
        preflight=NOWHERE,
        **fields,
    )


def obj(
    kind: str,
    name: str,
    api_version: str = "v1",
    namespace: str | None = "istio-system",
    **more: Any,  # noqa: ANN401  # any JSON value
) -> Object:
    place = {"namespace": namespace} if namespace else {}
    metadata = {"name": name, "uid": f"{kind}-{name}", **place, **more.pop("metadata", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def deployment(name: str, *, replicas: int = 1, available: int = 1, **more: Any) -> Object:  # noqa: ANN401  # any JSON value
    status = {
        "observedGeneration": 1,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "availableReplicas": available,
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c"}]}},
    }
    metadata = {"generation": 1, "annotations": {"deployment.kubernetes.io/revision": "1"}}
    status.update(more.pop("status", {}))
    return obj("Deployment", name, "apps/v1", metadata=metadata, spec=spec, status=status, **more)


def pods(app: str, *containers: Object, **more: Any) -> list[Object]:  # noqa: ANN401  # any JSON value
    """Return the ReplicaSet and the pod of a Deployment, the pod with these container statuses."""
    ready = all(each.get("ready") for each in containers)
    metadata = {
        "annotations": {"deployment.kubernetes.io/revision": "1"},
        "ownerReferences": [{"uid": f"Deployment-{app}"}],
    }
    namespace = more.pop("namespace", "istio-system")
    return [
        obj("ReplicaSet", app, "apps/v1", namespace, metadata=metadata),
        obj(
            "Pod",
            f"{app}-1",
            namespace=namespace,
            metadata={"labels": {"app": app}, "ownerReferences": [{"uid": f"ReplicaSet-{app}"}]},
            spec={"containers": [{"name": each["name"], "image": each.get("image")} for each in containers]},
            status={
                "phase": "Running" if ready else "Pending",
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "containerStatuses": list(containers),
                **more,
            },
        ),
    ]


def container(name: str = "c", *, ready: bool = True, **more: Any) -> Object:  # noqa: ANN401  # any JSON value
    return {"name": name, "image": "i:1", "ready": ready, "state": {"running": {}}, "restartCount": 0, **more}

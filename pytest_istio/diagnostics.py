"""What is collected when something fails: the state that is gone once the cluster is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from pytest_istio.kube.errors import KubeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.objects import Object

__all__ = ["collect"]

LOG_LINES = 500
CONFIGURATION = (
    "networking.istio.io",
    "authentication.istio.io",
    "rbac.istio.io",
    "security.istio.io",
)
"""Groups whose objects are few and say how traffic goes; Mixer's are many and come from the manifests."""
KINDS = (
    ("v1", "Service"),
    ("v1", "Pod"),
    ("apps/v1", "Deployment"),
    ("batch/v1", "Job"),
)
CLUSTER_KINDS = (
    ("v1", "Node"),
    ("v1", "Namespace"),
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
)


def collect(mesh: Mesh, folder: Path, namespaces: Iterable[str] = ()) -> Path:
    """Write objects, events and logs of the control plane's and other namespaces into a folder; no Secrets.

    What cannot be had is written down in ``errors.txt``, since the cluster may be half gone.

    Args:
        mesh: The mesh.
        folder: Where to; made if it is not there.
        namespaces: Those beside the control plane's, such as bookinfo's.

    Returns:
        The folder.
    """
    collector = _Collector(mesh.kube, folder)
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="diagnostics") as pool:
        tasks = [pool.submit(collector.objects, None, CLUSTER_KINDS)]
        for namespace in dict.fromkeys((mesh.namespace, *namespaces)):
            kinds = (
                *KINDS,
                *sorted(kind for kind in mesh.kube.served() if kind[0].startswith(CONFIGURATION)),
            )
            tasks.append(pool.submit(collector.objects, namespace, kinds))
            tasks.append(pool.submit(collector.events, namespace))
            tasks.append(pool.submit(collector.logs, namespace))
        for task in tasks:
            task.result()
    collector.finish()
    return folder


class _Collector:
    """Writes what it is asked for, and remembers what could not be had."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self.kube = kube
        self.folder = folder
        self.errors: list[str] = []

    def objects(self, namespace: str | None, kinds: Iterable[tuple[str, str]]) -> None:
        for api_version, kind in kinds:
            if (api_version, kind) not in self.kube.served():
                continue
            try:
                found = self.kube.list(api_version, kind, namespace)
            except KubeError as error:
                self.errors.append(str(error))
                continue
            for each in found:
                each["metadata"].pop("managedFields", None)
            if found:
                self._write(f"{namespace or 'cluster'}/{kind.lower()}.json", json.dumps(found, indent=1))

    def events(self, namespace: str) -> None:
        try:
            events = self.kube.list("v1", "Event", namespace)
        except KubeError as error:
            self.errors.append(str(error))
            return
        lines = sorted(_event_line(event) for event in events)
        self._write(f"{namespace}/events.txt", "\n".join(lines))

    def logs(self, namespace: str) -> None:
        try:
            pods = self.kube.list("v1", "Pod", namespace)
        except KubeError as error:
            self.errors.append(str(error))
            return
        for pod in pods:
            status = pod.get("status", {})
            for container in [
                *(status.get("initContainerStatuses") or []),
                *(status.get("containerStatuses") or []),
            ]:
                self._log(pod, container["name"], previous=False)
                if container.get("restartCount"):
                    self._log(pod, container["name"], previous=True)

    def _log(self, pod: Object, container: str, *, previous: bool) -> None:
        namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
        try:
            text = self.kube.logs(namespace, name, container, tail=LOG_LINES, previous=previous)
        except KubeError as error:
            self.errors.append(f"log of {namespace}/{name}, container {container}: {error}")
            return
        suffix = ".previous.log" if previous else ".log"
        self._write(f"{namespace}/logs/{name}.{container}{suffix}", text)

    def _write(self, name: str, text: str) -> None:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def finish(self) -> None:
        if self.errors:
            self._write("errors.txt", "\n".join(self.errors))


def _event_line(event: Object) -> str:
    about = event.get("involvedObject") or {}
    when = event.get("lastTimestamp") or event.get("eventTime") or ""
    times = f" ({event['count']} times)" if event.get("count", 1) > 1 else ""
    message = " ".join((event.get("message") or "").split())
    what = f"{about.get('kind')} {about.get('name')}"
    return f"{when} {event.get('type')} {event.get('reason')} {what}{times}: {message}"

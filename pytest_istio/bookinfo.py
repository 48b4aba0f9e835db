"""Bookinfo, the sample application: four services in six Deployments, each pod with a sidecar."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError, ManifestError
from pytest_istio.findings import finding
from pytest_istio.istio import sources
from pytest_istio.istio.inject import InjectionConfig, inject
from pytest_istio.istio.install import placed
from pytest_istio.istio.mesh import MANAGER
from pytest_istio.istio.namespaces import INJECTION
from pytest_istio.kube.apply import apply, delete
from pytest_istio.kube.errors import KubeError
from pytest_istio.kube.manifests import load
from pytest_istio.kube.migrate import migrate
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError, Trouble, wait_ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.migrate import Rewrite
    from pytest_istio.kube.objects import Object
    from pytest_istio.kube.streams import Executed
    from pytest_istio.progress import Progress

__all__ = ["Answer", "Bookinfo", "deploy", "finish", "start"]

INSIDE_SECONDS = 10
"""How long a request from inside may take, its program's start included."""
MISSING_PROGRAM = (126, 127)

NODE = """\
require("http").get({host: "productpage", port: 9080, path: process.argv[1]}, r => {
  let text = ""; r.on("data", d => text += d)
  r.on("end", () => console.log(JSON.stringify([r.statusCode, text])))
}).on("error", e => { console.error(String(e)); process.exit(1) })"""
PYTHON = """\
import json, sys, urllib.error, urllib.request
try: r = urllib.request.urlopen("http://productpage:9080" + sys.argv[1])
except urllib.error.HTTPError as e: r = e
print(json.dumps([r.getcode(), r.read().decode("utf-8", "replace")]))"""


@dataclass(frozen=True)
class Answer:
    """What a pod of the mesh was answered.

    Attributes:
        status: The HTTP status.
        text: The body.
        pod: The name of the pod that asked.
    """

    status: int
    text: str
    pod: str


@dataclass(frozen=True)
class Bookinfo:
    """The sample application in a namespace, ready or not.

    Attributes:
        mesh: The mesh it is part of.
        namespace: Where it is.
        objects: What was applied: after migration, and with the sidecars where they were injected by hand.
        rewrites: What the migration changed.
        made_namespace: Whether the namespace was made for it.
        troubles: What did not become ready, and why.
    """

    mesh: Mesh
    namespace: str
    objects: tuple[Object, ...]
    rewrites: tuple[Rewrite, ...]
    made_namespace: bool
    troubles: tuple[Trouble, ...] = ()

    @property
    def kube(self) -> Kube:
        """The cluster."""
        return self.mesh.kube

    @property
    def services(self) -> tuple[str, ...]:
        """The names of its Services."""
        return self.mesh.release.bookinfo.services

    @property
    def deployments(self) -> tuple[str, ...]:
        """The names of its Deployments."""
        return self.mesh.release.bookinfo.deployments

    def request_inside(self, path: str) -> Answer:
        """Ask productpage for a path from the container of a ratings pod, so through that pod's sidecar.

        The first of curl, wget, node and python that the image has is used.

        Raises:
            ClusterError: No ratings pod runs, the image has none of these programs, or no answer came.
        """
        pods = self.kube.list(
            "v1", "Pod", self.namespace, labels="app=ratings", fields="status.phase=Running"
        )
        names = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        if not names:
            raise ClusterError(
                finding(
                    f"the ratings pods in {self.namespace}",
                    expected="one that runs, to ask from inside the mesh",
                    seen="none",
                    look=f"kubectl -n {self.namespace} get pods -l app=ratings",
                )
            )
        seen = []
        for program, command, read in _programs(path):
            done = self._run(names[0], command)
            if isinstance(done, str):
                seen.append(f"{program}: {done}")
                continue
            answer = read(done.stdout) if done.exit_code == 0 else None
            if answer is None:
                words = " ".join((done.stderr or done.stdout).split())[:300]
                raise ClusterError(self._unasked(names[0], f"{program} ended with {done.exit_code}: {words}"))
            return Answer(*answer, names[0])
        raise ClusterError(self._unasked(names[0], "; ".join(seen)))

    def _run(self, pod: str, command: list[str]) -> Executed | str:
        """Return what a program did, or why the container does not have it."""
        try:
            done = self.kube.exec(self.namespace, pod, command, container="ratings", timeout=INSIDE_SECONDS)
        except KubeError as error:
            if "not found" in str(error) or "no such file" in str(error):
                return "not in the image"
            raise
        return "not in the image" if done.exit_code in MISSING_PROGRAM else done

    def _unasked(self, pod: str, seen: str) -> str:
        return finding(
            f"http://productpage:9080, asked by {self.namespace}/{pod}",
            expected="an HTTP answer",
            seen=seen,
            cause="the sidecar has no configuration, the name is not resolved, or the image has no client",
            look=f"kubectl -n {self.namespace} exec {pod} -c ratings -- curl -v http://productpage:9080/productpage",
        )

    def remove(self, *, progress: Progress) -> None:
        """Take it away again, and its namespace or the namespace's label if they were made for it."""
        refs = [Ref.of(each) for each in self.objects]
        if self.made_namespace:
            refs.append(Ref("v1", "Namespace", None, self.namespace))
        elif self.mesh.settings.injection == "automatic":
            label(self.mesh, self.namespace, None)
        with progress.phase("remove bookinfo"):
            delete(self.kube, refs, timeouts=self.mesh.timeouts, progress=progress)


def deploy(mesh: Mesh, namespace: str, *, progress: Progress) -> Bookinfo:
    """Deploy bookinfo and its gateway, and wait for the pods; arguments and errors as in `start`."""
    return finish(start(mesh, namespace, progress=progress), progress=progress)


def start(mesh: Mesh, namespace: str, *, progress: Progress) -> Bookinfo:
    """Apply bookinfo, with sidecars as the settings say, and its gateway, without waiting for the pods.

    With manual injection nothing of the control plane needs to run yet. With automatic injection the
    injector's webhook is awaited first, since a pod that it refuses comes back only minutes later.

    Args:
        mesh: The mesh.
        namespace: Where bookinfo goes; made if it is not there.
        progress: Is told the phases and what is awaited.

    Raises:
        ManifestError: The manifests cannot be used.
        KubeError: The API server refuses them.
    """
    folder = sources.bookinfo(mesh.release.version)
    given = [*load(folder / "bookinfo.yaml").objects, *load(folder / "bookinfo-gateway.yaml").objects]
    objects, rewrites, troubles = _migrated(mesh, [placed(each, namespace) for each in given])
    made = mesh.kube.find("v1", "Namespace", namespace) is None
    if made:
        metadata = {"name": namespace, "labels": mesh.labels}
        mesh.kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    if mesh.settings.injection == "manual":
        objects = inject(objects, InjectionConfig.from_manifests(mesh.objects))
    else:
        progress.waiting("the injector's webhook")
        # What it finds is not lost: the checks about the webhook and the pods say it again.
        mesh.problems("CP-006")
        label(mesh, namespace, "enabled")
    with progress.phase("apply bookinfo"):
        apply(
            mesh.kube, objects, manager=MANAGER, labels=mesh.labels, timeouts=mesh.timeouts, progress=progress
        )
    return Bookinfo(mesh, namespace, tuple(objects), rewrites, made, troubles)


def _migrated(
    mesh: Mesh, objects: list[Object]
) -> tuple[list[Object], tuple[Rewrite, ...], tuple[Trouble, ...]]:
    """Return the objects that this API server takes; others, as routes without a definition, are troubles."""
    taken: list[Object] = []
    rewrites: list[Rewrite] = []
    troubles: list[Trouble] = []
    for each in objects:
        try:
            migrated = migrate([each], mesh.kube.served())
        except ManifestError as error:  # noqa: PERF203  # a dozen objects, each judged apart
            troubles.append(Trouble(Ref.of(each), "NotServed", str(error)))
        else:
            taken += migrated.objects
            rewrites += migrated.rewrites
    return taken, tuple(rewrites), tuple(troubles)


def finish(bookinfo: Bookinfo, *, progress: Progress) -> Bookinfo:
    """Wait for the Deployments and their sidecars, and return bookinfo with what did not become ready.

    Args:
        bookinfo: What `start` returned, with the mesh as it has become meanwhile.
        progress: Is told what is awaited.
    """
    mesh = bookinfo.mesh
    refs = [Ref("apps/v1", "Deployment", bookinfo.namespace, name) for name in bookinfo.deployments]
    troubles = bookinfo.troubles
    # Sidecars of a mesh that is not ready rarely become so; what hinders them has been said of the mesh.
    bound = mesh.timeouts.sidecar_sync if mesh.troubles else mesh.timeouts.rollout
    with progress.phase("bookinfo"):
        try:
            wait_ready(mesh.kube, refs, timeout=bound, progress=progress)
        except NotReadyError as error:
            troubles += error.troubles
    return replace(bookinfo, troubles=troubles)


def label(mesh: Mesh, namespace: str, value: str | None) -> None:
    """Set or remove the label by which the injector's webhook selects a namespace."""
    mesh.kube.patch("v1", "Namespace", namespace, None, {"metadata": {"labels": {INJECTION: value}}})


def _programs(path: str) -> list[tuple[str, list[str], Callable[[str], tuple[int, str] | None]]]:
    """Return the programs that can ask, how they are called, and how to read what they print."""
    url, bound = f"http://productpage:9080{path}", str(INSIDE_SECONDS - 1)
    return [
        ("curl", ["curl", "-sS", "-i", "-m", bound, url], _read_http),
        ("node", ["node", "-e", NODE, path], _read_json),
        ("python3", ["python3", "-c", PYTHON, path], _read_json),
        # Not every wget tells the status; it fails unless that is a success.
        ("wget", ["wget", "-q", "-T", bound, "-O", "-", url], lambda text: (200, text)),
    ]


def _read_http(text: str) -> tuple[int, str] | None:
    """Read headers and body, after what interim answers and proxies have put before them."""
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    while body.startswith("HTTP/"):
        head, _, body = body.partition("\n\n")
    parts = head.split(" ", 2)
    return (int(parts[1]), body) if head.startswith("HTTP/") and len(parts) > 1 else None


def _read_json(text: str) -> tuple[int, str] | None:
    status, body = json.loads(text)
    return int(status), str(body)

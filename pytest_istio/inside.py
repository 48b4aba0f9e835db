"""Asking bookinfo from inside the mesh: by exec in a pod whose requests go through its sidecar."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.findings import finding
from pytest_istio.istio.inject import InjectionConfig, inject
from pytest_istio.istio.mirror import mirrored_image
from pytest_istio.istio.pull_secret import with_pull_secret
from pytest_istio.kube.errors import ConflictError, KubeError
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import NotReadyError, wait_ready
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.streams import Executed

__all__ = ["Answer", "ask"]

INSIDE_SECONDS = 10
"""How long a request from inside may take, its program's start included."""
MISSING_PROGRAM = (126, 127)
CLIENT = "istio-client"
"""The name of the client of its own."""

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
class _Asker:
    """A container that can run programs."""

    namespace: str
    pod: str
    container: str


def ask(mesh: Mesh, namespace: str, path: str) -> Answer:
    """Ask productpage for a path from a ratings pod, or from a client of its own where that pod has none.

    The first of curl, wget, node and python that the image has is used; a client has curl.

    Args:
        mesh: The mesh.
        namespace: Where bookinfo is.
        path: An absolute path.

    Raises:
        ClusterError: No ratings pod runs, the client does not start, or no answer came.
        KubeError: The API server refuses to run a program in a pod.
    """
    pods = mesh.kube.list("v1", "Pod", namespace, labels="app=ratings", fields="status.phase=Running")
    names = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    if not names:
        raise ClusterError(
            finding(
                f"the ratings pods in {namespace}",
                expected="one that runs, to ask from inside the mesh",
                seen="none",
                look=f"kubectl -n {namespace} get pods -l app=ratings",
            )
        )
    ratings = _Asker(namespace, names[0], "ratings")
    answer = _asked(mesh, ratings, path)
    if answer is None:
        client = _client(mesh, namespace)
        answer = _asked(mesh, client, path)
        if answer is None:
            raise ClusterError(_unasked(client, f"{mesh.settings.client_image} has no curl"))
    return answer


def _client(mesh: Mesh, namespace: str) -> _Asker:
    """Return a running client, made where there is none yet; it goes with bookinfo's namespace or cluster."""
    ref = Ref("v1", "Pod", namespace, CLIENT)
    container = {
        "name": "client",
        "image": mirrored_image(mesh.settings.client_image, mesh.settings.image_registries),
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
    }
    pod = {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "metadata": {"name": CLIENT, "namespace": namespace, "labels": {**mesh.labels, "app": CLIENT}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
    }
    if mesh.settings.injection == "manual":
        (pod,) = inject([pod], InjectionConfig.from_manifests(mesh.objects))
    (pod,) = with_pull_secret([pod], mesh.settings)
    # Another process of the run may have been quicker.
    with suppress(ConflictError):
        mesh.kube.create(pod)
    try:
        wait_ready(mesh.kube, [ref], timeout=mesh.timeouts.rollout, progress=Silent())
    except NotReadyError as error:
        raise ClusterError(
            finding(
                str(ref),
                expected="runs, to ask from inside the mesh where bookinfo's images have no client",
                seen=str(error),
                cause="its image cannot be pulled; --istio-client-image names another one with curl",
                look=f"kubectl -n {namespace} describe pod {CLIENT}",
            )
        ) from error
    return _Asker(namespace, CLIENT, "client")


def _asked(mesh: Mesh, asker: _Asker, path: str) -> Answer | None:
    """Return the answer, None where the container has no program that can ask."""
    for program, command, read in _programs(path):
        done = _run(mesh, asker, command)
        if done is None:
            continue
        answer = read(done.stdout) if done.exit_code == 0 else None
        if answer is None:
            words = " ".join((done.stderr or done.stdout).split())[:300]
            raise ClusterError(_unasked(asker, f"{program} ended with {done.exit_code}: {words}"))
        return Answer(*answer, asker.pod)
    return None


def _run(mesh: Mesh, asker: _Asker, command: list[str]) -> Executed | None:
    """Return what a program did, None where the container does not have it."""
    try:
        done = mesh.kube.exec(
            asker.namespace, asker.pod, command,
            container=asker.container, timeout=INSIDE_SECONDS, repeatable=True,
        )  # fmt: skip
    except KubeError as error:
        if "not found" in str(error) or "no such file" in str(error):
            return None
        raise
    return None if done.exit_code in MISSING_PROGRAM else done


def _unasked(asker: _Asker, seen: str) -> str:
    url = "http://productpage:9080"
    inside = f"kubectl -n {asker.namespace} exec {asker.pod} -c {asker.container}"
    return finding(
        f"{url}, asked by {asker.namespace}/{asker.pod}",
        expected="an HTTP answer",
        seen=seen,
        cause="the sidecar has no configuration, or the name is not resolved",
        look=f"{inside} -- curl -v {url}/productpage",
    )


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

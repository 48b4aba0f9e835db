"""Programs of images run as the node runs them, on a control plane that has neither node nor network."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from unittest import mock
from urllib.parse import urlsplit

import pytest
import yaml

from pytest_istio.local.controlplane import ControlPlane, running_control_plane
from pytest_istio.local.images.cluster_api import ApiError, ClusterApi
from pytest_istio.local.processes import die_with_parent
from pytest_istio.paths import fixtures_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

Object = dict[str, Any]
T = TypeVar("T")

_ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"


def eventually(condition: Callable[[], T], *, timeout: float = 15.0) -> T:
    """Return the first true value of a condition, asked for again and again."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            value = condition()
            seen = repr(value)
            if value:
                return value
        except (ApiError, OSError) as error:
            seen = repr(error)
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout} s; last seen: {seen}")
        time.sleep(0.02)


@dataclass
class Running:
    """A container that runs."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    @property
    def log(self) -> str:
        """What it has written so far."""
        return "".join(self.lines)

    def stop(self) -> None:
        """Terminate it and wait for its end."""
        self.process.terminate()
        self.process.wait(10)


def wire(address: str, port: int) -> tuple[str, int]:
    """Return where a port of a pod is on the wire."""
    return "127." + address.partition(".")[2], port + 10_000 if port < 1024 else port


class Egress:
    """The CONNECT proxy that the API server calls webhooks through: cluster addresses to what serves them."""

    def __init__(self, path: Path) -> None:
        self.served: dict[str, tuple[str, int]] = {}
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end
            while True:
                client = self._server.accept()[0]
                threading.Thread(target=self._connect, args=[client], daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client:
            head = b""
            while b"\r\n\r\n" not in head:
                head += client.recv(4096)
            where = self.served.get(head.split()[1].decode().partition(":")[0])
            if where is None:
                client.sendall(b"HTTP/1.1 503 Nobody serves this\r\n\r\n")
                return
            with socket.create_connection(where) as server:
                client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                there = threading.Thread(target=_copy, args=[client, server], daemon=True)
                there.start()
                _copy(server, client)
                there.join()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other direction has ended
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Pods:
    """Makes the surroundings of containers and runs programs in them."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self._server = urlsplit(plane.server)
        self._ca = plane.authority.certificate
        self._folder = folder
        self._number = 0
        hosts = folder / "hosts"
        hosts.touch()
        self._hosts = hosts
        self.admin_token = plane.token
        self.admin = self._client(plane.token)
        self.egress = Egress(plane.egress)
        # The pods' range that belongs to this control plane's instance number.
        self._range = int(str(self._server.hostname).split(".")[1]) - 64

    def _client(self, token: str) -> ClusterApi:
        with mock.patch.dict(os.environ, self.environment(self.root(token))):
            return ClusterApi()

    def root(self, token: str) -> Path:
        """Return a container's root folder with an account's token."""
        self._number += 1
        root = self._folder / f"container-{self._number}"
        account = root / _ACCOUNT
        account.mkdir(parents=True)
        (account / "token").write_text(token)
        (account / "namespace").write_text("istio-system")
        shutil.copy(self._ca, account / "ca.crt")
        return root

    def root_of(self, account: str, namespace: str = "istio-system") -> Path:
        """Return a container's root folder with the token of a ServiceAccount."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        return self.root(self.admin.request("POST", path, request)["status"]["token"])

    def provide(self, command: str, root: Path) -> None:
        """Put one of the images' programs first on a container's PATH."""
        program = root / "bin" / command
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pytest_istio.local.images.{command} "$@"\n')
        program.chmod(0o755)

    def environment(self, root: Path, address: str = "") -> dict[str, str]:
        """Return a container's environment."""
        given = {
            "KUBERNETES_SERVICE_HOST": str(self._server.hostname),
            "KUBERNETES_SERVICE_PORT": str(self._server.port),
            "PODROOT": str(root),
            "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if address:
            given |= {"LOCAL_ADDRESSES": str(self._hosts), "LOCAL_PORT_SHIFT": "10000"}
            given |= {"LOCAL_POD_IP": address, "LOCAL_LISTEN": wire(address, 0)[0]}
        return given

    @contextmanager
    def running(self, module: str, arguments: list[str], root: Path, address: str) -> Iterator[Running]:
        """Run a program until the block ends.

        Args:
            module: The name of a module of images.
            arguments: The container's command and arguments.
            root: The container's root folder.
            address: The pod's address, 10.x.
        """
        command = [sys.executable, "-m", f"pytest_istio.local.images.{module}", *arguments]
        process = subprocess.Popen(
            command,
            env=self.environment(root, address),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - a prctl call; it takes no lock
        )
        container = Running(process)
        assert process.stdout is not None
        reader = threading.Thread(target=container.lines.extend, args=[process.stdout])
        reader.start()
        try:
            yield container
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(10)
            reader.join()
            process.stdout.close()

    def run(self, module: str, arguments: list[str], root: Path) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        command = [sys.executable, "-m", f"pytest_istio.local.images.{module}", *arguments]
        environment = self.environment(root, self.address(99))
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def address(self, number: int) -> str:
        """Return the address of a pod."""
        return f"10.{self._range}.200.{number}"

    def serve(self, service: str, address: str, port: int, port_name: str = "") -> None:
        """Let a Service of istio-system lead to a pod, as endpoints and a proxy would."""
        path = "/api/v1/namespaces/istio-system"
        found = self.admin.request("GET", f"{path}/services/{service}")
        self.egress.served[found["spec"]["clusterIP"]] = wire(address, port)
        endpoints: Object = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": service}}
        endpoints["subsets"] = [
            {"addresses": [{"ip": address}], "ports": [{"port": port, "name": port_name}]}
        ]
        self.admin.request("PUT", f"{path}/endpoints/{service}", endpoints)

    def apply(self, *objects: Object) -> None:
        """Create objects, or leave those alone that exist."""
        for obj in objects:
            group = obj["apiVersion"]
            root = f"/apis/{group}" if "/" in group else f"/api/{group}"
            namespace = obj["metadata"].get("namespace")
            kind = obj["kind"].lower()
            plural = kind + ("es" if kind.endswith("s") else "s")
            if plural.endswith("ys"):
                plural = plural.removesuffix("ys") + "ies"
            path = f"{root}{f'/namespaces/{namespace}' if namespace else ''}/{plural}"
            try:
                self.admin.request("POST", path, obj)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise


def istio_objects(*kinds: str, owner: str = "") -> list[Object]:
    """Return the bundled manifests' objects of some kinds, with the API versions of today for RBAC."""
    found = []
    for file in sorted((fixtures_folder() / "istio" / "1.0.5").glob("*.yaml")):
        text = file.read_text().replace("rbac.authorization.k8s.io/v1beta1", "rbac.authorization.k8s.io/v1")
        found += [
            obj
            for obj in yaml.load_all(text, yaml.CSafeLoader)
            if obj and obj["kind"] in kinds and owner in obj["metadata"]["name"]
        ]
    return found


def served_definition(given: Object) -> Object:
    """Return a CustomResourceDefinition for the API version that is served today."""
    spec = {key: given["spec"][key] for key in ("group", "names", "scope")}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": given["spec"]["version"], "served": True, "storage": True, "schema": schema}
    metadata = {"name": given["metadata"]["name"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {**spec, "versions": [version]},
    }


@contextmanager
def running_pods(programs: Mapping[str, Path], folder: Path) -> Iterator[Pods]:
    """Run a control plane with the namespace istio-system and the bundled accounts and roles."""
    with running_control_plane(programs) as plane:
        pods = Pods(plane, folder)
        pods.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}})
        pods.apply(*istio_objects("ServiceAccount", "ClusterRole", "ClusterRoleBinding"))
        yield pods
        pods.egress.close()

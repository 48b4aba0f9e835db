"""The control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler as child processes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.local.instances import allocate, make_folder
from pytest_istio.local.pki import Authority, write_private, write_signing_key
from pytest_istio.local.processes import die_with_parent
from pytest_istio.local.versions import PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pytest_istio.local.addresses import Plan
    from pytest_istio.local.pki import KeyPair

__all__ = ["ControlPlane", "running_control_plane"]

_LAST_LINES = 8

# What ends sooner is broken; what gives up on another program has waited for ten seconds or more.
_SHORT_LIFE = 5.0

_USERS = {
    "admin": ("pytest-istio", "system:masters"),
    # Its own user may do little: it is meant to act as a service account for each controller, each with a
    # client of its own, which takes longer to start.
    "kube-controller-manager": ("system:kube-controller-manager", "system:masters"),
    "kube-scheduler": ("system:kube-scheduler", ""),
}


class ControlPlane:
    """A control plane that lives in a folder and dies with the thread that starts it, the main one.

    The API server reaches webhooks, pods and kubelets only by HTTP CONNECT over the socket `egress`. Who
    serves that maps the addresses; without a server there such calls fail, and never leave the machine.

    Attributes:
        plan: The cluster's addresses.
        folder: The cluster's private folder.
        server: The API server's URL.
        kubeconfig: A kubeconfig file of a cluster administrator, mode 0600.
        token: The administrator's bearer token.
        authority: The cluster's certificate authority.
        kubelet_serving: What a kubelet must serve with so that the API server talks to it.
        ready: To be set once all programs were seen to work together.
        egress: The path of the Unix socket on which the API server expects its CONNECT proxy.
    """

    def __init__(self, programs: Mapping[str, Path], plan: Plan, folder: Path) -> None:
        """Write what the programs need; start nothing yet.

        Args:
            programs: Each of `pytest_istio.local.versions.PROGRAMS` with its path.
            plan: The cluster's addresses.
            folder: An existing private folder, its path no longer than `make_folder` makes it.
        """
        self._programs = programs
        self.plan = plan
        self.folder = folder
        self._logs = folder / "logs"
        self._logs.mkdir()
        self._host = plan.wire(plan.node, 0)[0]
        etcd_port, self._etcd_peer_port, self._port = _free_ports(self._host, 3)
        self._etcd = f"https://{self._host}:{etcd_port}"
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self.ready = False

        self.server = f"https://{self._host}:{self._port}"
        self.egress = folder / "egress.sock"
        self._issue(folder / "pki")
        self._write_users()
        self.kubeconfig = self._write_kubeconfig("admin")
        self.token = self._tokens["admin"]
        write_private(folder / "egress.json", json.dumps(_egress(self.egress)))

    @property
    def pids(self) -> dict[str, int]:
        """The ids of the running programs, by name."""
        return {name: child.pid for name, child in self._children.items()}

    def start(self) -> None:
        """Start all programs; they wait for each other. To be called in the main thread.

        Raises:
            ClusterError: A program cannot be run.
        """
        for name in PROGRAMS:
            self._start(name)

    def check(self) -> None:
        """Return if all programs run. To be called in the main thread.

        On a slow machine a program gives up on another one before that is ready. As long as `ready` is not
        set it is started again then, as it would be in any other cluster.

        Raises:
            ClusterError: A program has ended; says which, how, and its last words.
        """
        for name, child in self._children.items():
            code = child.poll()
            if code is None:
                continue
            lived = time.monotonic() - self._started[name]
            if self.ready or name == "etcd" or lived < _SHORT_LIFE:
                how = (
                    f"was killed by {signal.Signals(-code).name}"
                    if code < 0
                    else f"ended with exit code {code}"
                )
                raise ClusterError(f"{name} of the embedded Kubernetes {how}.\n{self.last_lines(name)}")
            self._start(name)

    def stop(self) -> None:
        """Kill all programs; their data is for nobody."""
        for child in self._children.values():
            child.kill()
        for child in self._children.values():
            child.wait()

    def _start(self, name: str) -> None:
        argv = [str(self._programs[name]), *self._arguments(name)]
        with (self._logs / f"{name}.log").open("ab") as log:
            try:
                self._children[name] = subprocess.Popen(
                    argv,
                    cwd=self.folder,
                    # Go collects garbage earlier: a fifth less memory for no time that can be measured.
                    env={"GOGC": "50", **os.environ},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    # A Ctrl-C at the terminal is for who owns the cluster.
                    start_new_session=True,
                    preexec_fn=die_with_parent,  # noqa: PLW1509  # one call of the kernel, safe after a fork
                )
            except OSError as error:
                message = f"{argv[0]} cannot be run: {error.strerror}. It was found as the program {name}."
                raise ClusterError(message) from error
        self._started[name] = time.monotonic()

    def last_lines(self, name: str) -> str:
        """Return the last lines of a program's log, introduced."""
        text = (self._logs / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines()[-_LAST_LINES:]
        return "\n".join(["The last lines of its log:" if lines else "Its log is empty.", *lines])

    def _issue(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.authority = Authority(folder)
        self._service_account_key = folder / "service-accounts.key"
        write_signing_key(self._service_account_key)
        self._serving = self.authority.issue(
            "kube-apiserver",
            "kube-apiserver",
            names=("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
                   "kubernetes.default.svc.cluster.local"),
            addresses=("127.0.0.1", self._host, self.plan.node, self.plan.api_service,
                       self.plan.wire(self.plan.api_service, 0)[0]),
        )  # fmt: skip
        self._etcd_pair = self.authority.issue("etcd", "etcd", addresses=[self._host])
        self._kubelet_client = self.authority.issue(
            "kubelet-client", "kube-apiserver-kubelet-client", organization="system:masters"
        )
        self.kubelet_serving: KeyPair = self.authority.issue(
            "kubelet",
            "system:node:local",
            organization="system:nodes",
            addresses=[self.plan.node, self._host],
        )

    def _write_users(self) -> None:
        self._tokens = {who: secrets.token_urlsafe(32) for who in _USERS}
        rows = [f'{self._tokens[who]},{user},{who},"{group}"\n' for who, (user, group) in _USERS.items()]
        write_private(self.folder / "pki" / "tokens.csv", "".join(rows))

    def _write_kubeconfig(self, who: str) -> Path:
        # JSON is YAML. A token is used as it is; key material is copied to files by some clients.
        cluster = {"server": self.server, "certificate-authority": str(self.authority.certificate)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "pytest-istio", "cluster": cluster}],
            "users": [{"name": who, "user": {"token": self._tokens[who]}}],
            "contexts": [{"name": "pytest-istio", "context": {"cluster": "pytest-istio", "user": who}}],
            "current-context": "pytest-istio",
        }
        path = self.folder / ("kubeconfig" if who == "admin" else f"{who}.kubeconfig")
        write_private(path, json.dumps(config, indent=1))
        return path

    def _arguments(self, program: str) -> list[str]:
        ca = self.authority.certificate
        etcd = self._etcd_pair
        if program == "etcd":
            peers = f"https://{self._host}:{self._etcd_peer_port}"
            return [
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={self._etcd}", f"--advertise-client-urls={self._etcd}",
                f"--listen-peer-urls={peers}", f"--initial-advertise-peer-urls={peers}",
                f"--initial-cluster=default={peers}",
                f"--cert-file={etcd.certificate}", f"--key-file={etcd.key}",
                "--client-cert-auth", f"--trusted-ca-file={ca}",
                f"--peer-cert-file={etcd.certificate}", f"--peer-key-file={etcd.key}",
                "--peer-client-cert-auth", f"--peer-trusted-ca-file={ca}",
                # The data ends with the cluster, so no power failure needs to be survived.
                "--unsafe-no-fsync",
            ]  # fmt: skip
        if program == "kube-apiserver":
            return [
                f"--etcd-servers={self._etcd}", f"--etcd-cafile={ca}",
                f"--etcd-certfile={etcd.certificate}", f"--etcd-keyfile={etcd.key}",
                f"--bind-address={self._host}", f"--secure-port={self._port}",
                f"--advertise-address={self.plan.node}",
                f"--tls-cert-file={self._serving.certificate}", f"--tls-private-key-file={self._serving.key}",
                f"--client-ca-file={ca}", f"--token-auth-file={self.folder / 'pki' / 'tokens.csv'}",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={self._service_account_key}",
                f"--service-account-signing-key-file={self._service_account_key}",
                f"--service-cluster-ip-range={self.plan.service_range}",
                "--authorization-mode=Node,RBAC", "--allow-privileged=true",
                f"--egress-selector-config-file={self.folder / 'egress.json'}",
                f"--kubelet-certificate-authority={ca}",
                f"--kubelet-client-certificate={self._kubelet_client.certificate}",
                f"--kubelet-client-key={self._kubelet_client.key}",
                "--kubelet-preferred-address-types=InternalIP",
                # Nobody competes for this server, and queueing costs it a tenth of its start.
                "--enable-priority-and-fairness=false",
            ]  # fmt: skip
        common = [
            f"--kubeconfig={self._write_kubeconfig(program)}", "--leader-elect=false", "--secure-port=0"
        ]  # fmt: skip
        if program == "kube-scheduler":
            return common
        return [
            *common,
            f"--service-account-private-key-file={self._service_account_key}", f"--root-ca-file={ca}",
            # The default of 20 requests a second costs five seconds of start.
            "--kube-api-qps=500", "--kube-api-burst=1000",
        ]  # fmt: skip


def _egress(socket_path: Path) -> dict[str, object]:
    connection = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(socket_path)}}}
    return {
        "apiVersion": "apiserver.k8s.io/v1beta1",
        "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": connection}],
    }


def _free_ports(host: str, count: int) -> list[int]:
    """Return free ports of an address that only this cluster uses."""
    sockets = [socket.create_server((host, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextmanager
def running_control_plane(programs: Mapping[str, Path], *, timeout: float = 120.0) -> Iterator[ControlPlane]:
    """Run a control plane without node and network, and leave nothing of it behind.

    Args:
        programs: Each of `pytest_istio.local.versions.PROGRAMS` with its path.
        timeout: Seconds until it is ready.

    Raises:
        ClusterError: It does not become ready.
    """
    # Imported here since what it needs takes longer to import than the programs to be started.
    import asyncio  # noqa: PLC0415

    from pytest_istio.local.services import wait_ready  # noqa: PLC0415

    with allocate() as plan:
        folder = make_folder()
        try:
            plane = ControlPlane(programs, plan, folder)
            try:
                plane.start()
                asyncio.run(wait_ready(plane, timeout))
                yield plane
            finally:
                plane.stop()
        finally:
            shutil.rmtree(folder)

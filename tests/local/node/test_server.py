"""The kubelet's server: whom it talks to, and where a pod's programs are found."""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.local.node.cluster import Namespace


def _ask(namespace: Namespace, certificate: Path | None) -> int:
    status = namespace.get("node", "local")["status"]
    port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"]
    [host] = [item["address"] for item in status["addresses"] if item["type"] == "InternalIP"]
    context = ssl.create_default_context(cafile=namespace.kubeconfig.parent / "pki" / "ca.crt")
    if certificate:
        context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    connection = http.client.HTTPSConnection(
        f"127.{host.partition('.')[2]}", port, context=context, timeout=5
    )
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()


def test_only_the_api_server_is_served(namespace: Namespace) -> None:
    pki = namespace.kubeconfig.parent / "pki"
    assert _ask(namespace, pki / "kubelet-client.crt") == 200
    assert _ask(namespace, pki / "kubelet.crt") == 403
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _ask(namespace, None)


def test_an_application_behind_a_sidecar_listens_behind_it_and_uses_it(namespace: Namespace) -> None:
    namespace.pod(
        "meshed",
        image="gated",
        args=["8080"],
        ports=[{"containerPort": 8080}],
        initContainers=[{"name": "istio-init", "image": "words"}],
    )
    namespace.wait_ready("meshed")
    ip = namespace.get("pod", "meshed")["status"]["podIP"]
    octet, _, rest = ip.removeprefix("10.").partition(".")
    script = "echo $LOCAL_POD_IP $LOCAL_LISTEN $http_proxy $no_proxy"
    told = namespace.kubectl("exec", "meshed", "--", "sh", "-c", script).stdout.split()
    application = f"127.{int(octet) - 128}.{rest}"
    assert told == [ip, application, f"http://127.{octet}.{rest}:15001", "127.0.0.1,localhost"]

"""Where the ingress gateway listens: a load balancer's address, a node's port, or a forwarded port."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pytest_istio.clusters.base import Address
from pytest_istio.errors import PytestIstioError
from pytest_istio.findings import finding
from pytest_istio.kube.polling import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object
    from pytest_istio.progress import Progress

    Wire = Callable[[str, int], tuple[str, int]]

__all__ = ["NoAddressError", "Wire", "find_address", "gateway_service"]

CONNECT_SECONDS = 2.0
"""How long an address may take to accept a connection before the next one is tried."""


class NoAddressError(PytestIstioError):
    """There is no way to the ingress gateway."""


def gateway_service(mesh: Mesh) -> Object:
    """Return the ingress gateway's Service.

    Raises:
        NoAddressError: There is none.
    """
    name, namespace = mesh.release.gateway.service, mesh.gateway_namespace
    service = mesh.kube.find("v1", "Service", name, namespace)
    if service is None:
        raise NoAddressError(
            finding(
                f"Service {namespace}/{name}",
                expected="exists: it is the way in",
                seen="not on the cluster",
                cause="deleted after the installation, or the manifests leave the ingress gateway out",
                look=f"kubectl -n {namespace} get services",
            )
        )
    return service


def find_address(mesh: Mesh, wire: Wire, held: ExitStack, *, progress: Progress) -> Address:
    """Return the first address of the ingress gateway that takes connections, for plain HTTP.

    The load balancer's comes first, then a node's; when neither works until the bound ``gateway_address``, or
    none can come any more, a port of a gateway pod is forwarded.

    Args:
        mesh: The installed mesh.
        wire: Where an address that the cluster's objects name is reached from here: the provider's `wire`.
        held: Takes what must stay open as long as the address is used.
        progress: Is told what is awaited.

    Raises:
        NoAddressError: There is no gateway Service, or no way to it.
    """

    def look() -> tuple[Address | None, Object]:
        service = gateway_service(mesh)
        progress.waiting(f"an address of Service {service['metadata']['name']} that takes connections")
        return next(filter(_connects, _candidates(mesh, service, wire)), None), service

    found, service = until(
        look,
        lambda result: result[0] or not _pending(result[1]),
        timeout=mesh.timeouts.gateway_address,
        pause=1.0,
    )
    return found or _forwarded(mesh, service, held)


def _candidates(mesh: Mesh, service: Object, wire: Wire) -> Iterator[Address]:
    port = _http_port(mesh, service)
    for ingress in ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []:
        host = ingress.get("ip") or ingress["hostname"]
        yield Address(*wire(host, port["port"]), "load-balancer")
    if port.get("nodePort"):
        for host in _node_hosts(mesh):
            yield Address(*wire(host, port["nodePort"]), "node-port")


def _node_hosts(mesh: Mesh) -> list[str]:
    """Return the nodes' addresses, those meant for the outside first."""
    nodes = mesh.kube.list("v1", "Node")
    addresses = [address for node in nodes for address in node["status"].get("addresses") or []]
    kinds = ("ExternalIP", "InternalIP")
    return [each["address"] for kind in kinds for each in addresses if each["type"] == kind]


def _http_port(mesh: Mesh, service: Object) -> Object:
    name, metadata = mesh.release.gateway.http, service["metadata"]
    ports: dict[str, Object] = {str(port.get("name")): port for port in service["spec"]["ports"]}
    if name not in ports:
        raise NoAddressError(
            finding(
                f"Service {metadata['namespace']}/{metadata['name']}",
                expected=f"a port named {name}",
                seen=", ".join(ports),
                cause="manifests of another version",
                look=f"kubectl -n {metadata['namespace']} get service {metadata['name']} -o yaml",
            )
        )
    return ports[name]


def _pending(service: Object) -> bool:
    """Return whether somebody may still give the Service an address."""
    assigned = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress")
    return service["spec"].get("type") == "LoadBalancer" and not assigned


def _connects(address: Address) -> bool:
    try:
        socket.create_connection((address.host, address.port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _forwarded(mesh: Mesh, service: Object, held: ExitStack) -> Address:
    """Forward a local port to a running pod of the gateway."""
    selector = ",".join(f"{key}={value}" for key, value in (service["spec"].get("selector") or {}).items())
    pods = mesh.kube.list("v1", "Pod", mesh.gateway_namespace, labels=selector, fields="status.phase=Running")
    running = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
    if not running:
        raise NoAddressError(
            finding(
                f"Service {mesh.gateway_namespace}/{service['metadata']['name']}",
                expected="an address that takes connections, or a pod to forward a port to",
                seen=f"no address takes connections, and no pod with {selector} runs",
                cause="the gateway's Deployment is scaled to zero, or its pods do not start",
                look=f"kubectl -n {mesh.gateway_namespace} get service,pods -l {selector}",
            )
        )
    inside = _target_port(_http_port(mesh, service), running[0])
    forwarded = mesh.kube.port_forward(mesh.gateway_namespace, running[0]["metadata"]["name"], inside)
    return Address(*held.enter_context(forwarded), "port-forward")


def _target_port(port: Object, pod: Object) -> int:
    """Return the port of a pod to which a Service's port leads; a pod may give it a name."""
    own: int = port["port"]
    target: int | str = port.get("targetPort") or own
    named: dict[str, int] = {
        str(each.get("name")): each["containerPort"]
        for container in pod["spec"]["containers"]
        for each in container.get("ports") or []
    }
    return target if isinstance(target, int) else named.get(target, own)

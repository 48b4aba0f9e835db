"""Where the ingress gateway listens: a load balancer's address, a node's port, or a forwarded port."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

from pytest_istio.clusters.base import Address
from pytest_istio.errors import PytestIstioError
from pytest_istio.findings import finding
from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.polling import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object
    from pytest_istio.progress import Progress

    Wire = Callable[[str, int], tuple[str, int]]

__all__ = ["NoAddressError", "Wire", "find_address", "gateway_service"]

CONNECT_SECONDS = 2.0
"""How long an address may take to accept a connection."""

AT_ONCE = 64
"""How many addresses are tried side by side: a cluster may have hundreds of nodes, none reached from here."""


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
    none can come any more, a port of a gateway pod is forwarded. A load balancer that was given an address
    which is silent, such as a name that is not known yet, has that bound from the making of its Service on.

    Args:
        mesh: The installed mesh.
        wire: Where an address that the cluster's objects name is reached from here: the provider's `wire`.
        held: Takes what must stay open as long as the address is used.
        progress: Is told what is awaited.

    Raises:
        NoAddressError: There is no gateway Service, or no way to it.
    """
    bound = mesh.timeouts.gateway_address
    deadline = Deadline(bound)

    def look() -> tuple[Address | None, Object, bool]:
        service = gateway_service(mesh)
        name = service["metadata"]["name"]
        progress.waiting(f"an address of Service {name} that takes connections")
        found, errors = _first(_balancers(mesh, service, wire), deadline)
        if found:
            return found, service, False
        # Not until the very end, so that the nodes are tried once in any case.
        patient = deadline.remaining() > CONNECT_SECONDS
        if patient and _silent(errors) and _age(mesh, service) < bound:
            progress.waiting(f"the load balancer of Service {name}: {_told(errors)}")
            return None, service, True
        if errors:
            progress.note(f"the load balancer of Service {name} is passed over: {_told(errors)}")
        found, _ = _first(_nodes(mesh, service, wire), deadline)
        return found, service, _pending(service)

    found, service, _ = until(look, lambda result: result[0] or not result[2], timeout=bound, pause=1.0)
    return found or _forwarded(mesh, service, held)


def _balancers(mesh: Mesh, service: Object, wire: Wire) -> list[Address]:
    port: int = _http_port(mesh, service)["port"]
    assigned = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    hosts = [ingress.get("ip") or ingress["hostname"] for ingress in assigned]
    return [Address(*wire(host, port), "load-balancer") for host in hosts]


def _nodes(mesh: Mesh, service: Object, wire: Wire) -> list[Address]:
    port: int | None = _http_port(mesh, service).get("nodePort")
    return [Address(*wire(host, port), "node-port") for host in _node_hosts(mesh)] if port else []


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


def _age(mesh: Mesh, service: Object) -> float:
    made = datetime.fromisoformat(service["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
    return (mesh.kube.now() - made).total_seconds()


def _silent(errors: Mapping[Address, OSError]) -> bool:
    """Return whether one of the addresses may still come to life; for one that refuses, somebody answers."""
    return any(not isinstance(error, ConnectionRefusedError) for error in errors.values())


def _told(errors: Mapping[Address, OSError]) -> str:
    return "; ".join(f"{each.host}:{each.port} takes no connections ({why})" for each, why in errors.items())


def _first(addresses: list[Address], deadline: Deadline) -> tuple[Address | None, dict[Address, OSError]]:
    """Return the first of these addresses that takes connections, and why those before it do not."""
    errors: dict[Address, OSError] = {}
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for start in range(0, len(addresses), AT_ONCE):
            if start and deadline.expired:
                break
            batch = addresses[start : start + AT_ONCE]
            for address, error in zip(batch, pool.map(_refusal, batch), strict=True):
                if error is None:
                    return address, errors
                errors[address] = error
    finally:
        # Addresses that are of no interest any more are not waited for.
        pool.shutdown(wait=False, cancel_futures=True)
    return None, errors


def _refusal(address: Address) -> OSError | None:
    """Return why an address takes no connection, None if it does."""
    try:
        socket.create_connection((address.host, address.port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return error
    return None


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

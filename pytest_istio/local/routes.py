"""What services listen on and where that leads, worked out from Services and EndpointSlices."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_istio.local.addresses import Plan
    from pytest_istio.local.api import Object
    from pytest_istio.local.forward import Address

__all__ = ["addresses", "host_lines", "ingress", "routes", "uid"]


def routes(
    services: Iterable[Object], slices: Iterable[Object], plan: Plan, balancers: Mapping[str, str]
) -> dict[Address, list[Address]]:
    """Return what is to be listened on and where its connections go.

    An address of a service without ready endpoints is left out, so that connecting to it is refused as
    it would be by kube-proxy; a load balancer's listens nonetheless, as load balancers do.

    Args:
        services: All services.
        slices: All EndpointSlices.
        plan: The cluster's addresses.
        balancers: The addresses of services of type LoadBalancer, by the service's uid.
    """
    by_service = _slices_by_service(slices)
    found: dict[Address, list[Address]] = {}
    for service in services:
        balancer = balancers.get(uid(service))
        mine = by_service.get(_name(service), [])
        for address, port in addresses(service, plan, balancer).items():
            targets = [plan.wire(*endpoint) for endpoint in _endpoints(mine, port)]
            if targets or address[0] == balancer:
                found[address] = targets
    return found


def host_lines(services: Iterable[Object], slices: Iterable[Object]) -> list[str]:
    """Return the lines of the hosts file: a service's address, of a headless one those of its ready pods."""
    by_service = _slices_by_service(slices)
    lines = []
    for service in services:
        namespace, name = _name(service)
        cluster_ip = service["spec"].get("clusterIP")
        addresses = [cluster_ip] if cluster_ip else []
        if cluster_ip == "None":
            addresses = [host for each in by_service.get((namespace, name), []) for host in _ready(each)]
        lines += [f"{address} {name}.{namespace}" for address in sorted(set(addresses))]
    return sorted(lines)


def addresses(service: Object, plan: Plan, balancer: str | None) -> dict[Address, Object]:
    """Return where a service listens, each with the service's port that it stands for."""
    spec = service["spec"]
    found: dict[Address, Object] = {}
    cluster_ip = spec.get("clusterIP")
    for port in spec.get("ports") or []:
        if port.get("protocol", "TCP") != "TCP":
            continue
        if cluster_ip and cluster_ip != "None":
            found[plan.wire(cluster_ip, port["port"])] = port
        if port.get("nodePort"):
            found[plan.wire(plan.node, port["nodePort"])] = port
        if balancer:
            found[balancer, port["port"]] = port
    return found


def _endpoints(slices: Iterable[Object], service_port: Object) -> list[Address]:
    """Return the ready endpoints of one port of a service."""
    return [
        (host, port["port"])
        for each in slices
        for port in each.get("ports") or []
        if port.get("name", "") == service_port.get("name", "") and port.get("port")
        for host in _ready(each)
    ]


def _ready(endpoint_slice: Object) -> list[str]:
    return [
        address
        for endpoint in endpoint_slice.get("endpoints") or []
        if endpoint.get("conditions", {}).get("ready") is not False
        for address in endpoint["addresses"]
    ]


def _slices_by_service(slices: Iterable[Object]) -> dict[tuple[str, str], list[Object]]:
    found: dict[tuple[str, str], list[Object]] = {}
    for each in slices:
        service = each["metadata"].get("labels", {}).get("kubernetes.io/service-name")
        if service and each["addressType"] == "IPv4":
            found.setdefault((each["metadata"]["namespace"], service), []).append(each)
    return found


def _name(service: Object) -> tuple[str, str]:
    return service["metadata"]["namespace"], service["metadata"]["name"]


def uid(obj: Object) -> str:
    """Return what names an object for good, whatever is later called the same."""
    return str(obj["metadata"]["uid"])


def ingress(service: Object) -> str | None:
    """Return the load balancer's address that a service's status shows."""
    ingress = service.get("status", {}).get("loadBalancer", {}).get("ingress") or [{}]
    address: str | None = ingress[0].get("ip")
    return address

"""Kubernetes objects of a small mesh, and the picture that the discovery service has of them."""

from __future__ import annotations

from typing import Any

from pytest_istio.local.images.pilot.crds import KINDS
from pytest_istio.local.images.pilot.mesh import Mesh, Proxy, picture

Json = dict[str, Any]

SERVICES = "10.126.0."
PODS = "10.190.0."


def service(name: str, number: int, *ports: Json, namespace: str = "default") -> Json:
    given = list(ports) or [{"name": "http", "port": 9080, "targetPort": 9080}]
    return {
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterIP": f"{SERVICES}{number}",
            "ports": given,
            "selector": {"app": name},
        },
    }


def pod(
    name: str,
    number: int,
    *,
    app: str,
    version: str = "v1",
    namespace: str = "default",
    ports: tuple[int, ...] = (9080,),
    account: str = "default",
) -> Json:
    metadata: Json = {"name": name, "namespace": namespace, "labels": {"app": app, "version": version}}
    containers = [{"name": app, "ports": [{"containerPort": port} for port in ports]}]
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": containers, "serviceAccountName": account},
        "status": {"podIP": f"{PODS}{number}", "phase": "Running"},
    }


def endpoints(name: str, *numbers: int, port: int = 9080, port_name: str = "http") -> Json:
    return {
        "kind": "Endpoints",
        "metadata": {"name": name, "namespace": "default"},
        "subsets": [
            {
                "addresses": [{"ip": f"{PODS}{number}"} for number in numbers],
                "ports": [{"name": port_name, "port": port}],
            }
        ],
    }


def istio(kind: str, name: str, spec: Json, *, namespace: str = "default", age: int = 0) -> Json:
    created = f"2026-01-01T00:00:{59 - age:02}Z"
    metadata = {"name": name, "namespace": namespace, "creationTimestamp": created}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def certificate(account: str, namespace: str = "default") -> Json:
    return {"kind": "Secret", "metadata": {"name": f"istio.{account}", "namespace": namespace}}


REVIEWS = "reviews.default.svc.cluster.local"

BOOKINFO: tuple[Json, ...] = (
    service("details", 1),
    service("ratings", 2),
    service("reviews", 3),
    service("productpage", 4),
    pod("details-v1", 1, app="details"),
    pod("ratings-v1", 2, app="ratings"),
    pod("reviews-v1", 3, app="reviews"),
    pod("reviews-v2", 4, app="reviews", version="v2"),
    pod("reviews-v3", 5, app="reviews", version="v3"),
    pod("productpage-v1", 6, app="productpage"),
    endpoints("details", 1),
    endpoints("ratings", 2),
    endpoints("reviews", 3, 4, 5),
    endpoints("productpage", 6),
)

GATEWAY_POD: Json = {
    "kind": "Pod",
    "metadata": {
        "name": "ingress",
        "namespace": "istio-system",
        "labels": {"app": "istio-ingressgateway", "istio": "ingressgateway"},
    },
    "spec": {"containers": [{"name": "istio-proxy", "ports": [{"containerPort": 80}]}]},
    "status": {"podIP": f"{PODS}9", "phase": "Running"},
}

GATEWAY: tuple[Json, ...] = (
    GATEWAY_POD,
    istio(
        "Gateway",
        "bookinfo-gateway",
        {
            "selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
        },
    ),
    istio(
        "VirtualService",
        "bookinfo",
        {
            "hosts": ["*"],
            "gateways": ["bookinfo-gateway"],
            "http": [
                {
                    "match": [
                        {"uri": {"exact": "/productpage"}},
                        {"uri": {"exact": "/login"}},
                        {"uri": {"exact": "/logout"}},
                        {"uri": {"prefix": "/api/v1/products"}},
                    ],
                    "route": [{"destination": {"host": "productpage", "port": {"number": 9080}}}],
                }
            ],
        },
    ),
)

ALL_SUBSETS = istio(
    "DestinationRule",
    "reviews",
    {"host": "reviews", "subsets": [{"name": f"v{n}", "labels": {"version": f"v{n}"}} for n in (1, 2, 3)]},
)

MUTUAL = istio("DestinationRule", "default", {
    "host": "*.local", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}})  # fmt: skip
"""What the release's variant with authentication applies for all services; a rule of their own hides it."""


def reviews_to(*weights: tuple[str, int]) -> Json:
    """A VirtualService that splits reviews among subsets."""
    route: list[Json] = [
        {"destination": {"host": "reviews", "subset": subset}, "weight": weight} for subset, weight in weights
    ]
    return istio("VirtualService", "reviews", {"hosts": ["reviews"], "http": [{"route": route}]})


def mesh(*objects: Json) -> Mesh:
    """The picture of some objects, made the way the discovery service makes it."""
    seen: dict[str, dict[tuple[str, str], Any]] = {kind.name: {} for kind in KINDS}
    keep = {kind.name: kind.keep for kind in KINDS}
    for item in objects:
        metadata = item["metadata"]
        key = (metadata.get("namespace", ""), metadata["name"])
        seen[item["kind"]][key] = keep[item["kind"]](item)
    return picture(seen)


def node(name: str, number: int, *, role: str = "sidecar", namespace: str = "default") -> str:
    """The id by which a proxy asks."""
    return f"{role}~{PODS}{number}~{name}.{namespace}~{namespace}.svc.cluster.local"


def proxy(picture: Mesh, name: str = "productpage-v1", number: int = 6) -> Proxy:
    """The sidecar of a pod."""
    found = picture.proxy(node(name, number))
    assert found
    return found


def gateway(picture: Mesh) -> Proxy:
    """The ingress gateway."""
    found = picture.proxy(node("ingress", 9, role="router", namespace="istio-system"))
    assert found
    return found

"""Galley's rules: everything that ships is accepted; each mistake is refused with its own words."""

from __future__ import annotations

import contextlib
import copy
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pytest_istio.local.images.galley import schema
from pytest_istio.local.images.galley.validation import InvalidError, validate
from pytest_istio.paths import fixtures_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

Object = dict[str, Any]


def istio_objects(folder: Path) -> list[Object]:
    """Return the custom resources of Istio below a folder."""
    files = sorted(folder.rglob("*.yaml"))
    documents = [each for file in files for each in yaml.load_all(file.read_text(), yaml.CSafeLoader) if each]
    return [each for each in documents if ".istio.io/" in each["apiVersion"]]


SHIPPED = istio_objects(fixtures_folder())


@pytest.mark.parametrize("obj", SHIPPED, ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
def test_everything_bundled_is_accepted(obj: Object) -> None:
    validate(obj)


def test_everything_of_the_release_is_accepted() -> None:
    folder = os.environ.get("PYTEST_ISTIO_REFERENCE_DATA")
    if not folder:
        pytest.skip("PYTEST_ISTIO_REFERENCE_DATA names no folder with the release's own files")
    found = istio_objects(Path(folder) / "istio-1.0.5")
    assert len(found) > 40
    for obj in found:
        validate(obj)


def virtual_service(**spec: object) -> Object:
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"hosts": ["reviews"], **spec},
    }


def routes(*weights: int | None, **route: object) -> Object:
    targets = [
        {
            "destination": {"host": "reviews", "subset": f"v{number}"},
            **({} if weight is None else {"weight": weight}),
        }
        for number, weight in enumerate(weights)
    ]
    return virtual_service(http=[{"route": targets, **route}])


def of_kind(
    kind: str, spec: object, *, name: str = "x", group: str = "networking.istio.io/v1alpha3"
) -> Object:
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


AUTHENTICATION = "authentication.istio.io/v1alpha1"
RBAC = "rbac.istio.io/v1alpha1"
CONFIG = "config.istio.io/v1alpha2"
PORT = {"number": 80, "name": "http", "protocol": "HTTP"}


@pytest.mark.parametrize(
    "obj",
    [
        routes(None),
        routes(50, 50),
        routes(100, 0),
        routes(None, timeout="0.5s", retries={"attempts": 3, "perTryTimeout": "2s"}),
        routes(None, websocket_upgrade=True, append_headers={"x-a": "b"}),
        routes(None, match=[{"headers": {"end-user": {"exact": "jason"}}, "uri": {"prefix": "/a"}}]),
        virtual_service(hosts=["*"], gateways=["gateway"], http=[{"redirect": {"uri": "/x"}}]),
        virtual_service(tcp=[{"match": [{"port": 27017}], "route": [{"destination": {"host": "mongo"}}]}]),
        of_kind("DestinationRule", {"host": "*.local", "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}}),
        of_kind("Policy", {"peers": [{"mtls": None}]}, name="default", group=AUTHENTICATION),
        of_kind("MeshPolicy", {"peers": [{"mtls": {}}]}, name="default", group=AUTHENTICATION),
        of_kind("kubernetesenv", None, group=CONFIG),
        of_kind("RbacConfig", {"mode": "ON"}, name="default", group=RBAC),
    ],
    ids=str,
)
def test_good_configuration_is_accepted(obj: Object) -> None:
    validate(obj)


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        (routes(60, 30), "configuration is invalid: total destination weight 90 != 100"),
        (routes(50, 60), "total destination weight 110 != 100"),
        (routes(101), "percentage 101 is not in range 0..100"),
        (routes(None, None), "total destination weight 0 != 100"),
        (virtual_service(http=[{}]), "HTTP route or redirect is required"),
        (virtual_service(), "http, tcp or tls must be provided in virtual service"),
        (virtual_service(hosts=[], http=[{"redirect": {"uri": "/"}}]), "must have at least one host"),
        (virtual_service(hosts=["*"], http=[{"redirect": {"uri": "/"}}]), "wildcard host * is not allowed"),
        (virtual_service(hosts=["*.com", "a.com"], http=[{"redirect": {"uri": "/"}}]), "duplicate hosts"),
        (
            virtual_service(hosts=["in valid"], http=[{"redirect": {"uri": "/"}}]),
            'domain name "in valid" invalid',
        ),
        (virtual_service(http=[{"route": [{"weight": 100}]}]), "destination is required"),
        (virtual_service(http=[{"route": [{"destination": {}}]}]), "empty domain name not allowed"),
        (routes(None, timeout="1us"), "duration must be greater than 1ms"),
        (routes(None, timeout="soon"), "bad Duration"),
        (routes(None, timeout=5), "expected a duration, got 5"),
        (routes(None, retries={"attempts": 0}), "attempts must be positive"),
        (routes(None, fault={}), "must have an abort and/or a delay"),
        (
            routes(None, fault={"delay": {"percent": 200, "fixedDelay": "1s"}}),
            "percentage 200 is not in range",
        ),
        (routes(None, fault={"abort": {"httpStatus": 999}}), "HTTP status 999 is not in range 0-600"),
        (routes(None, redirect={"uri": "/"}), "cannot contain both route and redirect"),
        (routes(None, rewrite={}), "rewrite must specify URI, authority, or both"),
        (
            routes(None, match=[{"uri": {"exact": "/", "prefix": "/"}}]),
            "must be one of exact, prefix or regex",
        ),
        (routes(None, match=[{"headers": {"End-User": {"exact": "a"}}}]), "must be in lower case"),
        (routes(None, match=[{"uri": "/productpage"}]), "expected the fields of StringMatch"),
        (routes(None, mach=[]), 'error decoding configuration: unknown field "mach" in HTTPRoute at http[0]'),
        (
            virtual_service(http=[{"route": [{"destination": {"hots": "a"}}]}]),
            'unknown field "hots" in Destination',
        ),
        (of_kind("DestinationRule", {"host": ""}), "empty domain name not allowed"),
        (of_kind("DestinationRule", {"host": "a", "subsets": [{"name": ""}]}), "subset name cannot be empty"),
        (of_kind("DestinationRule", {"host": "a", "subsets": [{"name": "v 1"}]}), "subset name is invalid"),
        (
            of_kind(
                "DestinationRule", {"host": "a", "trafficPolicy": {"loadBalancer": {"simple": "RANDMO"}}}
            ),
            "unknown value 'RANDMO' for enum SimpleLB",
        ),
        (of_kind("DestinationRule", {"host": "a", "trafficPolicy": {}}), "must have at least one field"),
        (of_kind("Gateway", {}), "gateway must have at least one server"),
        (of_kind("Gateway", {"servers": [{"port": PORT}]}), "must contain at least one host"),
        (of_kind("Gateway", {"servers": [{"hosts": ["*"]}]}), "port is required"),
        (
            of_kind("Gateway", {"servers": [{"hosts": ["*"], "port": {**PORT, "protocol": "HTTPS"}}]}),
            "server must have TLS settings for HTTPS/TLS protocols",
        ),
        (
            of_kind("Gateway", {"servers": [{"hosts": ["*"], "port": PORT, "tls": {"mode": "SIMPLE"}}]}),
            "server cannot have TLS settings for non HTTPS/TLS ports",
        ),
        (
            of_kind("Gateway", {"servers": [{"hosts": ["*"], "port": {**PORT, "protocol": "HTPP"}}]}),
            "unsupported protocol: HTPP",
        ),
        (of_kind("ServiceEntry", {"hosts": ["*"], "ports": [PORT]}), "invalid host *"),
        (
            of_kind("ServiceEntry", {"hosts": ["a.com"], "ports": [PORT], "resolution": "STATIC"}),
            "endpoints must be provided if service entry discovery mode is static",
        ),
        (
            of_kind("ServiceEntry", {"hosts": ["*.a.com"], "ports": [PORT], "resolution": "DNS"}),
            "hosts must be FQDN if no endpoints are provided",
        ),
        (of_kind("EnvoyFilter", {}), "envoy filter: missing filters"),
        (of_kind("Policy", {}, name="x", group=AUTHENTICATION), 'must be named "default", found "x"'),
        (of_kind("MeshPolicy", {}, name="x", group=AUTHENTICATION), 'policy name must be "default"'),
        (
            of_kind("Policy", {"peers": [{"mtls": {"mode": "LAX"}}]}, name="default", group=AUTHENTICATION),
            "unknown value 'LAX' for enum MutualTlsMode",
        ),
        (of_kind("ServiceRole", {}, group=RBAC), "at least 1 rule must be specified"),
        (
            of_kind("ServiceRoleBinding", {"subjects": [{"user": "*"}]}, group=RBAC),
            "roleRef must be specified",
        ),
        (of_kind("RbacConfig", {}, name="x", group=RBAC), "name must be default"),
        (of_kind("rule", {"match": "true"}, group=CONFIG), "rule must have at least one action"),
        (of_kind("rule", {"actions": [{"handler": "a"}]}, group=CONFIG), "at least one instance is required"),
        (of_kind("metric", "value", group=CONFIG), "spec of metric must be a map"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_are_refused(obj: Object, words: str) -> None:
    with pytest.raises(InvalidError) as refused:
        validate(obj)
    assert words in str(refused.value)


def test_several_mistakes_are_listed() -> None:
    with pytest.raises(InvalidError) as refused:
        validate(virtual_service(hosts=[], http=[{}]))
    assert str(refused.value) == (
        "configuration is invalid: 2 errors occurred:\n\n"
        "* virtual service must have at least one host\n"
        "* HTTP route or redirect is required"
    )


def test_every_type_of_the_schema_is_defined() -> None:
    known = {*schema.MESSAGES, *schema.ENUMS, "bool", "int", "duration", "any"}
    used = {field.partition(":")[2] for fields in schema.MESSAGES.values() for field in fields.split()}
    assert used - {""} <= known


def _places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _places(each, (*path, key))


def test_nonsense_is_refused_or_accepted_but_never_breaks_the_webhook() -> None:
    random_ = random.Random(1)
    nonsense: list[object] = [None, {}, [], 0, -1, "", "*", True, 1.5, [None], [[]], [{}], {"a": None}]
    for _ in range(4000):
        obj = {"spec": None, **copy.deepcopy(random_.choice(SHIPPED))}
        *way, last = random_.choice([("spec", *path) for path in _places(obj["spec"])])
        inner: Any = obj
        for key in way:
            inner = inner[key]
        inner[last] = random_.choice(nonsense)
        with contextlib.suppress(InvalidError):
            validate(obj)

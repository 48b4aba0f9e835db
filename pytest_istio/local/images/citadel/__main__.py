"""Citadel's program: the root certificate in a Secret of its own, then the controller.

Not part of it: the gRPC port on which node agents ask for certificates, which nothing in a default
installation of Istio 1.0 uses.
"""

from __future__ import annotations

import argparse
import base64
import sys
import time
from typing import TYPE_CHECKING

from pytest_istio.local.images import arguments
from pytest_istio.local.images.citadel.authority import Authority, KeyPair
from pytest_istio.local.images.citadel.controller import Controller
from pytest_istio.local.images.cluster_api import ApiError, ClusterApi
from pytest_istio.local.images.environment import log, namespace, run_until_terminated
from pytest_istio.local.images.monitoring import serve_monitoring

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_istio.local.images.cluster_api import Object

_ROOT_SECRET = "istio-ca-secret"  # noqa: S105 - the name of a Secret, not one
_ROOT_TYPE = "istio.io/ca-root"
# Servers that the API server calls by their Service's name, by ServiceAccount.
_WEBHOOKS = {
    "istio-sidecar-injector-service-account": "istio-sidecar-injector",
    "istio-galley-service-account": "istio-galley",
}
_RETRY_SECONDS = 0.2


def main() -> None:
    """Run until terminated."""
    options = _options()
    api = ClusterApi()
    authority = _until_answered(lambda: _authority(api, options.storage))
    names = _dns_names(options.custom_dns_names if options.append_dns_names else "", options.storage)
    controller = Controller(api, authority, first=options.storage, dns_names=names)
    controller.start()
    serve_monitoring("citadel", lambda: f"citadel_secrets_issued_total {controller.issued}\n")
    run_until_terminated()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="istio_ca", allow_abbrev=False)
    parser.add_argument("--append-dns-names", type=arguments.flag, default=True)
    parser.add_argument("--custom-dns-names", default="")
    parser.add_argument("--citadel-storage-namespace", dest="storage", default=namespace())
    parser.add_argument("--self-signed-ca", type=arguments.flag, default=False)
    options = arguments.parse(parser, sys.argv[1:])
    if not options.self_signed_ca:
        parser.error("only --self-signed-ca=true is part of this stand-in")
    return options


def _until_answered(ask: Callable[[], Authority]) -> Authority:
    """Repeat a first question to the API server: roles may be applied a moment after the Deployment."""
    while True:
        try:
            return ask()
        except (ApiError, OSError) as error:  # noqa: PERF203 - that is the point
            log("no root certificate yet", level="warn", error=str(error))
            time.sleep(_RETRY_SECONDS)


def _authority(api: ClusterApi, storage: str) -> Authority:
    """Return the authority whose root is stored in the cluster, storing a new one if there is none."""
    collection = f"/api/v1/namespaces/{storage}/secrets"
    try:
        return _stored(api.request("GET", f"{collection}/{_ROOT_SECRET}"))
    except ApiError as error:
        if error.reason != "NotFound":
            raise
    authority = Authority.self_signed()
    files = {"ca-cert.pem": authority.root.certificate, "ca-key.pem": authority.root.key}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": _ROOT_TYPE,
        "metadata": {"name": _ROOT_SECRET, "namespace": storage},
        "data": {name: base64.b64encode(pem).decode() for name, pem in files.items()},
    }
    try:
        api.request("POST", collection, secret)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        return _stored(api.request("GET", f"{collection}/{_ROOT_SECRET}"))
    log("root certificate created", secret=f"{storage}/{_ROOT_SECRET}")
    return authority


def _stored(secret: Object) -> Authority:
    certificate, key = (base64.b64decode(secret["data"][name]) for name in ("ca-cert.pem", "ca-key.pem"))
    log("root certificate found", secret=secret["metadata"]["name"])
    return Authority(KeyPair(certificate, key))


def _dns_names(custom: str, storage: str) -> Callable[[str, str], Sequence[str]]:
    """Return the names of servers besides their identity, by namespace and name of their account.

    Args:
        custom: ``account.namespace:name`` pairs, separated by commas, as ``--custom-dns-names`` has them.
        storage: The namespace of the control plane.
    """
    pairs = [pair.split(":") for pair in custom.split(",") if pair.count(":") == 1]

    def names(of_namespace: str, account: str) -> list[str]:
        found = [name for who, name in pairs if who == f"{account}.{of_namespace}"]
        service = _WEBHOOKS.get(account)
        if service and of_namespace == storage:
            found += [f"{service}.{storage}.svc", f"{service}.{storage}"]
        return found

    return names


if __name__ == "__main__":
    main()

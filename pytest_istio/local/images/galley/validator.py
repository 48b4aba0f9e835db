"""Galley's webhooks: what enters the cluster is accepted or refused here."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pytest_istio.local.images import admission, arguments
from pytest_istio.local.images.cluster_api import ClusterApi
from pytest_istio.local.images.environment import inside, log, namespace
from pytest_istio.local.images.galley.registration import Registration
from pytest_istio.local.images.galley.validation import InvalidError, validate
from pytest_istio.local.images.monitoring import serve_monitoring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["decide", "serve"]


def decide(request: Mapping[str, Any]) -> admission.Verdict:
    """Accept or refuse the object of an admission request."""
    obj = request.get("object")
    if request.get("operation") not in {"CREATE", "UPDATE"} or obj is None:
        return admission.Verdict()
    metadata = obj.get("metadata") or {}
    named = f"{obj.get('kind')} {request.get('namespace', '')}/{metadata.get('name', '')}"
    try:
        validate(obj)
    except InvalidError as error:
        log("refused", object=named, reason=str(error))
        return admission.Verdict(message=str(error))
    log("accepted", object=named)
    return admission.Verdict()


def serve(given: Sequence[str]) -> None:
    """Serve until terminated.

    Args:
        given: The arguments of the subcommand ``validator``.
    """
    parser = argparse.ArgumentParser(prog="galley validator", allow_abbrev=False)
    admission.add_options(parser)
    parser.add_argument("--deployment-namespace", default=namespace())
    parser.add_argument("--webhook-config-file", type=inside, required=True)
    options = arguments.parse(parser, given)
    webhook = admission.Webhook(options, {"/admitpilot": decide, "/admitmixer": decide})
    serve_monitoring("galley")
    log("serving")
    registration = Registration(
        ClusterApi(), options.webhook_config_file, lambda: webhook.ca_bundle, options.deployment_namespace
    )
    webhook.run(options, registration.check)

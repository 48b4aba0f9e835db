"""TLS between proxies of the mesh, with gateways' clients, and with services outside.

Files are named relative to Envoy's working folder, which the proxy's agent lays out.
"""

from __future__ import annotations

from typing import Any

from pytest_istio.local.images.pilot.envoy import typed
from pytest_istio.local.images.proxy import bootstrap

__all__ = ["client", "mesh_client", "mesh_server", "server"]

Json = dict[str, Any]


def _file(path: str) -> Json:
    """Return a file of the proxy's container as a data source."""
    return {"filename": f"{bootstrap.ROOT_LINK}{path}"}


def _transport_socket(side: str, **context: Any) -> Json:  # noqa: ANN401  # JSON values
    kind = f"transport_sockets.tls.v3.{side}TlsContext"
    return {"name": "envoy.transport_sockets.tls", "typed_config": typed(kind, **context)}


def mesh_server() -> Json:
    """Return the transport socket that takes connections from proxies of the mesh and nobody else."""
    common = {
        "alpn_protocols": ["istio", "h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [bootstrap.certificate("identity")],
        "validation_context_sds_secret_config": bootstrap.certificate("roots"),
    }
    return _transport_socket("Downstream", require_client_certificate=True, common_tls_context=common)


def mesh_client(sni: str, identities: list[str]) -> Json:
    """Return the transport socket that shows this proxy's certificate and expects one of some identities.

    Args:
        sni: The server's name.
        identities: SPIFFE URIs of whom the server may be; empty for anybody of the mesh.
    """
    names = [{"san_type": "URI", "matcher": {"exact": identity}} for identity in identities]
    common = {
        "alpn_protocols": ["istio"],
        "tls_certificate_sds_secret_configs": [bootstrap.certificate("identity")],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": names},
            "validation_context_sds_secret_config": bootstrap.certificate("roots"),
        },
    }
    return _transport_socket("Upstream", sni=sni, common_tls_context=common)


def client(settings: Json) -> Json:
    """Return the transport socket of a DestinationRule's ``tls`` of mode SIMPLE or MUTUAL."""
    common: Json = {}
    validation: Json = {}
    if settings.get("caCertificates"):
        validation["trusted_ca"] = _file(settings["caCertificates"])
    names = settings.get("subjectAltNames") or []
    if names:
        validation["match_typed_subject_alt_names"] = [
            {"san_type": kind, "matcher": {"exact": name}} for name in names for kind in ("DNS", "URI")
        ]
    if validation:
        common["validation_context"] = validation
    if settings["mode"] == "MUTUAL":
        common["tls_certificates"] = [_pair(settings["clientCertificate"], settings["privateKey"])]
    return _transport_socket("Upstream", sni=settings.get("sni", ""), common_tls_context=common)


def server(settings: Json) -> Json:
    """Return the transport socket of a Gateway server's ``tls`` of mode SIMPLE or MUTUAL."""
    common: Json = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificates": [_pair(settings["serverCertificate"], settings["privateKey"])],
    }
    mutual = settings["mode"] == "MUTUAL"
    if mutual:
        common["validation_context"] = {"trusted_ca": _file(settings["caCertificates"])}
    return _transport_socket("Downstream", require_client_certificate=mutual, common_tls_context=common)


def _pair(certificate: str, key: str) -> Json:
    return {"certificate_chain": _file(certificate), "private_key": _file(key)}

"""The configuration of a real Prometheus that runs on the embedded Kubernetes as a process.

It finds its targets in the API like any Prometheus. What changes: files are below PODROOT, the API server is
named instead of looked up in the machine's ``/var/run``, and each target's cluster address is replaced by the
loopback address that serves it. Whatever is not loopback then is dropped: nothing leaves the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.local import addresses

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["localized"]

_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_FILES = frozenset({"ca_file", "cert_file", "key_file", "bearer_token_file", "credentials_file"})
_PRIVILEGED = 1024


def localized(config: dict[str, Any], api_server: str, inside: Callable[[str], object]) -> dict[str, Any]:
    """Return a configuration for a process, of one for a container.

    Args:
        config: What ``prometheus.yml`` holds.
        api_server: Host and port at which the API server answers.
        inside: Returns where a file of the container really is.
    """
    result: dict[str, Any] = _with_real_files(config, inside)
    for job in result.get("scrape_configs") or []:
        for discovery in job.get("kubernetes_sd_configs") or []:
            discovery["api_server"] = f"https://{api_server}"
            discovery["tls_config"] = {"ca_file": str(inside(f"{_ACCOUNT}/ca.crt"))}
            discovery["bearer_token_file"] = str(inside(f"{_ACCOUNT}/token"))
        rules = [*(job.get("relabel_configs") or []), *_address_rules(api_server)]
        job["relabel_configs"] = rules
    return result


def _with_real_files(value: Any, inside: Callable[[str], object]) -> Any:  # noqa: ANN401 - any part of YAML
    if isinstance(value, dict):
        return {
            key: str(inside(each))
            if key in _FILES and str(each).startswith("/")
            else _with_real_files(each, inside)
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [_with_real_files(each, inside) for each in value]
    return value


def _address_rules(api_server: str) -> list[dict[str, Any]]:
    rules = [
        _replace(r"kubernetes\.default\.svc:443", api_server),
        _replace(r"10\.(.+)", "127.$1"),
    ]
    shift = addresses.wire_port(1) - 1
    if shift:
        # As text: a port of two digits, 80, becomes 10080.
        rules += [_replace(rf"(127\..+):(\d{{{n}}})", f"$1:1{'0' * (4 - n)}$2") for n in (1, 2, 3)]
        rules += [_replace(r"(127\..+):(10[01]\d|102[0-3])", "$1:1$2")]
    return [*rules, {"source_labels": ["__address__"], "action": "keep", "regex": r"127\..+"}]


def _replace(regex: str, replacement: str) -> dict[str, Any]:
    return {
        "source_labels": ["__address__"],
        "target_label": "__address__",
        "regex": regex,
        "replacement": replacement,
    }

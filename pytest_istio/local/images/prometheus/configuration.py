"""The configuration of a real Prometheus that runs on the embedded Kubernetes as a process.

What changes: files are below PODROOT, targets come from files (see `discovery`), and each target's cluster
address is replaced by the loopback address that serves it. Whatever is not loopback then is dropped: nothing
leaves the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.local import addresses

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_istio.local.images.prometheus.discovery import Query

__all__ = ["localized"]

_FILES = frozenset({"ca_file", "cert_file", "key_file", "bearer_token_file", "credentials_file"})


def localized(
    config: dict[str, Any],
    *,
    api_server: str,
    inside: Callable[[str], object],
    targets: Callable[[Query], object],
) -> dict[str, Any]:
    """Return a configuration for a process, of one for a container.

    Args:
        config: What ``prometheus.yml`` holds.
        api_server: Host and port at which the API server answers.
        inside: Returns where a file of the container really is.
        targets: Returns the file that holds the targets of a query.
    """
    result: dict[str, Any] = _with_real_files(config, inside)
    for job in result.get("scrape_configs") or []:
        queries = [
            (each["role"], tuple((each.get("namespaces") or {}).get("names") or []))
            for each in job.pop("kubernetes_sd_configs", [])
        ]
        job["file_sd_configs"] = [{"files": [str(targets(query)) for query in queries]}]
        job["relabel_configs"] = [*(job.get("relabel_configs") or []), *_address_rules(api_server)]
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
    if addresses.wire_port(1) != 1:
        # As text: port 80 becomes 10080.
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

"""Where Kubernetes comes from: one file a provider."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pytest_istio.errors import BadSettingError, ClusterError

if TYPE_CHECKING:
    from pytest_istio.clusters.base import Provider
    from pytest_istio.settings import Settings

__all__ = ["provider", "resolve"]

PROVIDERS = {"existing": "ExistingProvider", "kind": "KindProvider", "local": "LocalProvider"}
"""The class of each provider; it lies in the module of the provider's name, imported when it is used."""


def provider(name: str) -> Provider:
    """Return the provider with a name, one of `PROVIDERS`."""
    module = import_module(f"{__name__}.{name}")
    chosen: Provider = getattr(module, PROVIDERS[name])()
    return chosen


def resolve(settings: Settings) -> str:
    """Return the name of the provider that the settings lead to, working out ``auto``.

    That is ``existing`` when a context or kubeconfig was named, ``kind`` when pytest-kind is installed and a
    container engine answers, else ``local``.

    Raises:
        BadSettingError: It leads to ``local``, which has nothing for this version of Istio.
    """
    chosen = settings.cluster
    if chosen == "auto" and (settings.context is not None or settings.kubeconfig is not None):
        chosen = "existing"
    elif chosen == "auto":
        chosen = "kind" if find_spec("pytest_kind") and _engine_answers() else "local"
    if chosen == "local" and settings.istio_version and not _has_stand_ins(settings.istio_version):
        came_to = "" if settings.cluster == "local" else "no container engine answers kind here, and "
        raise BadSettingError(
            f"{came_to}--istio-cluster=local has stand-ins for Istio 1.0 to 1.4 only, "
            f"not for {settings.istio_version}; take kind, or an existing cluster (--istio-context)"
        )
    return chosen


def _has_stand_ins(version: str) -> bool:
    return tuple(int(number) for number in version.split(".")[:2]) <= (1, 4)


def _engine_answers() -> bool:
    from pytest_istio.clusters.engine import find_engine  # noqa: PLC0415 (only where the answer is not given)

    try:
        find_engine()
    except ClusterError:
        return False
    return True

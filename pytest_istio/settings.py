"""What a run was asked to do: one frozen value, put together from command line, environment and ini."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_istio.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Attributes:
        istio_version: Such as ``1.0.5``; None when no Istio run was asked for.
        cluster: ``auto``, ``kind``, ``existing`` or ``local``.
        context: A kubeconfig context of an existing cluster.
        kubeconfig: The kubeconfig file of an existing cluster; None for the usual places.
        namespace: Where the control plane goes.
        keep: ``never``, ``failed`` or ``always``: whether a cluster that the run made stays.
        manifests: Rendered YAML of the user's own, a file or a folder; None for the bundled set.
        injection: ``manual`` (written into the manifests) or ``automatic`` (by the admission webhook).
        profile: ``smoke``, ``core`` or ``extended``.
        reports: Files to write the report to; the suffix picks the form.
        timeouts: The bounds on waiting, already scaled.
        kube_binaries: A folder with the programs of the Kubernetes control plane for ``local``.
        sources: Where each value came from, by option name: ``option``, ``environment``, ``ini`` or ``default``.
    """

    istio_version: str | None = None
    cluster: str = "auto"
    context: str | None = None
    kubeconfig: Path | None = None
    namespace: str = "istio-system"
    keep: str = "never"
    manifests: Path | None = None
    injection: str = "manual"
    profile: str = "core"
    reports: tuple[Path, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    kube_binaries: Path | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

"""What a run was asked to do: one frozen value, which `pytest_istio.options` puts together."""

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
        istio_version: Such as ``1.0.5``; None when no Istio run was asked for, or before that of an installed
            one was read off it.
        cluster: ``auto``, ``kind``, ``existing`` or ``local``.
        context: A kubeconfig context of an existing cluster.
        allowed_contexts: Contexts on whose clusters Istio may be installed.
        kubeconfig: The kubeconfig file of an existing cluster; None for the usual places.
        namespace: Where the control plane goes.
        use_installed: Whether the Istio that is on the cluster is tested, and none installed.
        gateway: Namespace and name of the ingress gateway's Service and Deployment; None for the usual one.
        image_registries: Prefixes of images' names, each with what takes its place.
        image_pull_secret: A docker config with credentials for the images' registries.
        client_image: The image of the workload that asks from inside the mesh, where no other one can.
        keep: ``never``, ``failed`` or ``always``: whether a cluster that the run made stays.
        reuse: Whether a kind cluster is kept for the next run, and one that an earlier run has kept is taken.
        manifests: Rendered YAML of the user's own, a file or a folder; None for the bundled set.
        addons: What is installed beside the bundled set, such as ``grafana``.
        injection: ``manual`` (written into the manifests) or ``automatic`` (by the admission webhook).
        profile: ``smoke``, ``readonly``, ``core`` or ``extended``.
        reports: Files to write the report to; the suffix picks the form.
        skips: Checks to leave out, by id or by id and parameters, each with the reason.
        unsupported: Features whose checks are left out.
        disruptive: ``auto``, ``never`` or ``always``: whether checks that others would notice run.
        gate: Whether the run fails unless it proves something of the cluster.
        timeouts: The bounds on waiting, already scaled.
        kube_binaries: A folder with the programs of the Kubernetes control plane for ``local``.
        kind_image: The node image for ``kind``; None for the default of the Istio version.
        kind_name: The name of the cluster that ``kind`` makes; None for one that is unique.
        kind_nodes: How many nodes it gets, the first of them with the control plane.
        kind_config: A configuration file of kind's; None for a plain one.
        kind_program: kind itself; None for that on PATH, or the official download.
        sources: Where each came from, by field: ``option``, ``environment``, ``ini``,
            ``pytest-kind``, ``cluster`` (the version of an installed Istio) or ``default``.
    """

    istio_version: str | None = None
    cluster: str = "auto"
    context: str | None = None
    allowed_contexts: tuple[str, ...] = ()
    kubeconfig: Path | None = None
    namespace: str = "istio-system"
    use_installed: bool = False
    gateway: tuple[str, str] | None = None
    image_registries: tuple[tuple[str, str], ...] = ()
    image_pull_secret: Path | None = None
    client_image: str = "docker.io/curlimages/curl:8.16.0"
    keep: str = "never"
    reuse: bool = False
    manifests: Path | None = None
    addons: tuple[str, ...] = ()
    injection: str = "manual"
    profile: str = "core"
    reports: tuple[Path, ...] = ()
    skips: tuple[tuple[str, str], ...] = ()
    unsupported: tuple[str, ...] = ()
    disruptive: str = "auto"
    gate: bool = False
    timeouts: Timeouts = field(default_factory=Timeouts)
    kube_binaries: Path | None = None
    kind_image: str | None = None
    kind_name: str | None = None
    kind_nodes: int = 1
    kind_config: Path | None = None
    kind_program: Path | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

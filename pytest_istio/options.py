"""The options, as a table: each is a row, and its value is checked when it is read."""

from __future__ import annotations

import os
from collections.abc import Callable  # noqa: TC003 (a field's type is looked up)
from pathlib import Path  # noqa: TC003 (a field's type is looked up)
from typing import Any, NamedTuple

from pytest_istio import values

__all__ = ["OPTIONS", "Option"]


class Option(NamedTuple):
    """One setting, as the user may give it.

    Attributes:
        name: The last part of ``--istio-…``, ``PYTEST_ISTIO_…`` and ``istio_…``.
        field: The field of `Settings` that takes the value; its default is the option's.
        metavar: What help shows for the value.
        convert: Turns a text, and the folder that a relative path starts from, into the value; a
            ValueError's text goes on from the value: "is not a number".
        help: A sentence with the reason.
        many: Whether the option may be repeated; the environment's value is split at the separator, the ini
            file's into lines.
        separator: What separates values in the environment; not a colon where values have ports.
        switch: Whether the option stands alone on the command line, for ``yes``.
        pytest_kind: The name of pytest-kind's own option for the same, which counts where ours is not given.
        cluster: The only ``--istio-cluster`` that it is for; empty if it is for all.
    """

    name: str
    field: str
    metavar: str
    convert: Callable[[str, Path], Any]
    help: str
    many: bool = False
    separator: str = os.pathsep
    switch: bool = False
    pytest_kind: str = ""
    cluster: str = ""

    @property
    def flag(self) -> str:
        """The option of the command line."""
        return f"--istio-{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"PYTEST_ISTIO_{self.name.replace('-', '_').upper()}"

    @property
    def ini(self) -> str:
        """The name in the ini file, and of argparse's attribute."""
        return f"istio_{self.name.replace('-', '_')}"


OPTIONS = (
    Option(
        name="version",
        field="istio_version",
        metavar="X.Y.Z",
        convert=values.to_version,
        help="Istio release to check; without it the checks are skipped.",
    ),
    Option(
        name="cluster",
        field="cluster",
        metavar="{auto,kind,existing,local}",
        convert=values.to_choice("auto", "kind", "existing", "local"),
        help="Where Kubernetes comes from. auto: existing if a context or kubeconfig is named, "
        "else kind if a container engine answers, else local (embedded, no containers, so a rehearsal). "
        "Default: auto.",
    ),
    Option(
        name="context",
        field="context",
        metavar="NAME",
        convert=values.to_text,
        help="Context of an existing cluster; named, so that no other one is touched.",
    ),
    Option(
        name="allow-context",
        field="allowed_contexts",
        metavar="NAME",
        convert=values.to_text,
        help="Context on whose cluster Istio may be installed, and removed again. May be repeated.",
        many=True,
        separator=",",
    ),
    Option(
        name="kubeconfig",
        field="kubeconfig",
        metavar="FILE",
        convert=values.to_file,
        help="Kubeconfig of an existing cluster, if it is not in the usual place.",
    ),
    Option(
        name="namespace",
        field="namespace",
        metavar="NAME",
        convert=values.to_namespace,
        help="Namespace of the control plane. Default: istio-system.",
    ),
    Option(
        name="use-installed",
        field="use_installed",
        metavar="yes",
        convert=values.to_yes,
        help="Test the Istio that is on the existing cluster; nothing of it is installed or changed.",
        switch=True,
    ),
    Option(
        name="gateway",
        field="gateway",
        metavar="NAMESPACE/NAME",
        convert=values.to_namespaced,
        help="Service and Deployment of the installed ingress gateway, where it is not the usual one.",
    ),
    Option(
        name="image-registry",
        field="image_registries",
        metavar="PREFIX=PLACE",
        convert=values.to_registry,
        help="Take the images whose names begin with PREFIX, such as docker.io/istio, from a mirror. "
        "May be repeated; in the environment separated by commas.",
        many=True,
        separator=",",
    ),
    Option(
        name="image-pull-secret",
        field="image_pull_secret",
        metavar="FILE",
        convert=values.to_docker_config,
        help="Docker config with credentials for the images' registries, made a Secret wherever the run's "
        "pods are; the file is not printed or reported.",
    ),
    Option(
        name="client-image",
        field="client_image",
        metavar="IMAGE",
        convert=values.to_image,
        help="Image with curl for asking from inside the mesh, where the application has no client.",
    ),
    Option(
        name="keep",
        field="keep",
        metavar="{never,failed,always}",
        convert=values.to_choice("never", "failed", "always"),
        help="Whether a cluster that the run made stays, so that one can look into it. Default: never.",
        pytest_kind="keep_cluster",
    ),
    Option(
        name="reuse",
        field="reuse",
        metavar="yes",
        convert=values.to_yes,
        help="Take the kind cluster that an earlier run has kept, if it is as this run would make it, and "
        "keep it for the next one, which saves the set-up.",
        switch=True,
    ),
    Option(
        name="manifests",
        field="manifests",
        metavar="PATH",
        convert=values.to_existing,
        help="Rendered YAML of Istio, file or folder, to check just these bytes. Default: the bundled set.",
    ),
    Option(
        name="addon",
        field="addons",
        metavar="NAME",
        convert=values.to_text,
        many=True,
        help="What the release's chart installs only when asked to, such as grafana, beside the bundled set.",
    ),
    Option(
        name="injection",
        field="injection",
        metavar="{manual,automatic}",
        convert=values.to_choice("manual", "automatic"),
        help="How bookinfo gets sidecars: written into its manifests, or by the admission webhook. "
        "Default: manual.",
    ),
    Option(
        name="profile",
        field="profile",
        metavar="{smoke,readonly,core,extended}",
        convert=values.to_choice("smoke", "readonly", "core", "extended"),
        help="Which checks run: a first answer, those that only look, what every mesh must do, or all of "
        "them. Default: core.",
    ),
    Option(
        name="report",
        field="reports",
        metavar="FILE",
        convert=values.to_report,
        help="Write the conformance report here; .yaml or .json says in which form. May be repeated.",
        many=True,
    ),
    Option(
        name="skip",
        field="skips",
        metavar="ID=REASON",
        convert=values.to_skip,
        help="Leave out a check, which the report then gives with this reason. May be repeated.",
        many=True,
    ),
    Option(
        name="unsupported",
        field="unsupported",
        metavar="FEATURE",
        convert=values.to_feature,
        help="Leave out the checks of a feature that the cluster does not claim; told in the report. "
        "May be repeated.",
        many=True,
    ),
    Option(
        name="disruptive",
        field="disruptive",
        metavar="{auto,never,always}",
        convert=values.to_choice("auto", "never", "always"),
        help="Whether checks run that take something away from others on the cluster. auto: only on a "
        "cluster that the run made. Default: auto.",
    ),
    Option(
        name="gate",
        field="gate",
        metavar="yes",
        convert=values.to_yes,
        help="Fail (exit code 1) unless a check passed, none was blocked, and the run was no rehearsal.",
        switch=True,
    ),
    Option(
        name="timeout-factor",
        field="timeouts",
        metavar="NUMBER",
        convert=values.to_timeouts,
        help="Multiplies every bound on waiting, for slow machines. Default: 1.",
    ),
    Option(
        name="kube-binaries",
        field="kube_binaries",
        metavar="FOLDER",
        convert=values.to_folder,
        help="Programs of the Kubernetes control plane for the local cluster, to save the download.",
        cluster="local",
    ),
    Option(
        name="kind-image",
        field="kind_image",
        metavar="IMAGE",
        convert=values.to_image,
        help="Node image for kind, so the Kubernetes version. Default: one that the Istio version supports.",
        pytest_kind="kind_image",
        cluster="kind",
    ),
    Option(
        name="kind-name",
        field="kind_name",
        metavar="NAME",
        convert=values.to_kind_name,
        help="Name of the cluster that kind makes. Default: a new one each time, so that runs do not meet.",
        pytest_kind="cluster_name",
        cluster="kind",
    ),
    Option(
        name="kind-nodes",
        field="kind_nodes",
        metavar="NUMBER",
        convert=values.to_nodes,
        help="Nodes of the cluster that kind makes, the first with the control plane. Default: 1.",
        cluster="kind",
    ),
    Option(
        name="kind-config",
        field="kind_config",
        metavar="FILE",
        convert=values.to_file,
        help="kind's own configuration file, for what has no option here; the gateway's ports are added.",
        cluster="kind",
    ),
    Option(
        name="kind-program",
        field="kind_program",
        metavar="FILE",
        convert=values.to_file,
        help="kind's program. Default: that on PATH, else the official download, checked.",
        pytest_kind="kind_bin",
        cluster="kind",
    ),
)

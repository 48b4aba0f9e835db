"""What a run was asked to do: one frozen value, put together from command line, environment and ini.

Each option ``--istio-x`` has a twin ``PYTEST_ISTIO_X`` in the environment and ``istio_x`` in the ini file;
the command line wins over the environment, the environment over the ini file; options of pytest-kind's that
mean the same count where ours are not given. A value that cannot be used
is found out here, before anything is started.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import BadSettingError
from pytest_istio.timeouts import Timeouts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pytest

__all__ = ["OPTIONS", "Option", "Settings", "add_options", "read"]

VERSION = re.compile(r"\d+\.\d+\.\d+")
# RFC 1123, what the API server demands of a namespace's name.
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True)
class Settings:
    """The settings of a run.

    Attributes:
        istio_version: Such as ``1.0.5``; None when no Istio run was asked for.
        cluster: ``auto``, ``kind``, ``existing`` or ``local``.
        context: A kubeconfig context of an existing cluster.
        allowed_contexts: Contexts on whose clusters Istio may be installed.
        kubeconfig: The kubeconfig file of an existing cluster; None for the usual places.
        namespace: Where the control plane goes.
        keep: ``never``, ``failed`` or ``always``: whether a cluster that the run made stays.
        manifests: Rendered YAML of the user's own, a file or a folder; None for the bundled set.
        injection: ``manual`` (written into the manifests) or ``automatic`` (by the admission webhook).
        profile: ``smoke``, ``core`` or ``extended``.
        reports: Files to write the report to; the suffix picks the form.
        timeouts: The bounds on waiting, already scaled.
        kube_binaries: A folder with the programs of the Kubernetes control plane for ``local``.
        kind_image: The node image for ``kind``; None for the default of the Istio version.
        kind_name: The name of the cluster that ``kind`` makes; None for one that is unique.
        kind_nodes: How many nodes it gets, the first of them with the control plane.
        kind_config: A configuration file of kind's; None for a plain one.
        kind_program: kind itself; None for that on PATH, or the official download.
        sources: Where each came from, by field: ``option``, ``environment``, ``ini``,
            ``pytest-kind`` or ``default``.
    """

    istio_version: str | None = None
    cluster: str = "auto"
    context: str | None = None
    allowed_contexts: tuple[str, ...] = ()
    kubeconfig: Path | None = None
    namespace: str = "istio-system"
    keep: str = "never"
    manifests: Path | None = None
    injection: str = "manual"
    profile: str = "core"
    reports: tuple[Path, ...] = ()
    timeouts: Timeouts = field(default_factory=Timeouts)
    kube_binaries: Path | None = None
    kind_image: str | None = None
    kind_name: str | None = None
    kind_nodes: int = 1
    kind_config: Path | None = None
    kind_program: Path | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


def _version(value: str, _folder: Path) -> str:
    if not VERSION.fullmatch(value):
        raise ValueError("is not a version such as 1.0.5")
    return value


def _namespace(value: str, _folder: Path) -> str:
    if not LABEL.fullmatch(value):
        raise ValueError("is not a namespace: lower-case letters, digits and '-', at most 63")
    return value


def _text(value: str, _folder: Path) -> str:
    return value


def _choice(*choices: str) -> Callable[[str, Path], str]:
    def convert(value: str, _folder: Path) -> str:
        if value not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return value

    return convert


def _file(value: str, folder: Path) -> Path:
    return folder / Path(value).expanduser()


def _existing(value: str, folder: Path) -> Path:
    path = _file(value, folder)
    if not path.exists():
        raise ValueError(f"does not exist (looked for {path})")
    return path


def _nodes(value: str, _folder: Path) -> int:
    if not re.fullmatch(r"[1-9]", value):
        raise ValueError("is not a number from 1 to 9")
    return int(value)


def _timeouts(value: str, _folder: Path) -> Timeouts:
    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if not 0 < factor <= 100:  # noqa: PLR2004 (also keeps out inf and nan)
        raise ValueError("is not a number above 0, at most 100")
    return Timeouts().scaled(factor)


@dataclass(frozen=True)
class Option:
    """One setting, as the user may give it.

    Attributes:
        name: The last part of ``--istio-…``, ``PYTEST_ISTIO_…`` and ``istio_…``.
        field: The field of `Settings` that takes the value; its default is the option's.
        metavar: What help shows for the value.
        convert: Turns a text, and the folder that a relative path starts from, into the value; a
            ValueError's text goes on from the value: "is not a number".
        help: A sentence with the reason.
        many: Whether the option may be repeated; the environment's value is split at ``os.pathsep``, the ini
            file's into lines.
        pytest_kind: The name of pytest-kind's own option for the same, which counts where ours is not given.
    """

    name: str
    field: str
    metavar: str
    convert: Callable[[str, Path], Any]
    help: str
    many: bool = False
    pytest_kind: str = ""

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
        convert=_version,
        help="Istio release to check; without it the checks are skipped.",
    ),
    Option(
        name="cluster",
        field="cluster",
        metavar="{auto,kind,existing,local}",
        convert=_choice("auto", "kind", "existing", "local"),
        help="Where Kubernetes comes from. auto: existing if a context is named, else kind if a container "
        "engine answers, else local (embedded, no containers, so a rehearsal). Default: auto.",
    ),
    Option(
        name="context",
        field="context",
        metavar="NAME",
        convert=_text,
        help="Context of an existing cluster; named, so that no other one is touched.",
    ),
    Option(
        name="allow-context",
        field="allowed_contexts",
        metavar="NAME",
        convert=_text,
        help="Context on whose cluster Istio may be installed, and removed again. May be repeated.",
        many=True,
    ),
    Option(
        name="kubeconfig",
        field="kubeconfig",
        metavar="FILE",
        convert=_existing,
        help="Kubeconfig of an existing cluster, if it is not in the usual place.",
    ),
    Option(
        name="namespace",
        field="namespace",
        metavar="NAME",
        convert=_namespace,
        help="Namespace of the control plane. Default: istio-system.",
    ),
    Option(
        name="keep",
        field="keep",
        metavar="{never,failed,always}",
        convert=_choice("never", "failed", "always"),
        help="Whether a cluster that the run made stays, so that one can look into it. Default: never.",
        pytest_kind="keep_cluster",
    ),
    Option(
        name="manifests",
        field="manifests",
        metavar="PATH",
        convert=_existing,
        help="Rendered YAML of Istio, file or folder, to check just these bytes. Default: the bundled set.",
    ),
    Option(
        name="injection",
        field="injection",
        metavar="{manual,automatic}",
        convert=_choice("manual", "automatic"),
        help="How bookinfo gets sidecars: written into its manifests, or by the admission webhook. "
        "Default: manual.",
    ),
    Option(
        name="profile",
        field="profile",
        metavar="{smoke,core,extended}",
        convert=_choice("smoke", "core", "extended"),
        help="Which checks run: a first answer, what every mesh must do, or everything. Default: core.",
    ),
    Option(
        name="report",
        field="reports",
        metavar="FILE",
        convert=_file,
        help="Write the conformance report here; .yaml or .json says in which form. May be repeated.",
        many=True,
    ),
    Option(
        name="timeout-factor",
        field="timeouts",
        metavar="NUMBER",
        convert=_timeouts,
        help="Multiplies every bound on waiting, for slow machines. Default: 1.",
    ),
    Option(
        name="kube-binaries",
        field="kube_binaries",
        metavar="FOLDER",
        convert=_existing,
        help="Programs of the Kubernetes control plane for the local cluster, to save the download.",
    ),
    Option(
        name="kind-image",
        field="kind_image",
        metavar="IMAGE",
        convert=_text,
        help="Node image for kind, so the Kubernetes version. Default: one that the Istio version supports.",
        pytest_kind="kind_image",
    ),
    Option(
        name="kind-name",
        field="kind_name",
        metavar="NAME",
        convert=_namespace,
        help="Name of the cluster that kind makes. Default: a new one each time, so that runs do not meet.",
        pytest_kind="cluster_name",
    ),
    Option(
        name="kind-nodes",
        field="kind_nodes",
        metavar="NUMBER",
        convert=_nodes,
        help="Nodes of the cluster that kind makes, the first with the control plane. Default: 1.",
    ),
    Option(
        name="kind-config",
        field="kind_config",
        metavar="FILE",
        convert=_existing,
        help="kind's own configuration file, for what has no option here; the gateway's ports are added.",
    ),
    Option(
        name="kind-program",
        field="kind_program",
        metavar="FILE",
        convert=_existing,
        help="kind's program. Default: that on PATH, else the official download, checked.",
        pytest_kind="kind_bin",
    ),
)


def add_options(parser: pytest.Parser) -> None:
    """Add every option and its ini twin to pytest's."""
    group = parser.getgroup(
        "istio", "Istio conformance (--istio-x, PYTEST_ISTIO_X or istio_x in the ini file)"
    )
    for option in OPTIONS:
        action = "append" if option.many else "store"
        group.addoption(option.flag, action=action, dest=option.ini, metavar=option.metavar, help=option.help)
        if option.many:
            parser.addini(option.ini, option.help, type="linelist", default=[])
        else:
            parser.addini(option.ini, option.help, type="string", default="")


def read(config: pytest.Config, environment: Mapping[str, str]) -> Settings:
    """Put the settings together.

    Raises:
        BadSettingError: A value cannot be used; the message names where it was given.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for option in OPTIONS:
        texts, source, shown, folder = _given(option, config, environment)
        sources[option.field] = source
        if texts:
            converted = tuple(_converted(option, text, shown, folder) for text in texts)
            values[option.field] = converted if option.many else converted[0]
    settings = Settings(**values, sources=sources)
    if settings.cluster in {"kind", "local"} and (settings.context or settings.kubeconfig):
        raise BadSettingError(
            "--istio-context and --istio-kubeconfig name an existing cluster, but "
            f"--istio-cluster={settings.cluster} makes one; leave one of them out"
        )
    if settings.kind_config and settings.kind_nodes > 1:
        raise BadSettingError(
            "--istio-kind-config says how many nodes there are; leave out --istio-kind-nodes"
        )
    return settings


def _given(
    option: Option, config: pytest.Config, environment: Mapping[str, str]
) -> tuple[list[str], str, str, Path]:
    """Return the texts of an option, their source, how to name that to a person, and where paths start."""
    here = config.invocation_params.dir
    value = config.getoption(option.ini)
    if value is not None:
        return (value if option.many else [value]), "option", option.flag, here
    value = environment.get(option.variable)
    if value:
        return (value.split(os.pathsep) if option.many else [value]), "environment", option.variable, here
    value = config.getini(option.ini)
    if value:
        folder = config.inipath.parent if config.inipath else config.rootpath
        return (value if option.many else [value]), "ini", f"{option.ini} in {config.inipath}", folder
    value = _of_pytest_kind(option, config)
    if value:
        return [value], "pytest-kind", f"pytest-kind's --{option.pytest_kind.replace('_', '-')}", here
    return [], "default", "", here


def _of_pytest_kind(option: Option, config: pytest.Config) -> str | None:
    if not option.pytest_kind or not config.pluginmanager.has_plugin("pytest-kind"):
        return None
    value = config.getoption(option.pytest_kind)
    if value is True:
        return "always"
    # The name that pytest-kind itself takes when it is told none.
    return None if value in (False, "pytest-kind") else value


def _converted(option: Option, text: str, shown: str, folder: Path) -> Any:  # noqa: ANN401 (each option has its type)
    try:
        return option.convert(text, folder)
    except ValueError as error:
        raise BadSettingError(f"{shown}: {text!r} {error}") from None

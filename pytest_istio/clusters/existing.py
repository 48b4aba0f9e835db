"""The provider ``existing``: a cluster that somebody else made, named by its kubeconfig context.

Nothing is created before everything that can be found wrong beforehand was looked at; what the run makes
bears its label, and is taken away again together with what Istio has made for it.
"""

from __future__ import annotations

import os
import secrets
import shlex
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.clusters import lease, local
from pytest_istio.clusters.base import Cluster
from pytest_istio.clusters.kind_folder import folders
from pytest_istio.clusters.pulse import Pulse
from pytest_istio.errors import ClusterError
from pytest_istio.findings import finding
from pytest_istio.istio import install, installed, leftovers, preflight, sources
from pytest_istio.istio.catalog import release
from pytest_istio.kube.client import Kube
from pytest_istio.kube.errors import KubeError
from pytest_istio.kube.kubeconfig import contexts
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.progress import Progress
    from pytest_istio.settings import Settings

__all__ = ["ExistingProvider", "cleanup", "installed_version"]


class ExistingProvider:
    """Uses a cluster for one run of tests."""

    def __init__(self) -> None:
        self._pulse: Pulse | None = None
        self._kube: Kube | None = None
        self._lease: lease.Lease | None = None
        self._settings: Settings | None = None
        self._progress: Progress = Silent()

    @property
    def trouble(self) -> str | None:
        """Why the cluster is lost, and what then stays on it; None while it answers and is the run's."""
        if self._pulse is None or self._lease is None:
            return None
        if self._pulse.trouble is None:
            return self._lease.trouble
        assert self._settings is not None
        return (
            f"{self._pulse.trouble}\nWhat the run has made may still be there; when the cluster answers "
            f"again, take it away with: {_cleanup_command(self._settings)}"
        )

    def start(self, settings: Settings, progress: Progress) -> Cluster:
        """Return the cluster when it is reached, consent is given, and nothing stands in the way of Istio.

        Raises:
            ClusterError: It cannot be used; nothing was changed.
        """
        assert settings.istio_version is not None
        self._settings, self._progress = settings, progress
        kubeconfig = settings.kubeconfig or _usual_kubeconfig()
        context = _context(settings, kubeconfig)
        _check_consent(settings, kubeconfig, context)
        with _answers_explained(settings):
            return self._start(settings, kubeconfig, context, progress)

    def _start(self, settings: Settings, kubeconfig: Path, context: str, progress: Progress) -> Cluster:
        assert settings.istio_version is not None
        with progress.phase("cluster"):
            self._kube = Kube.connect(kubeconfig, context, request_timeout=settings.timeouts.request)
            answer = self._kube.version()
            preflight.check_version(answer)
            version = answer["gitVersion"]
            _make_way(self._kube, settings, progress)
        gateway = settings.gateway
        with progress.phase("preflight"):
            if settings.use_installed:
                installed.check(self._kube, settings)
                gateway = gateway or installed.gateway(self._kube, settings)
            else:
                install.check(self._kube, settings, sources.manifests(settings))
            nodes = self._kube.list("v1", "Node")
        embedded, count = local.is_embedded(nodes), len(nodes)
        run = f"run-{secrets.token_hex(4)}"
        self._lease = lease.Lease.take(
            self._kube, run, settings.istio_version, use_installed=settings.use_installed
        )
        try:
            self._pulse = Pulse(kubeconfig, context)
        except BaseException:
            self._lease.give_back()
            raise
        return Cluster(
            name=context,
            provider="existing",
            kubeconfig=kubeconfig,
            context=context,
            created=False,
            # A kept cluster of `local` remains what it is: nothing is claimed from it.
            capabilities=frozenset() if embedded else frozenset({"containers", "iptables"}),
            description=f"{self._kube.server}, {version}, {count} node{'s' if count > 1 else ''}"
            + (", embedded" if embedded else ""),
            details={"run": run, "gateway": gateway, "embedded": embedded},
        )

    def stop(self, cluster: Cluster, *, keep: bool) -> None:  # noqa: ARG002 (the run has one)
        """Take away what the run and its Istio have made, or leave it until `cleanup`.

        From a cluster that is lost nothing can be taken away; its `trouble` says so.

        Raises:
            PytestIstioError: Something cannot be taken away; the message says what.
        """
        if self._kube is None or self._lease is None or self._pulse is None:
            return
        assert self._settings is not None
        assert self._settings.istio_version is not None
        self._pulse.close()
        if self._pulse.trouble and not self._kube.ready():
            self._lease.abandon()
        elif keep and not self._lease.trouble:
            self._lease.keep()
        else:
            # Once another run has the cluster, what an Istio has made there is that one's.
            theirs = self._settings.use_installed or self._lease.trouble
            with self._progress.phase("removal"):
                leftovers.remove(
                    self._kube, self._lease.run, None if theirs else release(self._settings.istio_version),
                    since=self._lease.since, timeouts=self._settings.timeouts, progress=self._progress,
                    finish=_cleanup_command(self._settings),
                )  # fmt: skip
            self._lease.give_back()
        self._kube.close()

    def wire(self, cluster: Cluster, host: str, port: int) -> tuple[str, int]:
        """Return the address as it is, but for that of a kept cluster of `local`."""
        if cluster.details["embedded"]:
            return local.LocalProvider().wire(cluster, host, port)
        return host, port


def installed_version(settings: Settings) -> str:
    """Return the version of the Istio on the cluster that the settings name; nothing is changed.

    Raises:
        PytestIstioError: The cluster is not reached, nobody agreed to its use, or the version cannot be told.
    """
    kubeconfig = settings.kubeconfig or _usual_kubeconfig()
    context = _context(settings, kubeconfig)
    _check_consent(settings, kubeconfig, context)
    kube = Kube.connect(kubeconfig, context, request_timeout=settings.timeouts.request)
    try:
        with _answers_explained(settings):
            preflight.check_version(kube.version())
            return installed.version(kube, settings)
    finally:
        kube.close()


def cleanup(settings: Settings) -> list[str]:
    """Take away what runs that were kept or killed have left on the cluster that the settings name.

    Returns:
        The names of these runs.

    Raises:
        PytestIstioError: The cluster is not reached, a run uses it, or something cannot be taken away.
    """
    kubeconfig = settings.kubeconfig or _usual_kubeconfig()
    context = _context(settings, kubeconfig)
    kube = Kube.connect(kubeconfig, context, request_timeout=settings.timeouts.request)
    with _answers_explained(settings):
        found = lease.owner(kube)
        if found is None:
            return []
        if found.alive:
            raise ClusterError(lease.in_use(found))
        _remove(kube, found, settings, Silent())
    return [found.run]


def _usual_kubeconfig() -> Path:
    # May be several files; who reads it splits it.
    return Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")


def _context(settings: Settings, kubeconfig: Path) -> str:
    """Return the context that the user named, if there is one of that name."""
    known = contexts(kubeconfig)
    shown = ", ".join(known) or "none"
    if settings.context is None:
        raise ClusterError(
            "--istio-cluster=existing needs the name of its context, so that no other cluster is touched: "
            f"--istio-context=NAME. Contexts in {kubeconfig}: {shown}."
        )
    if settings.context not in known:
        raise ClusterError(
            f"--istio-context: {kubeconfig} has no context {settings.context!r}. It has: {shown}. "
            "See `kubectl config get-contexts`."
        )
    return settings.context


def _check_consent(settings: Settings, kubeconfig: Path, context: str) -> None:
    """Return if somebody agreed to the use of the cluster, or this program made it."""
    if context in settings.allowed_contexts or any(each.kubeconfig == kubeconfig for each in folders()):
        return
    if settings.use_installed:
        wanted, made = (
            "deploy bookinfo beside the Istio",
            "a namespace with bookinfo, and a few for a while",
        )
    else:
        wanted = f"install Istio {settings.istio_version}"
        made = "namespaces, definitions, roles and webhooks"
    raise ClusterError(
        f"Nobody has agreed to {wanted} on the cluster of context {context}. "
        f"The run creates {made} there, and removes them again. "
        f"If that is wanted, add --istio-allow-context={context}, or istio_allow_context = {context} "
        "to the ini file."
    )


@contextmanager
def _answers_explained(settings: Settings) -> Iterator[None]:
    """Say what a user lacks to whom the API server refuses something, and when it seems to be none."""
    kubectl = f"kubectl {_place(settings)}"
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ClusterError(
            finding(
                f"the server of context {settings.context}",
                expected="an API server of Kubernetes, and a Lease only as pytest-istio writes it",
                seen=f"an answer of another shape ({type(error).__name__}: {error})",
                cause="a proxy or another program answers at its address, or somebody changed the Lease",
                look=f"{kubectl} version; {kubectl} -n kube-system get lease pytest-istio -o yaml",
            )
        ) from error
    except KubeError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        raise ClusterError(
            finding(
                f"the user of context {settings.context}",
                expected="may read everything, and make namespaces, definitions, roles and webhooks",
                seen=str(error),
                cause="it is no cluster administrator; take a context whose user has the role cluster-admin",
                look=f"{kubectl} auth can-i --list",
            )
        ) from error


def _place(settings: Settings) -> str:
    """Return the options by which kubectl, and this program's own commands, find the cluster."""
    file = f" --kubeconfig {shlex.quote(str(settings.kubeconfig))}" if settings.kubeconfig else ""
    return f"--context {shlex.quote(str(settings.context))}{file}"


def _cleanup_command(settings: Settings) -> str:
    return f"pytest-istio cleanup {_place(settings)}"


def _make_way(kube: Kube, settings: Settings, progress: Progress) -> None:
    """Take away what a killed run has left; refuse what another run uses or was told to leave."""
    found = lease.owner(kube)
    if found is None:
        return
    if found.alive:
        raise ClusterError(lease.in_use(found))
    if found.kept:
        raise ClusterError(
            f"{found.run} of {found.holder} was told to leave Istio {found.istio_version} on the cluster. "
            f"Take it away with: {_cleanup_command(settings)}"
        )
    progress.waiting(f"{found.run} was killed; taking away what it has left")
    _remove(kube, found, settings, progress)


def _remove(kube: Kube, found: lease.Owner, settings: Settings, progress: Progress) -> None:
    leftovers.remove(
        kube, found.run, None if found.use_installed else release(found.istio_version),
        since=found.since, timeouts=settings.timeouts, progress=progress, finish=_cleanup_command(settings),
    )  # fmt: skip
    lease.remove_lease(kube, found.uid)

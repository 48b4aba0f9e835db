"""The provider ``kind``: Kubernetes in containers, created and deleted through pytest-kind."""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.clusters.base import Cluster
from pytest_istio.clusters.engine import find_engine
from pytest_istio.clusters.host import check_host, default_image
from pytest_istio.clusters.kind_call import Call
from pytest_istio.clusters.kind_config import configuration
from pytest_istio.clusters.kind_delete import DELETE_SECONDS, delete_cluster, delete_left
from pytest_istio.clusters.kind_folder import KindFolder, folders, state_folder
from pytest_istio.clusters.kind_images import load, saving
from pytest_istio.clusters.kind_program import find_kind
from pytest_istio.clusters.kind_reuse import fingerprint, take_kept
from pytest_istio.clusters.nodes import await_nodes
from pytest_istio.clusters.pulse import Pulse
from pytest_istio.errors import ClusterError
from pytest_istio.kube.client import Kube
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from concurrent.futures import Future

    from pytest_istio.clusters.engine import Engine
    from pytest_istio.clusters.kind_images import Archive
    from pytest_istio.progress import Progress
    from pytest_istio.settings import Settings

__all__ = ["KindProvider", "cleanup"]

PREFIX = "pytest-istio-"
ATTEMPTS = 2
# What another attempt does not change.
_FINAL = (
    "not find image",
    "pull access denied",
    "invalid configuration",
    "unable to decode",
    "no space left",
)


class KindProvider:
    """Makes a kind cluster for one run of tests."""

    def __init__(self) -> None:
        self._folder: KindFolder | None = None
        self._pulse: Pulse | None = None

    @property
    def trouble(self) -> str | None:
        """Why the cluster is lost, and how to look at its nodes; None while it answers."""
        if self._pulse is None or self._folder is None or self._pulse.trouble is None:
            return None
        return (
            f"{self._pulse.trouble}\nPerhaps somebody stopped its node, or memory ran out. With "
            "--istio-keep=failed it stays, to be looked at with: "
            f"{self._folder.engine} ps -a --filter label=io.x-k8s.kind.cluster={self._folder.name}"
        )

    def start(self, settings: Settings, progress: Progress) -> Cluster:
        """Create a cluster and return when its nodes take pods and have the images that are on this machine.

        With `Settings.reuse` it may be one that an earlier run has kept, together with the Istio on it.

        Raises:
            ClusterError: It cannot run here, the node image cannot be had, or kind failed; nothing is left.
        """
        self._folder, cluster = _kept_or_made(settings, progress)
        try:
            self._pulse = Pulse(cluster.kubeconfig, cluster.context)
        except BaseException:
            delete_cluster(self._folder)
            raise
        return cluster

    def stop(self, cluster: Cluster, *, keep: bool) -> None:
        """Delete the cluster that `start` returned, or let it be until `cleanup`.

        Raises:
            ClusterError: kind fails to.
        """
        if self._pulse:
            self._pulse.close()
        if self._folder is None:
            return
        if keep:
            self._folder.keep(cluster)
        else:
            delete_cluster(self._folder)

    def wire(self, cluster: Cluster, host: str, port: int) -> tuple[str, int]:
        """Return the port of this machine at which a node's port is published, if it is."""
        published = cluster.details["ports"].get(str(port))
        return ("127.0.0.1", published) if published else (host, port)


def cleanup() -> list[str]:
    """Delete the clusters of this user that were kept or that killed runs have left.

    A cluster that a run of tests still uses is left alone.

    Returns:
        The names of the clusters that were deleted.

    Raises:
        ClusterError: Some cannot be deleted; names each, and what is the matter with it.
    """
    deleted, troubles = delete_left(Silent(), kept=True)
    if troubles:
        done = f"\nThese are deleted: {', '.join(deleted)}" if deleted else ""
        raise ClusterError("\n".join(["Not all clusters can be deleted.", *troubles]) + done)
    return deleted


def _kept_or_made(settings: Settings, progress: Progress) -> tuple[KindFolder, Cluster]:
    assert settings.istio_version is not None
    with progress.phase("container engine"):
        _check_package()
        engine = find_engine()
        _remove_abandoned(progress)
        image = settings.kind_image or default_image(settings.istio_version)
        check_host(engine, image, settings.istio_version)
        config = configuration(settings)
        program = find_kind(settings.kind_program, progress)
    if engine.inspect(image) is None:
        with progress.phase("node image"):
            engine.pull(image, timeout=settings.timeouts.image_pull, progress=progress)
    wanted = fingerprint(engine, settings, image=image, config=config)
    if settings.reuse:
        with progress.phase("kept cluster"):
            if found := take_kept(wanted, settings, engine, progress):
                return found
    _refuse_taken(settings.kind_name, program, engine)
    with progress.phase("cluster"):
        folder, archive = _created(engine, program, settings, image=image, config=config, progress=progress)
    try:
        folder.fingerprint = wanted
        return folder, _prepared(engine, folder, archive, settings, progress)
    except BaseException:
        delete_cluster(folder)
        raise


def _check_package() -> None:
    if find_spec("pytest_kind") is None:
        raise ClusterError(
            "--istio-cluster=kind needs the package pytest-kind. "
            f"Install it with: {sys.executable} -m pip install 'pytest-istio[kind]'"
        )


def _refuse_taken(name: str | None, program: Path, engine: Engine) -> None:
    """Return if no cluster has the name: pytest-kind would adopt it, and a failure delete it."""
    if name is None:
        return
    try:
        listed = subprocess.run(
            [program, "get", "clusters"], env=engine.environment, capture_output=True,
            text=True, errors="replace", timeout=DELETE_SECONDS, check=True,
        )  # fmt: skip
    except subprocess.SubprocessError as error:
        raise ClusterError(f"--istio-kind-name: which names are taken cannot be told: {error}") from error
    given = "--istio-kind-name (or pytest-kind's --cluster-name)"
    recorded = [folder for folder in folders() if folder.name == name]
    if any(folder.in_use for folder in recorded):
        raise ClusterError(
            f"{given}: another run uses the cluster {name}. Wait for it, or take another name."
        )
    if recorded or name in listed.stdout.split():
        raise ClusterError(
            f"{given}: there is a kind cluster {name} already, and this run did not make it. "
            f"Take another name, or delete it: `pytest-istio cleanup` if a run kept it, "
            f"else `kind delete cluster --name {name}`."
        )


def _created(
    engine: Engine, program: Path, settings: Settings, *, image: str, config: str, progress: Progress
) -> tuple[KindFolder, Future[Archive]]:
    """Create the cluster, and meanwhile an archive of the run's images.

    It is tried again if that may help; what a failed attempt has left is removed.
    """
    for attempt in range(1, ATTEMPTS + 1):
        folder = KindFolder.create(settings.kind_name or f"{PREFIX}{secrets.token_hex(4)}", program, engine)
        call = Call("create", folder.name, str(folder.kubeconfig), str(folder.program), image, "config.yaml")
        made = False
        try:
            (folder.path / "config.yaml").write_text(config, encoding="utf-8")
            with saving(engine, folder, settings) as archive:
                call.run(
                    folder.path, folder.environment, timeout=settings.timeouts.kind_create, progress=progress
                )
        except ClusterError as error:
            logs = _export_logs(folder)
            if attempt == ATTEMPTS or any(text in str(error) for text in _FINAL):
                raise ClusterError(f"{error}\nNothing of it is left; kind's logs are in {logs}") from error
            progress.note(f"kind failed, trying once more; its logs are in {logs}")
        else:
            made = True
            return folder, archive
        finally:
            if not made:
                delete_cluster(folder)
    raise AssertionError("the last attempt returns or raises")


def _export_logs(folder: KindFolder) -> Path:
    """Keep what kind wrote, and the logs of the nodes if there are any."""
    kept = state_folder() / "kind-logs"
    kept.mkdir(parents=True, exist_ok=True)
    logs = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=kept))
    (folder.path / "kind.log").replace(logs / "kind.log")
    # What kind failed for may keep it from this, too.
    with suppress(ClusterError):
        folder.run_kind("export", "logs", str(logs), "--name", folder.name, timeout=DELETE_SECONDS)
    return logs


def _remove_abandoned(progress: Progress) -> None:
    """Delete the clusters of runs that were killed; if one cannot be, this run goes on all the same."""
    _, troubles = delete_left(progress, kept=False)
    for trouble in troubles:
        progress.note(f"a killed run's cluster stays, see `pytest-istio cleanup`: {trouble.splitlines()[0]}")


def _prepared(
    engine: Engine, folder: KindFolder, archive: Future[Archive], settings: Settings, progress: Progress
) -> Cluster:
    """Load images, wait for the nodes, and return what the others see of the cluster."""
    kube = Kube.connect(folder.kubeconfig, request_timeout=settings.timeouts.request)
    with progress.phase("images"):
        images = archive.result()
        progress.waiting(f"kind loads {images.count} images of {engine.program}'s into the nodes")
        load(folder, images, timeout=settings.timeouts.image_load)
    with progress.phase("nodes"):
        nodes = await_nodes(kube, timeout=settings.timeouts.cluster_start, progress=progress)
    kube.close()
    return Cluster(
        name=folder.name,
        provider="kind",
        kubeconfig=folder.kubeconfig,
        context=f"kind-{folder.name}",
        created=True,
        capabilities=frozenset({"containers", "iptables"}),
        description=f"{nodes} node{'s' if nodes > 1 else ''}, {engine.program}, {images.count} images loaded"
        + (f", {images.stand_ins} of them stand-ins" if images.stand_ins else ""),
        details={"ports": engine.published(f"{folder.name}-control-plane"), "stand_ins": images.stand_ins},
    )

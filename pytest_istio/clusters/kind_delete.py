"""Deleting kind clusters, and the record of each when nothing of it is left."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_istio.clusters.engine import engine_of, nodes_left
from pytest_istio.clusters.kind_call import Call
from pytest_istio.clusters.kind_folder import folders
from pytest_istio.clusters.kind_program import answers, find_kind
from pytest_istio.errors import ClusterError
from pytest_istio.kube.polling import until
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from pytest_istio.clusters.kind_folder import KindFolder
    from pytest_istio.progress import Progress

__all__ = ["DELETE_SECONDS", "delete_cluster", "delete_left"]

DELETE_SECONDS = 120.0
# An engine that was about to create a container when kind was ended does so in spite of its deletion.
_DELETIONS = 5
_SETTLING_SECONDS = 0.2
# With cgroups of version 1 runc freezes a container for a moment while it makes it. One that is still frozen
# when its node is killed cannot die, nor can the node: "tried to kill container, but did not receive an exit
# event". So nobody is to start runc any more, what it is at is awaited, and what it has left is thawed.
_CALM = """
cd /sys/fs/cgroup/freezer || exit 0
systemctl stop kubelet containerd
for _ in $(seq 50); do pgrep -x runc >/dev/null || break; sleep 0.1; done
grep -rLx THAWED --include freezer.state . | while read -r state; do echo THAWED >"$state"; done
"""
_ENDING_SECONDS = 15.0


def delete_left(progress: Progress, *, kept: bool) -> tuple[list[str], list[str]]:
    """Delete the clusters that killed runs have left.

    Args:
        progress: Told of each.
        kept: Whether those that were kept are deleted as well.

    Returns:
        The names of the clusters that were deleted, and for each that cannot be what is the matter.
    """
    deleted, troubles = [], []
    for folder in folders():
        # Held to its end, so that no other run takes the cluster, or deletes it at the same time.
        if not folder.hold():
            continue
        try:
            if kept or not folder.kept:
                progress.waiting(f"an earlier run has left cluster {folder.name}; deleting it")
                delete_cluster(folder)
                deleted.append(folder.name)
        except ClusterError as error:
            troubles.append(f"{folder.name}: {error}")
        finally:
            folder.lock.release()
    return deleted, troubles


def delete_cluster(folder: KindFolder) -> None:
    """Delete the cluster of a folder, then the folder. The caller holds the folder's lock.

    Raises:
        ClusterError: The engine is not the one that has the cluster, or kind fails to; the folder stays, and
            the message says what finishes it.
    """
    try:
        _check_place(folder)
        _delete(folder)
        folder.remove()
    except (ClusterError, OSError) as error:
        raise ClusterError(f"{error}\nFinish it with: pytest-istio cleanup") from error


def _check_place(folder: KindFolder) -> None:
    """Return if the cluster's engine is the one that answers; any other would say that it is gone."""
    made = folder.place
    if made is not None and made != (answering := engine_of(folder.engine).place):
        raise ClusterError(
            f"Cluster {folder.name} was made with {folder.engine} at {made}, and now the one at {answering} "
            "answers; choose the former again (DOCKER_HOST, DOCKER_CONTEXT, CONTAINER_HOST), or, if it is no "
            f"more, remove {folder.path}."
        )


def _delete(folder: KindFolder) -> None:
    # An upgrade, or an emptied cache, may have taken away the program that made it.
    if not answers(folder.program):
        folder.wrap(find_kind(None, Silent()))
    _end_nodes(folder)
    call = Call("delete", folder.name, str(folder.kubeconfig), str(folder.program))
    for _ in range(_DELETIONS):
        call.run(folder.path, folder.environment, timeout=DELETE_SECONDS, progress=Silent())
        if not until(lambda: nodes_left(folder.engine, folder.name), bool, timeout=_SETTLING_SECONDS):
            return
    raise ClusterError(f"{folder.engine} still has containers of cluster {folder.name}.")


def _end_nodes(folder: KindFolder) -> None:
    """End the nodes at once: nothing in them is worth the time that an engine may give them to end in peace.

    Podman's is ten seconds; and one that still makes containers might not end at all.
    """
    # A node without a kubelet makes none; that an engine does not answer is kind's to tell.
    with suppress(OSError, subprocess.TimeoutExpired, ClusterError):
        nodes = nodes_left(folder.engine, folder.name)
        for node in nodes:
            _call(folder.engine, "exec", node, "sh", "-c", _CALM)
        if nodes:
            _call(folder.engine, "kill", *nodes)


def _call(*words: str) -> None:
    subprocess.run(words, capture_output=True, timeout=_ENDING_SECONDS, check=False)

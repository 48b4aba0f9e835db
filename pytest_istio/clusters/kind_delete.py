"""Deleting a kind cluster, and the record of it when nothing of it is left."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from pytest_istio.clusters.engine import nodes_left
from pytest_istio.clusters.kind_call import Call
from pytest_istio.errors import ClusterError
from pytest_istio.kube.polling import until
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from pytest_istio.clusters.kind_folder import KindFolder

__all__ = ["DELETE_SECONDS", "delete_cluster"]

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


def delete_cluster(folder: KindFolder) -> None:
    """Delete the cluster of a folder, then the folder.

    Raises:
        ClusterError: kind fails to; the folder stays, and the message names the command that finishes it.
    """
    try:
        _delete(folder)
    except ClusterError as error:
        raise ClusterError(f"{error}\nFinish it with: pytest-istio cleanup") from error
    folder.remove()


def _delete(folder: KindFolder) -> None:
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

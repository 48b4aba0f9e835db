"""Deleting a kind cluster, and the record of it when nothing of it is left."""

from __future__ import annotations

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
    call = Call("delete", folder.name, str(folder.kubeconfig), str(folder.program))
    for _ in range(_DELETIONS):
        call.run(folder.path, folder.environment, timeout=DELETE_SECONDS, progress=Silent())
        if not until(lambda: nodes_left(folder.engine, folder.name), bool, timeout=_SETTLING_SECONDS):
            return
    raise ClusterError(f"{folder.engine} still has containers of cluster {folder.name}.")

"""Finding out that a cluster is lost of which nothing tells but its answers."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.kube.client import Kube
from pytest_istio.kube.connection import TRANSIENT
from pytest_istio.kube.errors import KubeError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Pulse"]

PERIOD = 5.0
"""Seconds between two questions; a login that fails at once gets them as well."""
REQUEST_SECONDS = 5.0
"""How long the server may be silent during one of them."""
MISSES = 2
"""Questions in a row that are not answered, each tried again as any request is; it is lost then."""


class Pulse:
    """Asks an API server by a thread whether it is ready, as long as the run lasts."""

    def __init__(self, kubeconfig: Path, context: str | None) -> None:
        """Begin to ask.

        Args:
            kubeconfig: The kubeconfig file.
            context: A context of the file; None for its current one.
        """
        self.trouble: str | None = None
        self._kube = Kube.connect(kubeconfig, context, request_timeout=REQUEST_SECONDS)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="istio-pulse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ask no longer; a question that is under way is not waited for."""
        self._over.set()

    def _ask(self) -> None:
        misses = 0
        while not self._over.wait(PERIOD):
            seen = self._miss()
            misses = misses + 1 if seen else 0
            if misses == MISSES:
                self.trouble = f"The cluster is lost: {seen}"
                break
        self._kube.close()

    def _miss(self) -> str | None:
        """Return what is seen instead of an answer; a refusal is one as well."""
        try:
            self._kube.request("GET", "/readyz")
        except ClusterError as error:
            # No answer, or no login: it hangs, or the server does not take it any more.
            return str(error)
        except KubeError as error:
            if error.status in TRANSIENT:
                return str(error)
        return None

"""What a provider of clusters promises: what differs between them, and no more."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pytest_istio.progress import Progress
    from pytest_istio.settings import Settings

__all__ = ["Address", "Cluster", "Provider"]


@dataclass(frozen=True)
class Address:
    """Where something listens, as seen from this machine.

    Attributes:
        host: A host name or an IP address.
        port: A TCP port.
        way: How the address was found: ``load-balancer``, ``node-port`` or ``port-forward``.
    """

    host: str
    port: int
    way: str


@dataclass(frozen=True)
class Cluster:
    """A running cluster, as everything but its provider sees it; plain data, so that workers can attach.

    Attributes:
        name: The cluster's name, unique among the runs on this machine.
        provider: ``kind``, ``existing`` or ``local``.
        kubeconfig: Path of a kubeconfig file of this run's own (mode 0600), or the user's for ``existing``.
        context: The kubeconfig context; None for the file's current one.
        created: Whether this run made the cluster, or an earlier one that kept it for this.
        capabilities: What the cluster can do beyond the API: ``containers``, ``load_balancer``, ``iptables``.
        description: Half a line for the header, such as ``embedded, Envoy 1.40.0``.
        details: What the provider needs to find its cluster again (JSON values).
        setup: What an earlier run has set up on it, as that run's states by their names; empty on a new one.
    """

    name: str
    provider: str
    kubeconfig: Path
    context: str | None
    created: bool
    capabilities: frozenset[str]
    description: str
    details: dict[str, Any]
    setup: dict[str, Any] = field(default_factory=dict)

    @property
    def reused(self) -> bool:
        """Whether an earlier run has installed Istio on it."""
        return bool(self.setup)

    @property
    def rehearsal(self) -> bool:
        """Whether results are a rehearsal, from which nothing is claimed for a vendor.

        That is so where pods are not containers, or containers hold stand-ins for Istio's programs.
        """
        return "containers" not in self.capabilities or bool(self.details.get("stand_ins"))

    def to_state(self) -> dict[str, Any]:
        """Return the cluster as JSON values, for the run's state file."""
        return asdict(self) | {"kubeconfig": str(self.kubeconfig), "capabilities": sorted(self.capabilities)}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Cluster:
        """Return the cluster that `to_state` wrote."""
        changed = {"kubeconfig": Path(state["kubeconfig"]), "capabilities": frozenset(state["capabilities"])}
        return cls(**{**state, **changed})


class Provider(Protocol):
    """Makes clusters of one kind; one module a provider, found by `pytest_istio.clusters.provider`."""

    @property
    def trouble(self) -> str | None:
        """Why the cluster that was started is lost, a whole message; None where nothing is known of that."""
        ...

    def start(self, settings: Settings, progress: Progress) -> Cluster:
        """Return a cluster whose API server answers, making it if need be.

        Raises:
            ClusterError: No cluster can be had; nothing of it is left behind.
        """
        ...

    def stop(self, cluster: Cluster, *, keep: bool) -> None:
        """Take away what `start` made, or with `keep` leave it running past the end of this process."""
        ...

    def wire(self, cluster: Cluster, host: str, port: int) -> tuple[str, int]:
        """Return where an address that the cluster's objects name is reached from this machine."""
        ...

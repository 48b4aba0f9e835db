"""Every bound on waiting, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

__all__ = ["Timeouts"]


@dataclass(frozen=True)
class Timeouts:
    """How long each kind of waiting may take, in seconds; ``--istio-timeout-factor`` scales all of them."""

    request: float = 10.0
    """One request to the API server or through the gateway."""
    cluster_start: float = 120.0
    """From starting a cluster to its API server answering ready."""
    kind_create: float = 300.0
    """One attempt of kind's to create a cluster, from an image that is on this machine."""
    image_pull: float = 600.0
    """One image, fetched from its registry by this machine's container engine."""
    image_load: float = 300.0
    """Writing a run's images to a file, and from there into the nodes of a kind cluster, each."""
    crd_established: float = 60.0
    """From creating the custom resource definitions to the last one being Established."""
    rollout: float = 480.0
    """From applying to all control-plane workloads, or all of bookinfo, being ready."""
    webhook_live: float = 60.0
    """From the injector being available to a pod really being injected."""
    sidecar_sync: float = 60.0
    """From a sidecar's start to its configuration being complete."""
    gateway_address: float = 180.0
    """Until the ingress gateway has an address that takes connections."""
    gateway_answer: float = 120.0
    """Until the first good answer through the gateway after the installation."""
    consistency: float = 30.0
    """Until a change of configuration shows in a number of answers in a row."""
    namespace_gone: float = 300.0
    """From deleting a namespace to its being gone."""

    def scaled(self, factor: float) -> Timeouts:
        """Return the same bounds, each multiplied by `factor`."""
        return replace(self, **{field.name: getattr(self, field.name) * factor for field in fields(self)})

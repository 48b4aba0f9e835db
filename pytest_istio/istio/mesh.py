"""An installed Istio, as the fixtures and checks see it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from pytest_istio.istio import observations
from pytest_istio.istio.preflight import Preflight
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytest_istio.istio.adapt import Adaptation, Registration
    from pytest_istio.istio.catalog import Release
    from pytest_istio.istio.observations import Asked
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.manifests import Manifests
    from pytest_istio.kube.migrate import Rewrite, Unserved
    from pytest_istio.kube.objects import Object
    from pytest_istio.settings import Settings
    from pytest_istio.timeouts import Timeouts

__all__ = ["MANAGER", "RESERVED_DOMAIN", "RUN_LABEL", "Mesh", "restored"]

MANAGER = "pytest-istio"
"""The field manager under which a run applies objects."""
RESERVED_DOMAIN = "example.com"
"""Of which no user has a host (RFC 2606)."""
RUN_LABEL = "pytest-istio.dev/run"
"""The label that says which run has made an object."""


@dataclass(frozen=True)
class Mesh:
    """An installation of Istio, ready or not.

    Attributes:
        kube: The cluster.
        settings: What the run was asked to do.
        release: What is expected of this release.
        manifests: What was installed, as it was given.
        objects: What was applied: the manifests after migration and adaptation.
        rewrites: What the migration changed.
        run: The run's name, on everything that it makes.
        preflight: What the cluster was like before.
        troubles: What did not become ready, and why.
        restarts: How often each container of the control plane had restarted when it was ready, by
            ``pod/container``.
        observed: The folder in which the run's processes share their observations; None keeps them apart.
        adaptations: What was done because the API server lacks what the release's programs call, or because
            others use the cluster, too.
        registrations: What of that is done once these programs run.
        unserved: What of the manifests was left out, since the server has its kind in no version.
    """

    kube: Kube
    settings: Settings
    release: Release
    manifests: Manifests
    objects: tuple[Object, ...]
    rewrites: tuple[Rewrite, ...]
    run: str
    preflight: Preflight
    troubles: tuple[Trouble, ...] = ()
    restarts: Mapping[str, int] | None = None
    observed: Path | None = None
    adaptations: tuple[Adaptation, ...] = ()
    registrations: tuple[Registration, ...] = ()
    unserved: tuple[Unserved, ...] = ()

    @property
    def namespace(self) -> str:
        """The namespace of the control plane."""
        return self.settings.namespace

    @property
    def gateway_namespace(self) -> str:
        """The namespace of the ingress gateway."""
        return self.settings.gateway[0] if self.settings.gateway else self.settings.namespace

    @property
    def host(self) -> str | None:
        """The host as which bookinfo is asked through the ingress gateway; None for any.

        A gateway that others use, too, must lead none of their requests to this run's bookinfo, and none of
        this run's to theirs.
        """
        return f"bookinfo-{self.run}.{RESERVED_DOMAIN}" if self.settings.use_installed else None

    @property
    def timeouts(self) -> Timeouts:
        """The bounds on waiting."""
        return self.settings.timeouts

    @property
    def labels(self) -> dict[str, str]:
        """The labels of everything that the run makes."""
        return {RUN_LABEL: self.run}

    def registered_by_run(self, webhooks: str) -> str | None:
        """Return what became of registering webhooks in their server's stead; None if that is not needed.

        Args:
            webhooks: The name of their configuration.
        """
        if all(each.webhooks["metadata"]["name"] != webhooks for each in self.registrations):
            return None
        failed = (each.detail for each in self.troubles if each.ref.name == webhooks)
        return next(failed, "this run did, in its server's stead, and somebody has changed it since")

    def problems(
        self, check_id: str, *, bookinfo: str | None = None, gateway: Asked | None = None
    ) -> tuple[str, ...]:
        """Return what keeps the prerequisite behind a check from being met; empty if it is.

        Each is observed once in a run, by whoever asks first, and remembered for all processes of the run.

        Args:
            check_id: Such as ``CP-006`` or ``CP-001[istio-pilot]``.
            bookinfo: The namespace of the sample application, which the checks about it need.
            gateway: The ingress gateway, which the checks about it need.

        Raises:
            LookupError: Nothing is observed under this name, or what it needs was not given.
        """
        subject = observations.Subject(self, bookinfo, gateway)
        if self.observed is None:
            return observations.observe(check_id, subject)
        self.observed.mkdir(parents=True, exist_ok=True)
        file = self.observed / f"{check_id}.json"
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                # Whole or not at all: an interrupted observer leaves nothing that looks like a result.
                draft = file.with_suffix(".draft")
                draft.write_text(json.dumps(observations.observe(check_id, subject)), encoding="utf-8")
                draft.replace(file)
            return tuple(json.loads(file.read_text(encoding="utf-8")))

    def to_state(self) -> dict[str, Any]:
        """Return what another process needs beside the settings, as JSON values; see `install.attach`."""
        return {
            "run": self.run,
            "preflight": asdict(self.preflight),
            "troubles": [asdict(trouble) for trouble in self.troubles],
            "restarts": self.restarts,
        }


def restored(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `Mesh` that `to_state` wrote."""
    return {
        "run": state["run"],
        "preflight": Preflight.from_state(state["preflight"]),
        "troubles": tuple(Trouble(**{**each, "ref": Ref(**each["ref"])}) for each in state["troubles"]),
        "restarts": state["restarts"],
    }

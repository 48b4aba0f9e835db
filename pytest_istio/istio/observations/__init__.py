"""Judging an installation: functions that look at the cluster and return what is wrong, as whole messages.

The checks assert on them, and the prerequisites of other checks are these very functions, observed once in a
run (`Mesh.problems`), so that a check that fails and the checks that it blocks always agree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_istio.istio.observations.application import (
    bookinfo_available,
    bookinfo_endpoints,
    bookinfo_images,
    bookinfo_page_whole,
    bookinfo_pods_ready,
    hops_of_one_request,
)
from pytest_istio.istio.observations.control_plane import (
    component_available,
    crds_established,
    discovery_ready,
    http_ok,
    job_complete,
    pods_of,
    restarts,
    service_has_endpoints,
    services_have_endpoints,
    version_reported,
)
from pytest_istio.istio.observations.images import control_plane_images, template_images
from pytest_istio.istio.observations.ingress import (
    NOT_OPEN,
    Asked,
    answered_by,
    declared_paths_open,
    gateway_addressed,
    productpage_answers,
)
from pytest_istio.istio.observations.injection import (
    injector_live,
    probe_pod,
    sidecar_of,
    sidecars_synced,
    sync_status,
    wanted_sidecar,
)
from pytest_istio.istio.observations.runtime import objects_exist, runtime_objects
from pytest_istio.istio.observations.validation import configuration_accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_istio.istio.mesh import Mesh

__all__ = [
    "NOT_OPEN",
    "OBSERVATIONS",
    "Asked",
    "Subject",
    "answered_by",
    "bookinfo_available",
    "bookinfo_endpoints",
    "bookinfo_images",
    "bookinfo_page_whole",
    "bookinfo_pods_ready",
    "component_available",
    "configuration_accepted",
    "control_plane_images",
    "crds_established",
    "declared_paths_open",
    "discovery_ready",
    "gateway_addressed",
    "hops_of_one_request",
    "http_ok",
    "injector_live",
    "job_complete",
    "objects_exist",
    "observe",
    "pods_of",
    "probe_pod",
    "productpage_answers",
    "restarts",
    "runtime_objects",
    "service_has_endpoints",
    "services_have_endpoints",
    "sidecar_of",
    "sidecars_synced",
    "sync_status",
    "template_images",
    "version_reported",
    "wanted_sidecar",
]


@dataclass(frozen=True)
class Subject:
    """What an observation is about.

    Attributes:
        mesh: The installation.
        namespace: The namespace of the sample application; None where there is none.
        gateway: The ingress gateway; None where it was not looked for.
    """

    mesh: Mesh
    namespace: str | None = None
    gateway: Asked | None = None

    def application(self) -> str:
        """Return the namespace of the sample application, which must have been given."""
        if self.namespace is None:
            raise LookupError("this observation is about the sample application, and none was given")
        return self.namespace

    def entrance(self) -> Asked:
        """Return the ingress gateway, which must have been given."""
        if self.gateway is None:
            raise LookupError("this observation is about the ingress gateway, and none was given")
        return self.gateway


def _all_components(subject: Subject) -> tuple[str, ...]:
    components = [each.name for each in subject.mesh.release.components if not each.optional]
    return tuple(problem for name in components for problem in component_available(subject.mesh, name))


OBSERVATIONS: Mapping[str, Callable[[Subject], tuple[str, ...]]] = {
    "INV-001": lambda subject: crds_established(subject.mesh),
    "INV-002": lambda subject: objects_exist(subject.mesh),
    "INV-006": lambda subject: runtime_objects(subject.mesh),
    "CP-001": _all_components,
    "CP-003": lambda subject: services_have_endpoints(subject.mesh),
    "CP-004": lambda subject: discovery_ready(subject.mesh),
    "CP-006": lambda subject: injector_live(subject.mesh),
    "CP-007": lambda subject: configuration_accepted(subject.mesh),
    "INJ-008": lambda subject: sidecars_synced(subject.mesh, subject.application()),
    "BKI-001": lambda subject: bookinfo_available(subject.mesh, subject.application()),
    "BKI-002": lambda subject: bookinfo_pods_ready(subject.mesh, subject.application()),
    "BKI-003": lambda subject: bookinfo_endpoints(subject.mesh, subject.application()),
    "BKI-008": lambda subject: bookinfo_page_whole(subject.mesh, subject.application(), subject.entrance()),
    "ING-001": lambda subject: gateway_addressed(subject.mesh, subject.entrance()),
    "ING-002": lambda subject: productpage_answers(subject.entrance()),
    "ING-004": lambda subject: declared_paths_open(subject.entrance()),
}
"""What can be a prerequisite, by the id of the check that asserts it."""


def observe(check_id: str, subject: Subject) -> tuple[str, ...]:
    """Return what is wrong with the prerequisite behind a check, as seen now.

    Raises:
        LookupError: Nothing is observed under this name, or the subject lacks what it needs.
    """
    if component := re.fullmatch(r"INV-001\[(.+)\]", check_id):
        return crds_established(subject.mesh, component.group(1))
    if component := re.fullmatch(r"CP-001\[(.+)\]", check_id):
        name = component.group(1)
        return component_available(subject.mesh, subject.mesh.release.successors.get(name, name))
    if service := re.fullmatch(r"CP-003\[(.+)\]", check_id):
        return services_have_endpoints(subject.mesh, service.group(1))
    if check_id not in OBSERVATIONS:
        known = ", ".join(OBSERVATIONS)
        raise LookupError(
            f"no observation belongs to {check_id}; prerequisites can be {known}, "
            "and with [NAME] of a component CP-001, CP-003 and INV-001"
        )
    return OBSERVATIONS[check_id](subject)

"""INV: what the installation made is what its manifests said, no less."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from pytest_istio.findings import finding, report
from pytest_istio.istio import observations
from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object

CRD = "apiextensions.k8s.io/v1"


@pytest.mark.istio("INV-001", level="core")
def test_custom_resource_definitions_are_established(mesh: Mesh) -> None:
    """Every custom resource definition of the manifests and of the adaptations exists and is Established.

    Source: the release's own manifests; Kubernetes, "Extend the Kubernetes API with
    CustomResourceDefinitions".
    """
    problems = observations.crds_established(mesh)
    assert not problems, report(problems)


@pytest.mark.istio("INV-002", level="core", requires=["INV-001"])
def test_objects_of_the_manifests_exist(mesh: Mesh) -> None:
    """Every object that was applied is there, by kind, namespace and name, and grants what it granted.

    Of roles and their bindings, which nothing but their user changes, the contents are compared as well.
    Source: the release's own manifests (what `istioctl verify-install` compares in later releases), and the
    recorded adaptations.
    """
    if mesh.settings.use_installed:
        pytest.skip("this run applied nothing, so there are no manifests to compare the cluster with")
    problems = observations.objects_exist(mesh)
    assert not problems, report(problems)


@pytest.mark.istio("INV-003", level="core")
def test_images_are_of_this_release(mesh: Mesh) -> None:
    """The control plane runs, and the injection template gives pods, the images that belong to this release.

    Source: the release's chart. Judged on pods, since a deployment only says what is wanted, and on the
    template that is on the cluster. Registries are those that the run was told of. What the release's chart
    does not have is compared with the manifests, and so is all of an Istio that was there before the run.
    """
    problems = [*observations.control_plane_images(mesh), *observations.template_images(mesh)]
    assert not problems, report(problems)


@pytest.mark.istio("INV-004", level="core")
def test_container_counts(mesh: Mesh) -> None:
    """Each control-plane pod has as many containers as its component has in this release.

    Source: the release's chart. In 1.0 pilot, policy and telemetry have two, everything else one.
    """
    problems: list[str] = []
    deployments = {d["metadata"]["name"]: d for d in _of_kind(mesh, "Deployment")}
    for component in mesh.release.components:
        deployment = deployments.get(component.name)
        if deployment is None:
            if not component.optional:
                problems.append(
                    finding(
                        f"Deployment {mesh.namespace}/{component.name}",
                        expected=f"part of Istio {mesh.release.version}",
                        seen="not in the manifests",
                        cause="manifests of another version, or rendered with the component disabled",
                    )
                )
            continue
        for pod in observations.pods_of(mesh, deployment):
            count = len(pod["spec"]["containers"])
            if count != component.containers:
                problems.append(
                    finding(
                        str(Ref.of(pod)),
                        expected=f"{component.containers} containers",
                        seen=f"{count}: {', '.join(c['name'] for c in pod['spec']['containers'])}",
                        cause="a sidecar was injected into the control plane, or one is missing",
                    )
                )
    assert not problems, report(problems)


@pytest.mark.istio(
    "INV-006",
    level="core",
    until="1.4",
    requires=["CP-001[istio-pilot]", "CP-001[istio-galley]", "CP-001[istio-citadel]"],
)
def test_objects_that_istio_makes_at_run_time(mesh: Mesh) -> None:
    """Galley's webhook is registered, Citadel has made its root and a certificate in each namespace.

    All of them name one authority: Citadel's root is the one that workloads trust, and by which the API
    server knows Galley. Source: facts of the release: galley's `--webhook-config-file`, Citadel's secrets of
    the types istio.io/ca-root and istio.io/key-and-cert, with their keys. Where the API server lacks what
    Galley and Pilot call, the run has made in their stead what they make, and has recorded that.
    """
    problems = observations.runtime_objects(mesh)
    assert not problems, report(problems)


@pytest.mark.istio("INV-008", level="core", requires=["INV-002"])
def test_service_ports(mesh: Mesh) -> None:
    """Each control-plane service has the ports of its release: name, number and node port.

    Source: the release's chart; clients and other meshes address these ports by number and name.
    """
    problems: list[str] = []
    for spec in mesh.release.control_plane_services:
        service = mesh.kube.find("v1", "Service", spec.name, mesh.namespace)
        subject = f"Service {mesh.namespace}/{spec.name}"
        if service is None:
            problems.append(finding(subject, expected="exists", seen="not on the cluster"))
            continue
        there = {(p.get("name"), p["port"]): p for p in service["spec"]["ports"]}
        for port in spec.ports:
            seen = there.get((port.name, port.port))
            node_port = seen.get("nodePort") if seen else None
            if seen is None or (port.node_port is not None and node_port != port.node_port):
                wanted = f"port {port.name}:{port.port}" + (
                    f" at node port {port.node_port}" if port.node_port else ""
                )
                found = ", ".join(f"{n}:{p} ({o.get('nodePort', '-')})" for (n, p), o in there.items())
                problems.append(
                    finding(
                        subject,
                        expected=wanted,
                        seen=found,
                        look=f"kubectl -n {mesh.namespace} get service {spec.name} -o yaml",
                    )
                )
    assert not problems, report(problems)


@pytest.mark.istio("INV-010", level="core")
def test_mesh_configuration_is_valid(mesh: Mesh) -> None:
    """The mesh configuration parses, and names a control plane that is part of this installation.

    Source: Istio's MeshConfig reference. Pilot of 1.0 falls back to defaults, with one warning in its
    log, when the file does not parse; so nothing else would show it.
    """
    config_map = mesh.kube.find("v1", "ConfigMap", "istio", mesh.namespace)
    subject = f"ConfigMap {mesh.namespace}/istio"
    look = f"kubectl -n {mesh.namespace} get configmap istio -o yaml"
    assert config_map is not None, finding(subject, expected="exists", seen="not on the cluster", look=look)
    text = config_map.get("data", {}).get("mesh", "")
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError as error:
        pytest.fail(finding(f"{subject}, key mesh", expected="YAML", seen=str(error), look=look))
    assert isinstance(config, dict), finding(
        f"{subject}, key mesh", expected="a mapping", seen=repr(text[:80]), look=look
    )
    default = config.get("defaultConfig") or {}
    discovery = str(default.get("discoveryAddress", ""))
    expected = f"{mesh.release.discovery_service}.{mesh.namespace}"
    address = rf"{re.escape(expected)}(\.svc(\.cluster\.local)?)?:\d+"
    assert re.fullmatch(address, discovery), finding(
        f"{subject}, defaultConfig.discoveryAddress",
        expected=f"{expected} with a port",
        seen=discovery or "nothing",
        cause="rendered for another namespace than the one installed to",
        look=look,
    )


def _of_kind(mesh: Mesh, kind: str) -> list[Object]:
    return [obj for obj in mesh.objects if obj["kind"] == kind]

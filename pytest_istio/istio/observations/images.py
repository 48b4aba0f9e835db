"""Whether what runs, and what is put into pods, are the images of the release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_istio.errors import ManifestError
from pytest_istio.findings import finding
from pytest_istio.istio.explain import pods_of
from pytest_istio.istio.inject import InjectionConfig, inject_pod
from pytest_istio.istio.mirror import DEFAULT_REGISTRY, mirrored_image
from pytest_istio.istio.observations.injection import probe_pod
from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object

__all__ = ["control_plane_images", "template_images"]

TEMPLATE = "istio-sidecar-injector"


def control_plane_images(mesh: Mesh) -> tuple[str, ...]:
    """Return which containers of the control plane run another image than the release has for them.

    What the catalogue does not know, and an Istio that was there before the run and may be a distribution's,
    is compared with the Deployments alone.
    """
    return tuple(
        problem
        for workload in mesh.objects
        if workload["kind"] == "Deployment"
        for pod in pods_of(mesh.kube, workload)
        for problem in _pod_images(mesh, pod, _wanted(mesh, workload))
    )


def _wanted(mesh: Mesh, deployment: Object) -> dict[str, str]:
    """Return the images by container."""
    spec = deployment["spec"]["template"]["spec"]
    wanted = _images(spec)
    name = deployment["metadata"]["name"]
    component = next((each for each in mesh.release.components if each.name == name), None)
    if component is not None and not mesh.settings.use_installed:
        names = [each["name"] for each in spec["containers"]]
        # How many there are is for another check to say.
        wanted.update(zip(names, (_released(mesh, image) for image in component.images), strict=False))
    return wanted


def _released(mesh: Mesh, image: str) -> str:
    return mirrored_image(image, mesh.settings.image_registries)


def _images(pod_spec: Object) -> dict[str, str]:
    containers = [*(pod_spec.get("initContainers") or []), *pod_spec["containers"]]
    return {each["name"]: each.get("image", "") for each in containers}


def _is(image: str, wanted: str) -> bool:
    """Return whether an image is the one of a name and tag; a digest may say which bytes these are."""
    image, wanted = (each.removeprefix(f"{DEFAULT_REGISTRY}/") for each in (image, wanted))
    return image == wanted or image.partition("@")[0] == wanted


def _pod_images(mesh: Mesh, pod: Object, wanted: dict[str, str]) -> Iterator[str]:
    running = _images(pod["spec"])
    for name, image in wanted.items():
        seen = running.get(name, "no such container")
        if not _is(seen, image):
            yield finding(
                f"{Ref.of(pod)}, container {name}",
                expected=f"image {image}",
                seen=seen,
                cause="manifests of another release, a mirror that --istio-image-registry does not name, "
                "an admission webhook, or a later change of the deployment",
                look=f"kubectl -n {mesh.namespace} get pod {pod['metadata']['name']} -o yaml",
            )


def template_images(mesh: Mesh) -> tuple[str, ...]:
    """Return which images the injection template on the cluster gives a pod that are not the release's.

    A template that nobody but Istio's own programs can evaluate is not looked at; nor is one that cannot be
    evaluated at all, since it injects nothing.
    """
    if mesh.settings.use_installed:
        return ()
    found = [mesh.kube.find("v1", "ConfigMap", name, mesh.namespace) for name in (TEMPLATE, "istio")]
    try:
        config = InjectionConfig.from_manifests([each for each in found if each is not None])
        pod = inject_pod(probe_pod(mesh, "default"), config)
    except ManifestError:
        return ()
    sidecar = mesh.release.sidecar
    given = _images(pod["spec"])
    return tuple(
        finding(
            f"ConfigMap {mesh.namespace}/{TEMPLATE}, container {name} of the template",
            expected=f"image {wanted}",
            seen=given[name],
            cause="a template of another release, a mirror that --istio-image-registry does not name, "
            "or a later change",
            look=f"kubectl -n {mesh.namespace} get configmap {TEMPLATE} -o yaml",
        )
        for name, released in (
            (sidecar.container, sidecar.image),
            (sidecar.init_container, sidecar.init_image),
        )
        for wanted in [_released(mesh, released)]
        if name in given and not _is(given[name], wanted)
    )

"""The images that a run needs, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_istio.istio.catalog import release
from pytest_istio.istio.mirror import mirrored_image
from pytest_istio.istio.sources import manifests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_istio.settings import Settings

__all__ = ["images"]


def images(settings: Settings) -> tuple[str, ...]:
    """Return every image of a run: those of the manifests, of injected sidecars and of bookinfo.

    Raises:
        PytestIstioError: The version is unknown, or its manifests cannot be used.
    """
    assert settings.istio_version is not None
    known = release(settings.istio_version)
    found = {image for each in manifests(settings).objects for image in _images(each)}
    others = (known.sidecar.image, known.sidecar.init_image, *known.bookinfo.images.values())
    found |= {mirrored_image(image, settings.image_registries) for image in others}
    return tuple(sorted(found))


def _images(value: Any) -> Iterator[str]:  # noqa: ANN401  (a JSON value)
    """Return the images of all containers in an object."""
    if isinstance(value, list):
        for each in value:
            yield from _images(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key in ("containers", "initContainers") and isinstance(each, list):
                images = (container.get("image") for container in each if isinstance(container, dict))
                yield from (image for image in images if isinstance(image, str))
            yield from _images(each)

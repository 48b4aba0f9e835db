"""Where the manifests of a run come from: the user's own, or the set that ships with this program."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import ManifestError
from pytest_istio.istio.catalog import release
from pytest_istio.istio.mirror import mirrored, mirrored_image
from pytest_istio.kube.manifests import Manifests, load
from pytest_istio.paths import fixtures_folder

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.settings import Settings

__all__ = ["bookinfo", "manifests"]

NAMESPACE = "istio-system"
"""The namespace that the bundled manifests name, as the chart does by default."""


def manifests(settings: Settings) -> Manifests:
    """Return Istio's manifests for a run, with what they are and their SHA-256.

    The bundled sets were written after the releases ("re-created"), which source and report say. For another
    patch of a bundled minor version the newest set is taken with the tags of Istio's own images changed.

    Raises:
        UnknownVersionError: The catalogue does not know the version.
        ManifestError: The user's file cannot be used, or nothing is bundled for the version.
    """
    assert settings.istio_version is not None
    version = release(settings.istio_version).version
    if settings.manifests is not None:
        if settings.addons:
            raise ManifestError("--istio-addon is of the bundled manifests; render your own with the add-on")
        return _from_mirror(load(settings.manifests, namespace=settings.namespace), settings)
    bundled = _bundled(fixtures_folder() / "istio", version)
    found = load(bundled, source=f"re-created {bundled.name} (bundled)")
    for addon in dict.fromkeys(settings.addons):
        found = _with_addon(found, bundled / "options", addon)
    if bundled.name != version:
        found = _retagged(found, bundled.name, version)
    found = _from_mirror(found, settings)
    return found if settings.namespace == NAMESPACE else _moved(found, settings.namespace)


def _from_mirror(found: Manifests, settings: Settings) -> Manifests:
    """Return the manifests with the images' names mapped as the user wants."""
    if not settings.image_registries:
        return found
    assert settings.istio_version is not None
    known = release(settings.istio_version).bookinfo.images.values()
    others = [*known, *filter(None, [settings.client_image])]
    notes = []
    for prefix, place in settings.image_registries:
        pair = ((prefix, place),)
        used = mirrored(found.objects, pair) != found.objects or any(
            mirrored_image(image, pair) != image for image in others
        )
        notes.append(
            f"images of {prefix} from {place}"
            if used
            else f"no image of this run is of {prefix}, so none comes from {place}"
        )
    objects = mirrored(found.objects, settings.image_registries)
    return replace(found, objects=objects, warnings=(*found.warnings, *notes))


def bookinfo(version: str) -> Path:
    """Return the folder with the sample application of a release, or of the nearest one that is bundled.

    Raises:
        ManifestError: Nothing is bundled for the minor version.
    """
    return _bundled(fixtures_folder() / "bookinfo", version)


def _bundled(folder: Path, version: str) -> Path:
    """Return the folder of a version; if there is none, that of the newest patch of its minor version."""
    if (folder / version).is_dir():
        return folder / version
    minor = version.rsplit(".", 1)[0]
    patches = sorted(folder.glob(f"{minor}.*"), key=lambda path: int(path.name.rsplit(".", 1)[1]))
    if not patches:
        raise ManifestError(
            f"Istio {version}: nothing of {minor} is bundled; render its manifests and pass --istio-manifests"
        )
    return patches[-1]


def _with_addon(found: Manifests, folder: Path, name: str) -> Manifests:
    known = sorted(path.name for path in folder.iterdir())
    if name not in known:
        raise ManifestError(f"--istio-addon: {name!r} is none of {', '.join(known)}")
    addon = load(folder / name)
    both = hashlib.sha256(f"{found.sha256}{addon.sha256}".encode()).hexdigest()
    return replace(
        found,
        objects=(*found.objects, *addon.objects),
        source=f"{found.source} with {name}",
        sha256=both,
        warnings=(*found.warnings, *addon.warnings),
    )


def _retagged(found: Manifests, old: str, new: str) -> Manifests:
    pattern = re.compile(rf"(istio/[\w-]+):{re.escape(old)}(?![\w.-])")
    changed = _mapped(list(found.objects), lambda text: pattern.sub(rf"\g<1>:{new}", text))
    note = f"the manifests are those of {old} with the image tags changed to {new}; SHA-256 is that of {old}"
    return replace(
        found,
        objects=tuple(changed),
        source=f"{found.source}, image tags changed to {new}",
        warnings=(*found.warnings, note),
    )


def _moved(found: Manifests, namespace: str) -> Manifests:
    """Return the manifests as the chart would have rendered them for another namespace."""
    changed = _mapped(list(found.objects), lambda text: text.replace(NAMESPACE, namespace))
    return replace(found, objects=tuple(changed), source=f"{found.source}, for namespace {namespace}")


def _mapped(value: Any, change: Any) -> Any:  # noqa: ANN401  # a JSON value, and a function of a text
    """Return a JSON value with every text in it changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_mapped(each, change) for each in value]
    if isinstance(value, dict):
        return {key: _mapped(each, change) for key, each in value.items()}
    return value

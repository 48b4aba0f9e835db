"""Carrying those of the run's images that the container engine has into the nodes, past any registry."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_istio.istio.images import images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from pytest_istio.clusters.engine import Engine
    from pytest_istio.clusters.kind_folder import KindFolder
    from pytest_istio.settings import Settings

__all__ = ["STAND_IN", "STAND_INS_ALLOWED", "Archive", "load", "saving"]

STAND_IN = "pytest-istio.dev/stand-in"
"""The label of images that hold stand-ins for Istio, made by this program's own tests."""
STAND_INS_ALLOWED = "PYTEST_ISTIO_STAND_IN_IMAGES"
"""The environment variable without which no run takes such an image for Istio's."""


@dataclass(frozen=True)
class Archive:
    """Images in a file, in which layers that they share are once.

    Attributes:
        path: The file; there is none without images.
        count: How many images.
        stand_ins: How many of them hold stand-ins.
    """

    path: Path
    count: int
    stand_ins: int


@contextmanager
def saving(engine: Engine, folder: KindFolder, settings: Settings) -> Iterator[Future[Archive]]:
    """Write the images into an archive in the cluster's folder while something else is done.

    Its end is awaited, so that nothing is written any more when the folder is removed.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="images") as pool:
        yield pool.submit(_save, engine, folder.path / "images.tar", settings)


def load(folder: KindFolder, archive: Archive, *, timeout: float) -> None:
    """Carry the images into the nodes of the cluster, within so many seconds.

    Raises:
        ClusterError: kind fails to.
    """
    if archive.count:
        words = ("load", "image-archive", "--name", folder.name, str(archive.path))
        folder.run_kind(*words, timeout=timeout)
        archive.path.unlink()


def _save(engine: Engine, path: Path, settings: Settings) -> Archive:
    found = {image: engine.inspect(image) for image in images(settings)}
    present = {image: _is_stand_in(facts) for image, facts in found.items() if facts is not None}
    if STAND_INS_ALLOWED not in os.environ:
        present = {image: stand_in for image, stand_in in present.items() if not stand_in}
    if present:
        engine.save(present, path, timeout=settings.timeouts.image_load)
    return Archive(path, len(present), sum(present.values()))


def _is_stand_in(image: dict[str, Any]) -> bool:
    return STAND_IN in (image["Config"].get("Labels") or {})

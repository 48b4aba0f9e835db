"""The programs of the control plane: found on this machine, else downloaded, else built from source."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pytest_istio.errors import ClusterError
from pytest_istio.local.build import build
from pytest_istio.local.download import download
from pytest_istio.local.versions import KUBERNETES, PROGRAMS, accepted, wanted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_istio.progress import Progress

__all__ = ["cache_folder", "find_binaries"]

_OPTION = "--istio-kube-binaries"
_VERSION_SECONDS = 20
_UNFINISHED = "unfinished-"


def cache_folder() -> Path:
    """Return the folder of the programs that were downloaded or built for this user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pytest-istio" / f"kubernetes-v{KUBERNETES}"


def find_binaries(folder: Path | None, progress: Progress) -> dict[str, Path]:
    """Return the path of each program of the control plane, in a version that is known to work.

    Each comes from the first of these that has it: `folder`, the folder that KUBEBUILDER_ASSETS names,
    PATH, the cache. What none has is downloaded into the cache, and what cannot be is built there.

    Args:
        folder: The user's own folder of programs; need not hold all of them.
        progress: Told what is downloaded or built, and how far that is.

    Raises:
        ClusterError: A program cannot be had; says for each way why not.
    """
    if folder and not folder.is_dir():
        raise ClusterError(f"{_OPTION}: {folder} is no folder. It should hold {', '.join(PROGRAMS)}.")
    found, obstacles = _search(folder)
    if folder:
        _check_own(folder, found)
    if len(found) < len(PROGRAMS):
        cache = cache_folder()
        try:
            with _locked(cache, progress):
                # Another run may have brought them meanwhile.
                found, obstacles = _search(folder)
                missing = [name for name in PROGRAMS if name not in found]
                obstacles += _bring(missing, cache, progress)
        except OSError as error:
            obstacles.append(f"the cache {cache} cannot be written: {error}")
        found, _ = _search(folder)
    missing = [name for name in PROGRAMS if name not in found]
    if missing:
        raise ClusterError(_message(missing, obstacles))
    return found


def _check_own(folder: Path, found: Mapping[str, Path]) -> None:
    """Refuse a folder of the user's own from which something else would be used than he thinks."""
    there = [name for name in PROGRAMS if (folder / name).exists()]
    if not there:
        raise ClusterError(f"{_OPTION}: {folder} holds none of {', '.join(PROGRAMS)}.")
    for name in there:
        if found.get(name) != folder / name:
            raise ClusterError(f"{_OPTION}: {folder / name} {_obstacle(name, folder / name)}.")


def _search(folder: Path | None) -> tuple[dict[str, Path], list[str]]:
    """Return the programs that are there, and for the others what was in the way."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    places = [(_OPTION, folder), ("KUBEBUILDER_ASSETS", Path(assets) if assets else None)]

    def look(name: str) -> tuple[Path | None, list[str]]:
        on_path = shutil.which(name)
        candidates = [(place, where / name) for place, where in places if where]
        candidates += [("PATH", Path(on_path))] if on_path else []
        candidates += [("the cache", cache_folder() / name)]
        obstacles = []
        for place, path in candidates:
            obstacle = _obstacle(name, path)
            if obstacle is None:
                return path, []
            obstacles.append(f"{place}: {path} {obstacle}")
        return None, obstacles

    with ThreadPoolExecutor(len(PROGRAMS)) as threads:
        results = dict(zip(PROGRAMS, threads.map(look, PROGRAMS), strict=True))
    found = {name: path for name, (path, _) in results.items() if path}
    return found, [obstacle for _, obstacles in results.values() for obstacle in obstacles]


def _obstacle(name: str, path: Path) -> str | None:
    """Return why a file cannot be used as the program `name`; None if it can."""
    if not path.is_file():
        return "does not exist"
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot be run: {error}"
    if accepted(name, answer.stdout):
        return None
    printed = (answer.stdout + answer.stderr).strip().partition("\n")[0][:80]
    return f"is {printed or 'a program without a version'}, where {wanted(name)} is needed"


def _bring(missing: Sequence[str], cache: Path, progress: Progress) -> list[str]:
    """Download programs into the cache, or build those that cannot be; return what was in the way."""
    obstacles = []
    for group in (["etcd"], [name for name in PROGRAMS if name != "etcd"]):
        wanted_now = [name for name in group if name in missing]
        obstacles += _download_all(wanted_now, cache, progress)
        left = [name for name in wanted_now if not (cache / name).exists()]
        if left:
            try:
                with _unfinished(cache) as folder:
                    build(left, folder, progress)
                    _install(left, folder, cache)
            except ClusterError as error:
                obstacles.append(f"build: {error}")
    return obstacles


def _download_all(names: Sequence[str], cache: Path, progress: Progress) -> list[str]:
    try:
        for name in names:
            with _unfinished(cache) as folder:
                download(name, folder, progress)
                _install([name], folder, cache)
    except ClusterError as error:
        # The others would come from the same server.
        return [f"download: {error}"]
    return []


def _install(names: Sequence[str], folder: Path, cache: Path) -> None:
    """Move finished programs to where they are found; a file there is always a whole one."""
    for name in names:
        if obstacle := _obstacle(name, folder / name):
            raise ClusterError(f"{name} {obstacle}")
        (folder / name).replace(cache / name)


@contextmanager
def _unfinished(cache: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=cache) as folder:
        yield Path(folder)


@contextmanager
def _locked(cache: Path, progress: Progress) -> Iterator[None]:
    """Keep other runs from bringing the same programs, and remove what a killed one has left."""
    cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache.with_suffix(".lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.waiting("another run of pytest-istio, which is bringing the Kubernetes programs")
        lock.acquire()
    try:
        for left in cache.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)
        yield
    finally:
        lock.release()


def _message(missing: Sequence[str], obstacles: Sequence[str]) -> str:
    tried = "\n".join(f"  - {obstacle}" for obstacle in obstacles)
    return (
        f"The embedded Kubernetes needs {', '.join(missing)}, which cannot be had here. Tried:\n{tried}\n"
        f"Put Kubernetes {wanted('kube-apiserver')} and etcd {wanted('etcd')} into a folder and name it with "
        f"{_OPTION}=FOLDER, or let one of the ways above succeed, for instance with a mirror in "
        "PYTEST_ISTIO_KUBERNETES_URL and PYTEST_ISTIO_ETCD_URL."
    )

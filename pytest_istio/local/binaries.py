"""The programs of the control plane: found on this machine, else downloaded, else built from source."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from pytest_istio.errors import ClusterError
from pytest_istio.local.build import build
from pytest_istio.local.download import download
from pytest_istio.local.processes import asked
from pytest_istio.local.versions import KUBERNETES, PROGRAMS, accepted, wanted
from pytest_istio.paths import user_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pytest_istio.progress import Progress

__all__ = ["cache_folder", "find_binaries"]

_OPTION = "--istio-kube-binaries"
_VERSION_SECONDS = 20
_UNFINISHED = "unfinished-"


def cache_folder() -> Path:
    """Return the folder of the programs that were downloaded or built for this user."""
    return user_folder("XDG_CACHE_HOME", ".cache") / f"kubernetes-v{KUBERNETES}"


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
    found, seen = _search(folder)
    if folder:
        _check_own(folder, found, seen)
    if len(found) == len(PROGRAMS):
        return found
    cache = cache_folder()
    try:
        with _locked(cache, progress):
            # Another run may have brought them meanwhile.
            found, _ = _search(folder)
            obstacles = _bring([name for name in PROGRAMS if name not in found], cache, progress)
    except OSError as error:
        obstacles = [f"the cache cannot be written: {error}"]
    found, seen = _search(folder)
    if missing := {name: seen[name] for name in PROGRAMS if name not in found}:
        raise ClusterError(_message(missing, folder, obstacles))
    return found


def _check_own(folder: Path, found: Mapping[str, Path], seen: Mapping[str, Mapping[str, str]]) -> None:
    """Refuse a folder of the user's own from which something else would be used than he thinks."""
    for obstacles in seen.values():
        if _OPTION in obstacles:
            raise ClusterError(f"{_OPTION}: {obstacles[_OPTION]}.")
    if folder not in {path.parent for path in found.values()}:
        raise ClusterError(f"{_OPTION}: {folder} holds none of {', '.join(PROGRAMS)}.")


def _places(folder: Path | None) -> dict[str, Path | None]:
    """Return where programs are looked for, by name; None for PATH and for what is not set."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    return {
        _OPTION: folder,
        "KUBEBUILDER_ASSETS": Path(assets) if assets else None,
        "PATH": None,
        f"the cache {cache_folder()}": cache_folder(),
    }


def _search(folder: Path | None) -> tuple[dict[str, Path], dict[str, dict[str, str]]]:
    """Return the programs that there are, and for each one, found or not, what was in the way, by place."""

    def look(name: str) -> tuple[Path | None, dict[str, str]]:
        obstacles: dict[str, str] = {}
        for place, where in _places(folder).items():
            on_path = shutil.which(name) if place == "PATH" else None
            path = where / name if where else Path(on_path) if on_path else None
            if path is None or not path.exists():
                continue
            obstacle = _obstacle(name, path)
            if obstacle is None:
                return path, obstacles
            obstacles[place] = f"{path} {obstacle}"
        return None, obstacles

    with ThreadPoolExecutor(len(PROGRAMS)) as threads:
        results = dict(zip(PROGRAMS, threads.map(look, PROGRAMS), strict=True))
    found = {name: path for name, (path, _) in results.items() if path}
    return found, {name: obstacles for name, (_, obstacles) in results.items()}


def _obstacle(name: str, path: Path) -> str | None:
    """Return why a file cannot be used as the program `name`; None if it can."""
    try:
        answer = asked([str(path), "--version"], seconds=_VERSION_SECONDS)
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
    cache.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache.parent / f"{cache.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.waiting("another run of pytest-istio, which is bringing the Kubernetes programs")
        lock.acquire()
    try:
        cache.mkdir(exist_ok=True)
        for left in cache.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left)
        yield
    finally:
        _remove_empty(cache, Path(lock.lock_file))
        lock.release()


def _remove_empty(cache: Path, lock: Path) -> None:
    """Leave no trace where nothing could be brought."""
    with suppress(OSError):
        cache.rmdir()
        lock.unlink()
        cache.parent.rmdir()


def _message(missing: Mapping[str, Mapping[str, str]], folder: Path | None, obstacles: Sequence[str]) -> str:
    tried = []
    for place, where in _places(folder).items():
        seen = [found.get(place, f"no {name}") for name, found in missing.items()]
        unset = where is None and place != "PATH"
        tried.append(f"{place}: {'not set' if unset else '; '.join(seen)}")
    lines = "\n".join(f"  - {each}" for each in [*tried, *obstacles])
    return (
        f"The embedded Kubernetes needs {', '.join(missing)}, which cannot be had here. Tried:\n{lines}\n"
        f"Put Kubernetes {wanted('kube-apiserver')} and etcd {wanted('etcd')} into a folder and name it with "
        f"{_OPTION}=FOLDER, or let one of the ways above succeed, for instance with a mirror in "
        "PYTEST_ISTIO_KUBERNETES_URL and PYTEST_ISTIO_ETCD_URL."
    )

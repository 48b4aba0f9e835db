"""Finding kind's program, or fetching the official build with its checksum."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.local.processes import asked
from pytest_istio.paths import user_folder

if TYPE_CHECKING:
    from pytest_istio.progress import Progress

__all__ = ["VERSION", "answers", "find_kind"]

VERSION = "v0.30.0"
_RELEASES = "https://github.com/kubernetes-sigs/kind/releases/download"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
# A machine without a way out shall not be kept waiting by a firewall that drops packets.
_CONNECT_SECONDS = 3.0
_SILENCE_SECONDS = 30.0


def find_kind(given: Path | None, progress: Progress) -> Path:
    """Return kind's program: the one given, that on PATH, that in the cache, else the official download.

    The environment variable PYTEST_ISTIO_KIND_URL names a mirror of kind's releases on GitHub.

    Raises:
        ClusterError: The one given is not kind; or there is none, and it cannot be downloaded.
    """
    # Links are not followed: after an upgrade they lead to the new program, and the old one is gone.
    if given is not None:
        _check_own(given)
        return given.absolute()
    if found := shutil.which("kind"):
        return Path(found).absolute()
    cached = _cache() / f"kind-{VERSION}" / "kind"
    if not cached.exists():
        _download(cached, progress)
    return cached


def answers(program: Path) -> bool:
    """Return whether there is such a program, and it can be run."""
    try:
        return _version(program).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _version(program: Path) -> subprocess.CompletedProcess[str]:
    return asked([str(program), "version"], seconds=_SILENCE_SECONDS)


def _check_own(program: Path) -> None:
    try:
        answer = _version(program)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"--istio-kind-program: {program} cannot be run: {error}.") from error
    printed = answer.stdout + answer.stderr
    if not printed.startswith("kind "):
        raise ClusterError(
            f"--istio-kind-program: {program} is not kind; `{program} version` says: "
            f"{printed.strip().partition(chr(10))[0][:80] or 'nothing'}. See https://kind.sigs.k8s.io."
        )


def _cache() -> Path:
    return user_folder("XDG_CACHE_HOME", ".cache")


def _download(target: Path, progress: Progress) -> None:
    import httpx  # noqa: PLC0415 (only where there is no kind)

    base = os.environ.get("PYTEST_ISTIO_KIND_URL", _RELEASES)
    url = f"{base}/{VERSION}/kind-{sys.platform}-{_MACHINES.get(platform.machine(), platform.machine())}"
    progress.waiting(url)
    timeout = httpx.Timeout(_SILENCE_SECONDS, connect=_CONNECT_SECONDS)
    try:
        with httpx.Client(timeout=timeout, follow_redirects=True) as client:
            checksum = client.get(f"{url}.sha256sum").raise_for_status().text
            content = client.get(url).raise_for_status().content
        _keep(target, content, checksum, url)
    except (httpx.HTTPError, httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        # Time-outs have no text of their own.
        raise ClusterError(_none_to_be_had(url, f"{type(error).__name__} {error}".strip())) from error


def _keep(target: Path, content: bytes, checksum: str, url: str) -> None:
    expected = re.match(r"[0-9a-f]{64}\b", checksum)
    seen = hashlib.sha256(content).hexdigest()
    if expected is None or expected.group() != seen:
        raise ClusterError(_none_to_be_had(url, f"expected SHA-256 {checksum[:64]!r}, got {seen}"))
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, also when two runs do it at once.
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as draft:
        draft.write(content)
    Path(draft.name).chmod(0o755)
    Path(draft.name).replace(target)


def _none_to_be_had(url: str, why: str) -> str:
    return (
        "--istio-cluster=kind needs the program kind: there is none on PATH, "
        f"and {url} cannot be had: {why}. "
        "Install it (https://kind.sigs.k8s.io), or name it with --istio-kind-program."
    )

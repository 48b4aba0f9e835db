"""The official builds of the control plane's programs, with their checksums."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tarfile
import zlib
from typing import TYPE_CHECKING

import httpx

from pytest_istio.errors import ClusterError
from pytest_istio.local.versions import ETCD, KUBERNETES

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_istio.progress import Progress

__all__ = ["download"]

# A machine without a way out shall not be kept waiting by a firewall that drops packets.
_TIMEOUT = httpx.Timeout(30, connect=3)

_CHUNK = 1_000_000


def download(program: str, folder: Path, progress: Progress) -> None:
    """Put the official build of a program into a folder.

    The environment variables PYTEST_ISTIO_KUBERNETES_URL and PYTEST_ISTIO_ETCD_URL name mirrors; they
    have the layout of https://dl.k8s.io/release and of the releases of etcd on GitHub.

    Args:
        program: The program's name.
        folder: Where it goes, with what is needed on the way.
        progress: Told how much has arrived.

    Raises:
        ClusterError: It cannot be downloaded, or its checksum is wrong.
        OSError: It cannot be written.
    """
    try:
        client = httpx.Client(timeout=_TIMEOUT, follow_redirects=True)
    except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        # A proxy or a file with authorities that the environment names, which cannot be used.
        raise ClusterError(f"{program} cannot be downloaded: {type(error).__name__} {error}") from error
    with client:
        try:
            if program == "etcd":
                _etcd(client, folder, progress)
            else:
                _kubernetes(client, program, folder, progress)
        except (
            httpx.HTTPError, httpx.InvalidURL, tarfile.TarError, KeyError, EOFError, zlib.error
        ) as error:  # fmt: skip
            # Time-outs have no text of their own.
            reason = f"{type(error).__name__} {error}".strip()
            raise ClusterError(f"{program} cannot be downloaded: {reason}") from error


def _kubernetes(client: httpx.Client, program: str, folder: Path, progress: Progress) -> None:
    base = os.environ.get("PYTEST_ISTIO_KUBERNETES_URL", "https://dl.k8s.io/release")
    url = f"{base}/v{KUBERNETES}/bin/linux/amd64/{program}"
    _fetch(client, url, _text(client, f"{url}.sha256"), folder / program, progress)
    (folder / program).chmod(0o755)


def _etcd(client: httpx.Client, folder: Path, progress: Progress) -> None:
    base = os.environ.get("PYTEST_ISTIO_ETCD_URL", "https://github.com/etcd-io/etcd/releases/download")
    name = f"etcd-v{ETCD}-linux-amd64"
    url = f"{base}/v{ETCD}/{name}.tar.gz"
    sums = _text(client, f"{base}/v{ETCD}/SHA256SUMS").splitlines()
    line = next((line for line in sums if line.endswith(f" {name}.tar.gz")), "")
    archive = folder / "etcd.tar.gz"
    _fetch(client, url, line, archive, progress)
    with tarfile.open(archive) as files:
        # One member, to a name of our own: nothing that the archive says decides where anything goes.
        member = files.extractfile(f"{name}/etcd")
        if member is None:
            raise ClusterError(f"{url} holds no file {name}/etcd")
        with (folder / "etcd").open("wb") as target:
            shutil.copyfileobj(member, target)
    (folder / "etcd").chmod(0o755)


def _text(client: httpx.Client, url: str) -> str:
    return client.get(url).raise_for_status().text


def _fetch(client: httpx.Client, url: str, checksum: str, target: Path, progress: Progress) -> None:
    """Download a file; `checksum` is the line that begins with its SHA-256."""
    expected = re.match(r"[0-9a-f]{64}\b", checksum)
    if expected is None:
        raise ClusterError(f"{url} cannot be checked: its checksum on the server is {checksum[:80]!r}")
    digest = hashlib.sha256()
    arrived = 0
    with client.stream("GET", url) as answer, target.open("wb") as file:
        size = int(answer.raise_for_status().headers.get("Content-Length", 0))
        for chunk in answer.iter_bytes(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            arrived += len(chunk)
            progress.waiting(f"{url}: {arrived // _CHUNK} of {size // _CHUNK} MB")
    if digest.hexdigest() != expected.group():
        raise ClusterError(f"{url}: expected SHA-256 {expected.group()}, got {digest.hexdigest()}")

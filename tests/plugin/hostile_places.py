"""What the hostile inputs need beside text: odd files, programs and servers."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from pytest_istio.local.pki import Authority
from pytest_istio.local.versions import ETCD, KUBERNETES, PROGRAMS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: mine, cluster: {server: "$server"}}]
users: [{name: mine, user: {token: expired}}]
contexts: [{name: mine, context: {cluster: mine, user: mine}}]
"""
DOCKER = {"Architecture": "x86_64", "CgroupVersion": "2", "MemTotal": 16 * 2**30, "DockerRootDir": "/nowhere"}
# The header of a program for another processor: ELF, 64 bits, little-endian, executable, s390.
FOREIGN = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\x16\x00" + bytes(44)


@dataclass
class Place:
    """Where a run takes place.

    Attributes:
        root: Holds all else.
        words: What stands for ``$here`` and its like in arguments and expected words.
        environment: Variables of the run.
        bounded: Whether permissions of files hold for it, also where the tests are run by root.
        ends: What is to be called at the end.
    """

    root: Path
    words: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    bounded: bool = False
    ends: list[Callable[[], None]] = field(default_factory=list)

    @property
    def here(self) -> Path:
        return self.root / "here"

    @property
    def programs(self) -> Path:
        return self.root / "programs"

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


def write_program(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else f"#!/bin/sh\n{content}\n".encode())
    path.chmod(0o755)


def bounded(place: Place) -> None:
    place.bounded = True


def give_up_rights() -> None:
    """Have the program that is started next, though root's, respect permissions of files."""
    drop_from_bounding_set = 24
    for dac_override_and_read_search in (1, 2):
        ctypes.CDLL(None).prctl(drop_from_bounding_set, dac_override_and_read_search, 0, 0, 0)


def closed_folder(place: Place) -> None:
    (place.here / "closed").mkdir(mode=0o000)


def closed_file(place: Place) -> None:
    place.write("closed.yaml", "").chmod(0o000)


def closed_kubeconfig(place: Place) -> None:
    (place.here / "kc").chmod(0o000)


def long_name(place: Place) -> None:
    place.words["long"] = "n" * 300


def gigantic(place: Place) -> None:
    # Without blocks on the disk.
    os.truncate(place.write("gigantic.yaml", ""), 65 * 2**20)


def not_utf8(place: Place) -> None:
    place.write("m.yaml", b"a: 1\nb: \xff\n")


def deep(place: Place) -> None:
    for name in ("deep.yaml", "deep.json"):
        place.write(name, "[" * 100_000 + "]" * 100_000)
    place.write("fairly-deep.json", "[" * 500 + "]" * 500)


def bomb(place: Place) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 30))]
    place.write("bomb.yaml", "\n".join(lines))
    text = "t" * 1_000_000
    place.write("text-bomb.yaml", f"text: &text {text}\nall: [{'*text, ' * 200}]")


def links(place: Place) -> None:
    (place.here / "loop.json").symlink_to("loop.json")
    (place.here / "astray.json").symlink_to("nowhere/report.json")
    (place.here / "folder").mkdir()
    (place.here / "folder" / "astray.yaml").symlink_to("nowhere")


def kubeconfig(place: Place) -> None:
    server = place.words.setdefault("server", "http://127.0.0.1:1")
    place.write("kc", KUBECONFIG.replace("$server", server))


def kubeconfig_without_scheme(place: Place) -> None:
    place.write("kc", KUBECONFIG.replace("$server", "127.0.0.1:6443"))


def kubeconfig_of_numbers(place: Place) -> None:
    place.write("kc", KUBECONFIG.replace("mine", "1"))


def kubeconfig_of_two_line_token(place: Place) -> None:
    place.write("kc", KUBECONFIG.replace("$server", "http://127.0.0.1:1").replace("expired", '"a\\nb"'))


def kubeconfig_of_odd_proxy(place: Place) -> None:
    place.write("kc", KUBECONFIG.replace('"$server"', '"http://127.0.0.1:1", proxy-url: "tea://tea"'))


def kubeconfig_of_endless_token(place: Place) -> None:
    token = "tokenFile: /dev/zero"
    place.write("kc", KUBECONFIG.replace("$server", "http://127.0.0.1:1").replace("token: expired", token))


def kubeconfig_of_token_pipe(place: Place) -> None:
    os.mkfifo(place.here / "token")
    token = "tokenFile: token"
    place.write("kc", KUBECONFIG.replace("$server", "http://127.0.0.1:1").replace("token: expired", token))


def kubeconfig_of_unknown_user(place: Place) -> None:
    place.write(
        "kc", KUBECONFIG.replace("$server", "http://127.0.0.1:1").replace("user: mine", "user: ghost")
    )


def kubeconfig_of_failing_login(place: Place) -> None:
    write_program(place.here / "login", "echo 'your session has run out' >&2; exit 3")
    program = f"exec: {{apiVersion: client.authentication.k8s.io/v1, command: {place.here / 'login'}}}"
    place.write("kc", KUBECONFIG.replace("$server", "http://127.0.0.1:1").replace("token: expired", program))


def answers_401(place: Place) -> None:
    _serve(place, 401, {"kind": "Status", "message": "Unauthorized", "reason": "Unauthorized"})


def answers_403(place: Place) -> None:
    said = 'forbidden: User "nobody" cannot get path "/version"'
    _serve(place, 403, {"kind": "Status", "message": said, "reason": "Forbidden"})


def answers_a_page(place: Place) -> None:
    _serve(place, 200, "<html>\n<body>Welcome</body>\n</html>")


def answers_a_list(place: Place) -> None:
    _serve(place, 200, ["v1"])


def answers_versions_alone(place: Place) -> None:
    _serve(place, 200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"})


def answers_odd_refusals(place: Place) -> None:
    _serve(place, 401, {"kind": "Status", "message": ["no"], "reason": 1})


def answers_deeply(place: Place) -> None:
    _serve(place, 200, "[" * 100_000)


def answers_without_end(place: Place) -> None:
    """Serve an answer that comes byte by byte, as long as anybody reads it."""
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def drip() -> None:
        with suppress(OSError):
            while True:
                caller, _ = listener.accept()
                with caller, suppress(OSError):
                    caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                    while not ended.wait(0.1):
                        caller.sendall(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    place.ends += [ended.set, lambda: listener.shutdown(socket.SHUT_RDWR), listener.close, thread.join]
    place.words["port"] = str(listener.getsockname()[1])
    place.words["server"] = f"http://127.0.0.1:{place.words['port']}"


def answers_by_tls(place: Place) -> None:
    """Serve with a certificate of an authority that nobody has heard of."""
    folder = place.root / "authority"
    folder.mkdir()
    pair = Authority(folder).issue("server", "server", addresses=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    _serve(place, 200, {}, context)


def _serve(place: Place, status: int, answer: object, context: ssl.SSLContext | None = None) -> None:
    body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    place.ends += [server.shutdown, server.server_close, thread.join]
    place.words["port"] = str(server.server_port)
    place.words["server"] = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"


def good_programs(place: Place) -> None:
    """Have programs of the right version, which do nothing."""
    for name in PROGRAMS:
        printed = f"etcd Version: {ETCD}" if name == "etcd" else f"Kubernetes v{KUBERNETES}"
        write_program(place.here / "bin" / name, f"echo '{printed}'")


def full_cache(place: Place) -> None:
    _fill(place, place.root / "cache", files=1)


def full_state(place: Place) -> None:
    _fill(place, place.root / "state", files=1)


def full_temporary(place: Place) -> None:
    # Room for the file that Python tries a folder with, since it looks elsewhere where there is none.
    _fill(place, place.root / "tmp", files=3)


def _fill(place: Place, folder: Path, *, files: int) -> None:
    """Have a folder be a disk with room for so many files, itself counted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size=1m,nr_inodes={files}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk that is full")
    place.ends.append(lambda: subprocess.run(["umount", "-l", str(folder)], check=True))


def docker(place: Place) -> None:
    """Have an engine that answers, and nothing more."""
    write_program(place.programs / "docker", f"[ $1 = info ] && echo '{json.dumps(DOCKER)}'")


def docker_not_permitted(place: Place) -> None:
    said = (
        "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock"
    )
    write_program(place.programs / "docker", f"echo '{said}' >&2; exit 1")


def docker_stopped(place: Place) -> None:
    said = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
    write_program(place.programs / "docker", f"echo '{said}' >&2; exit 1")


def docker_hangs(place: Place) -> None:
    write_program(place.programs / "docker", f"exec {sys.executable} -c 'import time; time.sleep(60)'")


def docker_of_other_json(place: Place) -> None:
    write_program(place.programs / "docker", "echo '{\"a\": 1}'")


def foreign_kind(place: Place) -> None:
    write_program(place.here / "kind", FOREIGN)


def kind_of_bytes(place: Place) -> None:
    write_program(place.here / "kind", "printf '\\377'")


def docker_of_bytes(place: Place) -> None:
    write_program(place.programs / "docker", "printf '\\377'")


def pipe(place: Place) -> None:
    os.mkfifo(place.here / "pipe.json")
    (place.here / "folder").mkdir()
    os.mkfifo(place.here / "folder" / "pipe.yaml")


def kubeconfig_with_suffix(place: Place) -> None:
    kubeconfig(place)
    (place.here / "kc").rename(place.here / "kc.yaml")


def other_kind(place: Place) -> None:
    write_program(place.here / "kind", "echo 'gentle 1.0'")


def programs_of_bytes(place: Place) -> None:
    for name in PROGRAMS:
        write_program(place.here / "bin" / name, "printf '\\377\\376'")


def old_programs(place: Place) -> None:
    for name in PROGRAMS:
        printed = "etcd Version: 3.6.0" if name == "etcd" else "Kubernetes v1.20.0"
        write_program(place.here / "bin" / name, f"echo '{printed}'")


def foreign_programs(place: Place) -> None:
    for name in PROGRAMS:
        write_program(place.here / "bin" / name, FOREIGN)

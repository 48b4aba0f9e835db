"""The images that only answer: httpbin, curl, Mixer, Grafana and Prometheus' stand-in; and sleeping ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.local.images.mixer.series import LABELS, Series
from pytest_istio.local.images.web import fetch
from tests.images.pods import Object, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

_POD = "10.190.77.1"
_WIRE = "127.190.77.1"


def environment(root: Path, **more: str) -> dict[str, str]:
    (root / "hosts").write_text("10.126.0.9 httpbin.default\n")
    return {
        "PODROOT": str(root),
        "LOCAL_ADDRESSES": str(root / "hosts"),
        "LOCAL_POD_IP": _POD,
        "LOCAL_LISTEN": _WIRE,
        "LOCAL_PORT_SHIFT": "10000",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        **more,
    }


def command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"pytest_istio.local.images.{module}", *arguments]


@contextmanager
def serving(module: str, root: Path, url: str, *arguments: str) -> Iterator[None]:
    """Run a program that answers at a URL until the block ends."""
    with subprocess.Popen(
        command(module, *arguments), env=environment(root), stdout=subprocess.DEVNULL
    ) as running:
        try:
            eventually(lambda: fetch(url))
            yield
        finally:
            running.terminate()


@pytest.fixture(scope="module")
def httpbin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    url = f"http://{_WIRE}:8000"
    with serving("httpbin", tmp_path_factory.mktemp("httpbin"), url):
        yield url


def curl(root: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("curl", *arguments),
        env=environment(root, **more),
        capture_output=True,
        text=True,
        check=False,
    )


def test_httpbin_answers_with_what_it_was_asked(httpbin: str) -> None:
    answer = json.loads(fetch(f"{httpbin}/get?a=b", headers={"X-Me": "1"}).body)
    assert answer["args"] == {"a": "b"}
    assert answer["headers"]["X-Me"] == "1"
    assert fetch(f"{httpbin}/status/418").status == 418
    assert json.loads(fetch(f"{httpbin}/post", method="POST", body=b'{"x": 1}').body)["json"] == {"x": 1}
    assert fetch(f"{httpbin}/post").status == 405
    assert fetch(f"{httpbin}/nowhere").status == 404


def test_curl_prints_status_and_body(httpbin: str, tmp_path: Path) -> None:
    done = curl(tmp_path, "-sS", "-o", "/dev/null", "-w", "%{http_code}\\n", f"{httpbin}/status/503")
    assert (done.stdout, done.returncode) == ("503\n", 0)
    shown = curl(tmp_path, "-s", "-H", "X-A: b", "-A", "me", f"{httpbin}/headers").stdout
    headers = json.loads(shown)["headers"]
    assert (headers["X-A"], headers["User-Agent"]) == ("b", "me")
    assert json.loads(curl(tmp_path, "-s", "-d", "a=b", "-d", "c=d", f"{httpbin}/post").stdout)["form"] == {
        "a": "b",
        "c": "d",
    }
    assert curl(tmp_path, "-sI", f"{httpbin}/get").stdout.startswith("HTTP/1.1 200 OK\n")
    talk = curl(tmp_path, "-sv", f"{httpbin}/get")
    assert "> GET /get HTTP/1.1" in talk.stderr
    assert "< HTTP/1.1 200 OK" in talk.stderr


def test_curl_writes_files_of_the_container(httpbin: str, tmp_path: Path) -> None:
    assert curl(tmp_path, "-so", "/page", f"{httpbin}/").returncode == 0
    assert (tmp_path / "page").read_text() == "httpbin\n"


def test_curl_knows_the_clusters_names(httpbin: str, tmp_path: Path) -> None:
    with _listening("127.126.0.9", 8000, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"):
        assert curl(tmp_path, "-s", "http://httpbin:8000/").stdout == "hi"
    with _listening("127.126.0.9", 8000, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"):
        assert curl(tmp_path, "-s", "http://10.126.0.9:8000/").stdout == "hi"
    resolved = curl(tmp_path, "-s", "--resolve", f"any.where:8000:{_WIRE}", "http://any.where:8000/")
    assert resolved.stdout == "httpbin\n"


def test_curl_goes_through_the_environments_proxy(tmp_path: Path) -> None:
    with _listening(_WIRE, 15001, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi") as asked:
        done = curl(tmp_path, "-s", "http://outside.example/x", http_proxy=f"http://{_WIRE}:15001")
    assert done.stdout == "hi"
    assert asked[0].startswith(b"GET http://outside.example/x HTTP/1.1\r\nHost: outside.example\r\n")


@contextmanager
def _listening(host: str, port: int, answer: bytes) -> Iterator[list[bytes]]:
    """Answer one connection with given bytes, and tell what was asked."""
    asked: list[bytes] = []

    def run() -> None:
        connection = server.accept()[0]
        with connection:
            asked.append(connection.recv(4096))
            connection.sendall(answer)

    with socket.create_server((host, port)) as server:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield asked
        thread.join(5)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["http://no-such-name.example/"], 6, "curl: (6) Could not resolve host: no-such-name.example"),
        (["http://203.0.113.7/"], 6, "Could not resolve host: 203.0.113.7"),
        ([f"http://{_WIRE}:1/"], 7, "curl: (7) Failed to connect"),
        (["-f", f"http://{_WIRE}:8000/status/404"], 22, "The requested URL returned error: 404"),
        (["-m", "0.3", f"http://{_WIRE}:8000/delay/2"], 28, "curl: (28) Operation timed out"),
        (["ftp://x/"], 3, "URL rejected"),
    ],
)
def test_curl_fails_with_curls_exit_codes(
    httpbin: str, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    done = curl(tmp_path, "-sS", "-w", "%{http_code}", *arguments)
    assert (done.returncode, words in done.stderr) == (code, True), done.stderr
    assert done.stdout.endswith("404" if code == 22 else "000")


def test_an_empty_reply_is_one(tmp_path: Path) -> None:
    with _listening(_WIRE, 8001, b""):
        done = curl(tmp_path, "-s", f"http://{_WIRE}:8001/")
    assert done.returncode == 52


def test_curl_follows_redirects(tmp_path: Path, httpbin: str) -> None:
    redirect = f"HTTP/1.1 302 Found\r\nLocation: {httpbin}/get\r\nContent-Length: 0\r\n\r\n".encode()
    with _listening(_WIRE, 8001, redirect):
        done = curl(tmp_path, "-sL", "-w", " %{num_redirects} %{http_code}", f"http://{_WIRE}:8001/")
    assert done.stdout.endswith(" 1 200")


def test_sleeping_is_done_by_the_machines_own_program(tmp_path: Path) -> None:
    with subprocess.Popen(command("sleep", "/bin/sleep", "3650d"), env=environment(tmp_path)) as sleeping:
        name = Path(f"/proc/{sleeping.pid}/comm")
        eventually(lambda: name.read_text() == "sleep\n")
        sleeping.terminate()


def reported(**values: object) -> Object:
    return {"reporter": "destination", "response_code": 200, "duration_seconds": 0.02, **values}


def test_series_are_those_of_istios_configuration() -> None:
    series = Series()
    series.report(reported(destination_service="reviews"))
    series.report(reported(destination_service="reviews", request_bytes=1500))
    lines = series.text().splitlines()
    (total,) = [line for line in lines if line.startswith("istio_requests_total")]
    assert total.endswith(" 2.0")
    assert 'destination_service="reviews"' in total
    assert 'source_app="unknown"' in total
    assert all(f'{label}="' in total for label in LABELS)
    (fast,) = [line for line in lines if "duration_seconds_bucket" in line and 'le="0.025"' in line]
    (faster,) = [line for line in lines if "duration_seconds_bucket" in line and 'le="0.01"' in line]
    assert (fast.split()[-1], faster.split()[-1]) == ("2.0", "0.0")
    (large,) = [line for line in lines if "request_bytes_bucket" in line and 'le="1000"' in line]
    assert large.endswith(" 1.0")


def test_mixer_serves_what_was_reported_and_nothing_else(tmp_path: Path) -> None:
    with serving("mixer", tmp_path, f"http://{_WIRE}:42422/metrics", "--configStoreURL=k8s://"):
        assert fetch(f"http://{_WIRE}:9093/version").status == 200
        before = fetch(f"http://{_WIRE}:42422/metrics").body.decode()
        assert "process_resident_memory_bytes" in before
        assert "istio_requests_total{" not in before
        body = json.dumps({"requests": [reported()]}).encode()
        assert fetch(f"http://{_WIRE}:9091/report", method="POST", body=body).status == 202
        assert (
            'istio_requests_total{reporter="destination"'
            in fetch(f"http://{_WIRE}:42422/metrics").body.decode()
        )
        assert fetch(f"http://{_WIRE}:9091/report", method="POST", body=b"[]").status == 400


def test_grafana_is_there(tmp_path: Path) -> None:
    with serving("grafana", tmp_path, f"http://{_WIRE}:3000/login"):
        assert b"stand-in" in fetch(f"http://{_WIRE}:3000/login").body


def test_prometheus_stand_in_says_so_and_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with serving("prometheus", tmp_path, f"http://{_WIRE}:9090/-/ready"):
        ready = fetch(f"http://{_WIRE}:9090/-/ready")
        assert (ready.status, ready.headers["x-stand-in"]) == (200, "pytest-istio")
        asked = fetch(f"http://{_WIRE}:9090/api/v1/query?query=up")
        assert asked.status == 503
        assert "stand-in" in json.loads(asked.body)["error"]

"""The gateway's client tells what came, how often, and why it may be."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pytest_istio.clusters.base import Address
from pytest_istio.gateway import Gateway, GatewayError, review_version
from pytest_istio.istio import observations
from pytest_istio.timeouts import Timeouts
from tests.istio.fake import FakeKube, mesh

TIMEOUTS = replace(Timeouts(), request=1.0, consistency=0.6)
ANSWERS = {
    "v1": '{"reviews": [{"reviewer": "One"}, {"reviewer": "Two"}]}',
    "v2": '{"reviews": [{"rating": {"stars": 5, "color": "black"}}, {"rating": {"color": "black"}}]}',
    "v3": '{"reviews": [{"rating": {"stars": 5, "color": "red"}}]}',
    "stars in blue": '{"reviews": [{"rating": {"stars": 5, "color": "blue"}}]}',
    "no ratings": '{"reviews": [{"rating": {"error": "Ratings service is currently unavailable"}}]}',
    "no reviews": '{"error": "Sorry, product reviews are currently unavailable for this book."}',
}
PAGE = "<title>Simple Bookstore App</title>"
Serve = Callable[..., Gateway]


class Handler(BaseHTTPRequestHandler):
    """Answers with the next of the scripted statuses; the last one goes on for ever."""

    script: list[tuple[int, str]]
    hosts: list[str | None]
    seen: list[tuple[str, str | None]]

    def do_GET(self) -> None:
        self.hosts.append(self.headers.get("Host"))
        self.seen.append((self.path, self.headers.get("Cookie")))
        status, text = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self._answer(status, text, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        cookie = (
            {"Set-Cookie": f"session={body.partition('=')[2]}; Path=/"} if "Referer" in self.headers else {}
        )
        self._answer(302, "", {**cookie, "Location": "/productpage"})

    def _answer(self, status: int, text: str, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        for name, value in {"server": "istio-envoy", "Set-Cookie": "stray=1", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


class Endless(BaseHTTPRequestHandler):
    """Answers without end: ``/fast`` as fast as it can be taken, ``/slowly`` with never a long silence."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        part, pause = (b"x" * 2**20, 0.0) if self.path == "/fast" else (b"x", 0.05)
        with suppress(OSError):
            while True:
                self.wfile.write(part)
                time.sleep(pause)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    # Whatever a user's environment says, the gateway is asked directly.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = []

        def start(*script: tuple[int, str]) -> Gateway:
            Handler.script, Handler.seen, Handler.hosts = list(script), [], []
            opened.append(gateway_at(server.server_address[1]))
            return opened[-1]

        yield start
        for gateway in opened:
            gateway.close()
        server.shutdown()


def gateway_at(port: int, host: str | None = None) -> Gateway:
    return Gateway.open(
        Address("127.0.0.1", port, "node-port"),
        ports={"http2": 80},
        namespace="istio-system",
        deployment="istio-ingressgateway",
        timeouts=TIMEOUTS,
        host=host,
    )


def test_it_waits_until_the_answer_came_often_enough_in_a_row(serve: Serve) -> None:
    gateway = serve((200, ""), (503, ""), (200, ""), (200, ""), (503, ""), (200, "done"))
    assert gateway.wait_answer("/x", in_a_row=3).text == "done"
    assert len(Handler.seen) == 8


def test_what_else_must_be_true_counts(serve: Serve) -> None:
    gateway = serve((200, "old"), (200, "old"), (200, "new"))
    gateway.wait_answer("/x", in_a_row=1, accept=lambda answer: answer.text == "new")
    assert len(Handler.seen) == 3


def test_a_row_that_is_under_way_at_the_bound_may_end(serve: Serve) -> None:
    gateway = serve((200, ""))
    gateway.wait_answer("/x", in_a_row=5, timeout=0.0)
    assert len(Handler.seen) == 5


def test_the_right_status_with_another_content_is_told(serve: Serve) -> None:
    with pytest.raises(GatewayError, match=r"\d x 200 of another content"):
        serve((200, "old")).wait_answer("/x", timeout=0.1, accept=lambda answer: answer.text == "new")


def test_the_page_may_flap_at_first(serve: Serve) -> None:
    gateway = serve((503, ""), (200, PAGE), (503, ""), (200, PAGE))
    assert observations.productpage_answers(gateway) == ()
    assert len(Handler.seen) == 3 + 30


def test_a_page_that_fails_every_other_time_does_not_answer(serve: Serve) -> None:
    (problem,) = observations.productpage_answers(serve(*[(200, PAGE), (500, "fault filter abort")] * 500))
    assert "30 times in a row within 0.6 s" in problem
    assert " x 500" in problem
    assert "fault filter abort" in problem


@pytest.mark.parametrize(
    ("status", "text", "seen", "caller"),
    [(200, "Sorry, product details are currently unavailable.", "without details", "productpage"),
     (200, "Sorry, product reviews are currently unavailable.", "without reviews", "productpage"),
     (200, "<i>Ratings service is currently unavailable</i>", "without ratings", "reviews"),
     (503, "", "503, not bookinfo's page", "productpage")],
)  # fmt: skip
def test_a_page_that_lacks_a_part_is_not_whole(
    serve: Serve, status: int, text: str, seen: str, caller: str
) -> None:
    gateway = serve((200, PAGE), (status, PAGE + text))
    (problem,) = observations.bookinfo_page_whole(mesh(FakeKube()), "default", gateway)
    assert seen in problem
    assert f"{caller}'s sidecar cannot reach" in problem
    assert f"-l app={caller} " in problem
    assert observations.bookinfo_page_whole(mesh(FakeKube()), "default", serve((200, PAGE))) == ()


def test_paths_that_are_closed_are_named(serve: Serve) -> None:
    (problem,) = observations.declared_paths_open(serve((404, "")))
    assert "seen:     /login: 404 of istio-envoy; /logout: 404 of istio-envoy; /api/v1/products: " in problem
    assert "fewer paths than bookinfo's own" in problem


@pytest.mark.parametrize(
    ("status", "text", "likely"),
    [(404, "", "no VirtualService"), (503, "upstream connect error or disconnect", "the endpoint fails"),
     (503, "no healthy upstream", "no healthy endpoint"), (403, "RBAC: access denied", "policy denies")],
)  # fmt: skip
def test_what_never_comes_is_counted_and_explained(serve: Serve, status: int, text: str, likely: str) -> None:
    gateway = serve((status, text))
    with pytest.raises(GatewayError) as caught:
        gateway.wait_answer("/productpage")
    message = str(caught.value)
    assert f"GET {gateway.url}/productpage" in message
    assert "expected: 200, 3 times in a row within 0.6 s" in message
    assert f" x {status}" in message
    assert likely in message
    assert "look:     kubectl -n istio-system logs deployment/istio-ingressgateway" in message


def test_a_closed_port_is_told_from_a_silent_one() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        closed = gateway_at(bound.getsockname()[1])
        with pytest.raises(GatewayError, match="refused"):
            closed.get("/")
        bound.listen()
        with pytest.raises(GatewayError, match=r"no answer in time \(ReadTimeout\)"):
            closed.get("/", timeout=0.2)
        closed.close()


@pytest.mark.parametrize(
    ("path", "told"), [("/fast", "longer than 16 MiB"), ("/slowly", "no answer in time")]
)
def test_an_answer_without_end_is_none(path: str, told: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        gateway = gateway_at(server.server_address[1])
        with pytest.raises(GatewayError, match=told):
            gateway.get(path)
        gateway.close()
        server.shutdown()


def test_a_host_is_asked_for_unless_a_request_names_another(serve: Serve) -> None:
    port = serve((200, ANSWERS["v1"])).address.port
    gateway = gateway_at(port, "bookinfo.example.com")
    gateway.get("/", headers={"Host": "other.example.com"})
    gateway.review_versions(1)
    with gateway.signed_in("jason") as jason:
        jason.get("/")
    with gateway.reconnected() as new:
        new.wait_answer("/", in_a_row=1)
    assert Handler.hosts == ["other.example.com", *["bookinfo.example.com"] * 3]
    with pytest.raises(GatewayError, match=r"GET http://127.0.0.1:\d+/x for host bookinfo\.example\.com"):
        gateway.wait_answer("/x", 404, timeout=0.1)
    gateway.close()


def test_cookies_are_kept_for_those_who_sign_in_only(serve: Serve) -> None:
    gateway = serve((200, ANSWERS["v2"]))
    gateway.get("/first")
    with gateway.signed_in("jason") as jason:
        assert jason.review_versions(2) == {"v2": 2}
    gateway.get("/last")
    cookies = [cookie for _, cookie in Handler.seen]
    assert cookies[0] is None
    assert cookies[-1] is None
    assert all("session=jason" in str(cookie) for cookie in cookies[1:-1])


@pytest.mark.parametrize("version", list(ANSWERS))
def test_the_version_of_reviews_shows_in_the_stars(version: str) -> None:
    assert review_version(ANSWERS[version]) == version


@pytest.mark.parametrize("answer", ["upstream connect error", "[]", '{"reviews": []}', '{"reviews": [1]}'])
def test_what_gives_no_reviews_is_no_version(answer: str) -> None:
    assert review_version(answer) == "no reviews"


def test_versions_are_awaited_for_long_enough_to_be_no_chance(serve: Serve) -> None:
    gateway = serve((200, ANSWERS["v2"]), (200, ANSWERS["v1"]))
    assert gateway.settled_review_versions({"v1"}, 2) == {"v1": 2}
    # All of 13: with all three versions in turn by chance that happens once in 1.6 million.
    assert len(Handler.seen) == 13 + 13 + 2


def test_versions_are_awaited_until_each_has_shown(serve: Serve) -> None:
    old = [(200, ANSWERS["v1"])] * 50
    gateway = serve(*old, (200, ANSWERS["v3"]))
    assert gateway.settled_review_versions({"v1", "v3"}, 2) == {"v3": 2}
    # 35 are looked at, and none but v1 among the first.
    assert len(Handler.seen) == 35 + 35 + 2


def test_versions_that_never_settle_are_counted(serve: Serve) -> None:
    gateway = serve((200, ANSWERS["v2"]))
    assert gateway.settled_review_versions({"v1"}, 2) == {"v2": 2}

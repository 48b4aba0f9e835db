"""The ingress gateway, and asking it."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpx

from pytest_istio.answers import BoundedTransport
from pytest_istio.errors import PytestIstioError
from pytest_istio.findings import finding
from pytest_istio.istio.address import find_address, gateway_service
from pytest_istio.istio.explain import answer_cause
from pytest_istio.kube.deadline import Deadline
from pytest_istio.kube.polling import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from pytest_istio.clusters.base import Address
    from pytest_istio.istio.address import Wire
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.progress import Progress
    from pytest_istio.timeouts import Timeouts

__all__ = ["REVIEWS", "Gateway", "GatewayError", "find", "review_version"]

PAUSE_SECONDS = 0.05
"""Between two requests that wait for an answer; the bound is the time-out, this only spares the processor."""
REVIEWS = "/api/v1/products/0/reviews"
"""Where productpage gives the reviews as JSON; its page looks otherwise in each release of bookinfo."""
VERSION_BY_COLOR = {None: "v1", "black": "v2", "red": "v3"}
DOUBT = 1e-6
"""How likely it may be that old routes are taken for new ones, because chance hid the difference."""


class GatewayError(PytestIstioError):
    """The gateway does not answer, or not as it should."""


@dataclass(frozen=True)
class Gateway:
    """The ingress gateway as it is reached from this machine. Safe to share between threads.

    Attributes:
        address: Host, port and how they were found; for plain HTTP.
        ports: The ports of the gateway's Service by name, such as ``{"http2": 80, "https": 443}``.
        namespace: Where the gateway runs.
        deployment: The name of its Deployment.
        timeouts: The bounds on waiting.
        host: The host that is asked for where a request names none; None for the address.
    """

    address: Address
    ports: Mapping[str, int]
    namespace: str
    deployment: str
    timeouts: Timeouts
    host: str | None
    _client: httpx.Client = field(repr=False)
    _held: ExitStack = field(repr=False)

    @classmethod
    def open(
        cls,
        address: Address,
        *,
        ports: Mapping[str, int],
        namespace: str,
        deployment: str,
        timeouts: Timeouts,
        host: str | None = None,
        held: ExitStack | None = None,
    ) -> Gateway:
        """Return a gateway at an address; `held` is what closes with it, such as a port forwarding."""
        held = held or ExitStack()
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=()))
        client = held.enter_context(_client(timeouts, host, no_cookies))
        return cls(address, ports, namespace, deployment, timeouts, host, client, held)

    @property
    def url(self) -> str:
        """The base of all URLs, without a slash at the end."""
        host = f"[{self.address.host}]" if ":" in self.address.host else self.address.host
        return f"http://{host}:{self.address.port}"

    def request_line(self, path: str, method: str = "GET") -> str:
        """Return what is asked for, in the words of a message."""
        return f"{method} {self.url}{path}" + (f" for host {self.host}" if self.host else "")

    def get(
        self, path: str, *, headers: Mapping[str, str] | None = None, timeout: float | None = None
    ) -> httpx.Response:
        """Ask the gateway for a path. Redirects are not followed, and cookies are not kept.

        Args:
            path: Such as ``/productpage``.
            headers: Such as ``{"Host": "bookinfo.example.com"}``.
            timeout: Seconds for connecting, for each silence afterwards, and for the body; None for the bound
                ``request``.

        Raises:
            GatewayError: No HTTP answer came.
        """
        bound = self.timeouts.request if timeout is None else timeout
        with self._translated(path):
            return self._client.get(f"{self.url}{path}", headers=headers, timeout=bound)

    @contextmanager
    def _translated(self, path: str) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise GatewayError(
                self._no_answer(path, f"no answer in time ({type(error).__name__})")
            ) from error
        except httpx.HTTPError as error:
            raise GatewayError(self._no_answer(path, str(error) or type(error).__name__)) from error

    def _no_answer(self, path: str, seen: str) -> str:
        return finding(
            self.request_line(path),
            expected="an HTTP answer",
            seen=seen,
            cause=f"no Gateway opens the port yet, or Deployment {self.deployment} is not ready",
            look=f"kubectl -n {self.namespace} get deployment,endpoints {self.deployment}",
        )

    def wait_answer(
        self,
        path: str,
        status: int = 200,
        *,
        in_a_row: int = 3,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        accept: Callable[[httpx.Response], bool] | None = None,
    ) -> httpx.Response:
        """Ask until the expected answer came a number of times in a row, and return the last one.

        Args:
            path: Such as ``/productpage``.
            status: The HTTP status that is expected.
            in_a_row: How many answers in a row must be the expected one.
            timeout: Seconds after which no row is begun; None for the bound ``consistency``.
            headers: Sent with each request.
            accept: What else must be true of an answer.

        Raises:
            GatewayError: It did not happen; says what came instead, how often, and the likely cause.
        """
        bound = self.timeouts.consistency if timeout is None else timeout
        deadline, good, last = Deadline(bound), 0, "the bound was over before the first answer"
        seen: Counter[str] = Counter()
        while True:
            try:
                # A row that is under way may go on: slow answers are no wrong ones.
                request = self.timeouts.request if good else deadline.bound(self.timeouts.request)
                response = self.get(path, headers=headers, timeout=max(0.1, request))
            except GatewayError as error:
                good, what = 0, "no answer"
                last = f"{error.__cause__}: no Gateway opens the port, or {self.deployment} is not ready"
            else:
                fits = response.status_code == status and (accept is None or accept(response))
                good, what = good + 1 if fits else 0, str(response.status_code)
                if good >= in_a_row:
                    return response
                if not fits:
                    what += " of another content" if response.status_code == status else ""
                    last = answer_cause(response.status_code, response.headers, response.text)
            seen[what] += 1
            if deadline.expired and not good:
                break
            time.sleep(0 if good else PAUSE_SECONDS)
        raise GatewayError(
            finding(
                self.request_line(path),
                expected=f"{status}, {in_a_row} times in a row within {bound:g} s",
                seen=", ".join(f"{count} x {what}" for what, count in seen.most_common()),
                cause=last,
                look=f"kubectl -n {self.namespace} logs deployment/{self.deployment} --tail=20",
            )
        )

    def review_versions(self, count: int, *, concurrency: int = 4) -> Counter[str]:
        """Ask for bookinfo's reviews a number of times and return how often each version gave them.

        Args:
            count: How many requests are sent.
            concurrency: How many of them are under way at most.

        Raises:
            GatewayError: A request got no answer.
        """
        with ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="reviews") as pool:
            answers = pool.map(lambda _: self.get(REVIEWS).text, range(count))
            return Counter(review_version(answer) for answer in answers)

    def settled_review_versions(self, versions: Collection[str], count: int) -> Counter[str]:
        """Wait until exactly these versions of reviews answer, then count as `review_versions`.

        Exactly: none of the others for long enough to be no chance, and each of them at least once meanwhile.
        Where that is not so until the bound ``consistency`` is over, the count shows it.

        Args:
            versions: Such as ``{"v1", "v3"}``.
            count: How many requests are counted afterwards.

        Raises:
            GatewayError: A request got no answer.
        """
        # As many as make it a miracle that all three versions answered in turn and none of the others showed.
        share = min(len(versions) / len(VERSION_BY_COLOR), 0.9)
        enough = math.ceil(math.log(DOUBT) / math.log(share))
        # Over as many connections as are counted: each leads through threads of the proxies, which take in
        # new routes one by one.
        until(
            lambda: self.review_versions(enough).keys() == set(versions),
            bool,
            timeout=self.timeouts.consistency,
            pause=0,
        )
        return self.review_versions(count)

    @contextmanager
    def reconnected(self) -> Iterator[Gateway]:
        """Give the same gateway, asked over new connections: open ones outlive a change of its Service."""
        with _client(self.timeouts, self.host, CookieJar()) as client:
            yield replace(self, _client=client)

    @contextmanager
    def signed_in(self, user: str) -> Iterator[Gateway]:
        """Give the same gateway, asked by a user who has signed in to bookinfo.

        Raises:
            GatewayError: Bookinfo refuses the user, or does not answer.
        """
        with _client(self.timeouts, self.host, CookieJar()) as client:
            with self._translated("/login"):
                # It sends the browser back to where it came from, and fails where that is not said.
                referer = {"Referer": f"{self.url}/productpage"}
                answer = client.post(f"{self.url}/login", data={"username": user}, headers=referer)
            if not client.cookies:
                raise GatewayError(
                    finding(
                        self.request_line("/login", "POST"),
                        expected=f"a cookie for {user}",
                        seen=f"status {answer.status_code}, no cookie",
                        cause=answer_cause(answer.status_code, answer.headers, answer.text),
                    )
                )
            yield replace(self, _client=client)

    def close(self) -> None:
        """Close the connections, and the port forwarding if there is one."""
        self._held.close()


def review_version(answer: str) -> str:
    """Return which version of reviews gave an answer: v1 gives no stars, v2 black ones, v3 red ones."""
    try:
        ratings = [each.get("rating", {}) for each in json.loads(answer)["reviews"]]
        if any("error" in rating for rating in ratings):
            return "no ratings"
        (color,) = {rating.get("color") for rating in ratings}
    except (ValueError, LookupError, TypeError, AttributeError):
        return "no reviews"
    return VERSION_BY_COLOR.get(color, f"stars in {color}")


def find(mesh: Mesh, wire: Wire, *, progress: Progress) -> Gateway:
    """Return the ingress gateway under the first address that takes connections.

    Args:
        mesh: The installed mesh.
        wire: Where an address that the cluster's objects name is reached from here: the provider's `wire`.
        progress: Is told what is awaited.

    Raises:
        NoAddressError: There is no gateway Service, or no way to it.
    """
    with ExitStack() as held:
        address = find_address(mesh, wire, held, progress=progress)
        return Gateway.open(
            address,
            ports={str(port.get("name")): port["port"] for port in gateway_service(mesh)["spec"]["ports"]},
            namespace=mesh.gateway_namespace,
            deployment=mesh.release.gateway.deployment,
            timeouts=mesh.timeouts,
            host=mesh.host,
            held=held.pop_all(),
        )


def _client(timeouts: Timeouts, host: str | None, cookies: CookieJar) -> httpx.Client:
    headers = {"Host": host} if host else None
    # The proxies of the environment are for the outside world; the gateway is not there.
    transport = BoundedTransport(trust_env=False)
    return httpx.Client(
        trust_env=False, timeout=timeouts.request, headers=headers, cookies=cookies, transport=transport
    )

"""Whether the ingress gateway can be reached, and leads to the application."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, Protocol

from pytest_istio.errors import PytestIstioError
from pytest_istio.findings import finding
from pytest_istio.istio.explain import deployment_problems
from pytest_istio.kube.polling import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from pytest_istio.clusters.base import Address
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.timeouts import Timeouts

__all__ = [
    "NOT_OPEN",
    "Asked",
    "answered_by",
    "declared_paths_open",
    "gateway_addressed",
    "productpage_answers",
]

TITLE = "Simple Bookstore App"
IN_A_ROW = 30
"""Answers that must be right one after the other: where half of them fails, that is one row in 1e9."""
UPSTREAM = "x-envoy-upstream-service-time"
"""The header that Envoy adds to what a service behind it has answered, and to nothing else."""
A_SERVICE, NOT_OPEN = "answered by a service", "404 of istio-envoy"
OPEN = ("/login", "/logout", "/api/v1/products")
"""Beside the page itself, which is asked for before anything else."""
INNER = ("/details/0", "/ratings/0", "/reviews/0")


class Asked(Protocol):
    """What observations need of a gateway: `pytest_istio.gateway.Gateway`, which is built on this room."""

    @property
    def address(self) -> Address:
        """Where it listens."""
        ...

    @property
    def timeouts(self) -> Timeouts:
        """The bounds on waiting."""
        ...

    def reconnected(self) -> AbstractContextManager[Asked]:
        """Give the same gateway, asked over new connections."""
        ...

    def get(self, path: str) -> Any:  # noqa: ANN401  # an httpx.Response, which this room does not know
        """Ask for a path."""
        ...

    def request_line(self, path: str) -> str:
        """Return what is asked for, in the words of a message."""
        ...

    def wait_answer(
        self,
        path: str,
        *,
        in_a_row: int,
        timeout: float | None = None,
        accept: Callable[[Any], bool] | None = None,
    ) -> object:
        """Ask until the answer is the expected one several times in a row."""
        ...


def gateway_addressed(mesh: Mesh, gateway: Asked) -> tuple[str, ...]:
    """Return why the ingress gateway gives no HTTP answer at its address.

    Any answer will do, 404 as well. An available gateway is given the bound ``consistency``: it opens its
    port when discovery has sent it the first Gateway. Another one is not waited for; that it is not available
    is another check's to say.
    """
    spec, address = mesh.release.gateway, gateway.address
    unavailable = deployment_problems(mesh.kube, mesh.gateway_namespace, spec.deployment)
    bound = 0.0 if unavailable else mesh.timeouts.consistency
    silence = until(lambda: _silence(gateway), operator.not_, timeout=bound)
    if not silence:
        return ()
    problem = finding(
        f"Service {mesh.gateway_namespace}/{spec.service}",
        expected=f"an HTTP answer at {address.host}:{address.port} ({address.way})",
        seen=silence,
        cause="no ready gateway pod is behind it, no Gateway opens the port, or nothing leads there",
        look=f"kubectl -n {mesh.gateway_namespace} get service,endpoints {spec.service}",
    )
    return (problem,)


def _silence(gateway: Asked) -> str:
    """Return why no HTTP answer comes over a new connection; empty if one does."""
    try:
        with gateway.reconnected() as new:
            new.get("/")
    except PytestIstioError as error:
        why = error.__cause__ or error
        return f"{type(why).__name__}: {why}"
    return ""


def productpage_answers(gateway: Asked) -> tuple[str, ...]:
    """Return why the gateway does not answer with bookinfo's page many times in a row.

    The first answer after an installation takes its time, up to the bound ``gateway_answer``. It may come
    while endpoints still arrive, so the bound ``consistency`` is for the row of right ones after it. A route
    of which a part leads nowhere never gives one.
    """
    bounds = gateway.timeouts
    try:
        for in_a_row, bound in ((1, bounds.gateway_answer), (IN_A_ROW, bounds.consistency)):
            gateway.wait_answer(
                "/productpage",
                in_a_row=in_a_row,
                timeout=bound,
                accept=lambda response: TITLE in response.text,
            )
    except PytestIstioError as error:
        return (str(error),)
    return ()


def declared_paths_open(gateway: Asked) -> tuple[str, ...]:
    """Return which paths of bookinfo's virtual service are closed, or which others are open."""
    expected = dict.fromkeys(OPEN, A_SERVICE) | dict.fromkeys(INNER, NOT_OPEN)
    seen = {path: _answered(gateway, path) for path in expected}
    wrong = [path for path in expected if seen[path] != expected[path]]
    if not wrong:
        return ()
    closed = [path for path in wrong if path in OPEN]
    problem = finding(
        gateway.request_line("/"),
        expected=f"{', '.join(OPEN)}: {A_SERVICE}; {', '.join(INNER)}: {NOT_OPEN}",
        seen="; ".join(f"{path}: {seen[path]}" for path in wrong),
        cause=f"a virtual service matches {'fewer' if closed else 'more'} paths than bookinfo's own",
        look="kubectl get gateways,virtualservices --all-namespaces -o yaml",
    )
    return (problem,)


def _answered(gateway: Asked, path: str) -> str:
    try:
        return answered_by(gateway.get(path))
    except PytestIstioError as error:
        return f"no answer ({type(error.__cause__ or error).__name__})"


def answered_by(answer: Any) -> str:  # noqa: ANN401  # an httpx.Response, which this room does not know
    """Return who answered: a service behind the gateway, or which status of whom else."""
    if UPSTREAM in answer.headers:
        return A_SERVICE
    return f"{answer.status_code} of {answer.headers.get('server', 'a nameless server')}"

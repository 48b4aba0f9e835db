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

__all__ = ["Asked", "gateway_addressed", "productpage_answers"]

TITLE = "Simple Bookstore App"


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

    def wait_answer(
        self, path: str, status: int = 200, *, timeout: float | None, accept: Callable[[Any], bool] | None
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
    """Return why the gateway does not answer with bookinfo's page three times in a row.

    The bound is ``gateway_answer``: the first answer after an installation takes its time.
    """
    try:
        gateway.wait_answer(
            "/productpage",
            timeout=gateway.timeouts.gateway_answer,
            accept=lambda response: TITLE in response.text,
        )
    except PytestIstioError as error:
        return (str(error),)
    return ()

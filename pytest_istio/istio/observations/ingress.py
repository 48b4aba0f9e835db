"""Whether the ingress gateway can be reached, and leads to the application."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Protocol

from pytest_istio.errors import PytestIstioError
from pytest_istio.findings import finding
from pytest_istio.istio.explain import deployment_problems

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_istio.clusters.base import Address
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.timeouts import Timeouts

__all__ = ["Asked", "gateway_addressed", "productpage_answers"]

TITLE = "Simple Bookstore App"
STAYS_SECONDS = 0.5
"""How long a connection must stay open on which nobody says anything; a proxy waits for the request."""


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

    def get(self, path: str) -> Any:  # noqa: ANN401  # an httpx.Response, which this room does not know
        """Ask for a path."""
        ...

    def wait_answer(
        self, path: str, status: int = 200, *, timeout: float | None, accept: Callable[[Any], bool] | None
    ) -> object:
        """Ask until the answer is the expected one several times in a row."""
        ...


def gateway_addressed(mesh: Mesh, gateway: Asked) -> tuple[str, ...]:
    """Return why the ingress gateway is not available, or takes no connections at its address."""
    spec, address = mesh.release.gateway, gateway.address
    problems = deployment_problems(mesh.kube, mesh.gateway_namespace, spec.deployment)
    try:
        _connect(address, mesh.timeouts.request)
    except OSError as error:
        unreachable = finding(
            f"Service {mesh.gateway_namespace}/{spec.service}",
            expected=f"takes connections at {address.host}:{address.port} ({address.way})",
            seen=str(error),
            cause="no ready gateway pod is behind it, no Gateway opens the port, or nothing leads there",
            look=f"kubectl -n {mesh.gateway_namespace} get service,endpoints {spec.service}",
        )
        return (*problems, unreachable)
    return problems


def _connect(address: Address, timeout: float) -> None:
    """Return once a connection is made and has stayed open for a moment.

    A load balancer that has nobody behind it takes connections as well, and ends them at once.

    Raises:
        OSError: It is refused, or ended.
    """
    with socket.create_connection((address.host, address.port), timeout=timeout) as connection:
        connection.settimeout(STAYS_SECONDS)
        try:
            ended = connection.recv(1) == b""
        except TimeoutError:
            return
    if ended:
        raise ConnectionResetError("the connection is taken, and ended at once")


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

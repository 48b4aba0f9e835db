"""One attempt of a probe: an HTTP request, a connection or a command.

Each function returns None for a success, else what a kubelet's event would say of the failure.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from pytest_istio.local.node.errors import cause

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_istio.local.addresses import Plan
    from pytest_istio.local.api import Object
    from pytest_istio.local.node.run import Run

__all__ = ["attempt", "connect", "get"]

_SHOWN_OF_OUTPUT = 500
_HEADERS = {"User-Agent": "kube-probe/1.34", "Accept": "*/*"}
_TIMED_OUT = (TimeoutError, asyncio.TimeoutError)

# A command of a stand-in is a Python program, which takes longer to start than what it stands for. On a
# busy machine the usual timeout of one second would have healthy containers restarted.
_SHORTEST_COMMAND = 10.0


async def attempt(probe: Object, *, plan: Plan, ip: str, spec: Object, run: Run) -> str | None:
    """Try a probe once.

    Args:
        probe: The API's Probe.
        plan: The cluster's addresses.
        ip: The pod's address.
        spec: The spec of the container that the probe is of.
        run: The container's run.
    """
    timeout = probe.get("timeoutSeconds", 1)
    if "exec" in probe:
        return await _execute(run, probe["exec"]["command"], max(timeout, _SHORTEST_COMMAND))
    action = probe.get("httpGet") or probe.get("tcpSocket")
    if action is None:
        return "the cluster `local` knows the probes exec, httpGet and tcpSocket only"
    host, port = plan.wire(action.get("host") or ip, _port(action["port"], spec))
    if not host.startswith("127."):
        return f"{host} is no address of this cluster, and the cluster `local` asks no others"
    if "tcpSocket" in probe:
        return await connect(host, port, timeout=timeout)
    url = f"{action.get('scheme', 'HTTP').lower()}://{host}:{port}{action.get('path', '/')}"
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders", [])}
    return await get(url, timeout=timeout, headers=headers)


def _port(port: int | str, spec: Object) -> int:
    if isinstance(port, int):
        return port
    return next((item["containerPort"] for item in spec.get("ports", []) if item.get("name") == port), 0)


async def get(url: str, *, timeout: float, headers: Mapping[str, str] | None = None) -> str | None:
    """Ask a server, whatever its certificate; any answer from 200 to 399 is a success."""
    limit = aiohttp.ClientTimeout(total=timeout)
    connector = aiohttp.TCPConnector(ssl=False)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as session,
            session.get(url, headers={**_HEADERS, **(headers or {})}, allow_redirects=False) as answer,
        ):
            if 200 <= answer.status < 400:  # noqa: PLR2004  # the API's definition of success
                return None
            return f"HTTP probe failed with statuscode: {answer.status}"
    except _TIMED_OUT:
        return f'Get "{url}": no answer within {timeout} s'
    except aiohttp.ClientConnectorError as error:
        return f'Get "{url}": {cause(error.os_error)}'
    except (OSError, aiohttp.ClientError) as error:
        return f'Get "{url}": {error}'


async def connect(host: str, port: int, *, timeout: float) -> str | None:
    """Connect and close again; a connection that is accepted is a success."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), timeout)
    except _TIMED_OUT:
        return f"dial tcp {host}:{port}: no answer within {timeout} s"
    except OSError as error:
        return f"dial tcp {host}:{port}: {cause(error)}"
    writer.close()
    return None


async def _execute(run: Run, command: list[str], timeout: float) -> str | None:
    """Run a command in the container; exit code 0 is a success."""
    try:
        async with run.command(command) as child:
            output, _ = await asyncio.wait_for(child.communicate(), timeout)
            code = child.returncode
    except _TIMED_OUT:
        return f'command "{" ".join(command)}" timed out after {timeout} s'
    except OSError as error:
        return f'command "{" ".join(command)}": {error}'
    return None if code == 0 else output.decode(errors="replace").strip()[:_SHOWN_OF_OUTPUT] or f"exit {code}"

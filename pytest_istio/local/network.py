"""The network: services reached at their addresses, load balancers, and the names of services."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pytest_istio.local.api import ApiError, Informer
from pytest_istio.local.forward import Listener, serve_connect
from pytest_istio.local.routes import addresses, host_lines, ingress, routes, uid

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_istio.local.addresses import Plan
    from pytest_istio.local.api import Api, Object
    from pytest_istio.local.forward import Address

__all__ = ["Network"]

# One change of a Deployment comes as several events.
_BATCH = 0.01
_LAST_LOAD_BALANCER = 254


class Network:
    """What kube-proxy, the cluster's DNS and a cloud's load balancer do, for one cluster.

    Attributes:
        hosts: The file with the names of services, one address and name a line.
    """

    def __init__(self, api: Api, plan: Plan, folder: Path) -> None:
        """Write an empty hosts file; `run` does the rest.

        Args:
            api: The client.
            plan: The cluster's addresses.
            folder: Where the hosts file goes.
        """
        self._api = api
        self._plan = plan
        self._dirty = asyncio.Event()
        self._services = Informer(api, "/api/v1/services", on_change=self._note)
        self._slices = Informer(api, "/apis/discovery.k8s.io/v1/endpointslices", on_change=self._note)
        self._listeners: dict[Address, Listener] = {}
        self._refused: set[tuple[str, Address]] = set()
        self.hosts = folder / "hosts"
        self.hosts.touch()

    async def run(self, egress: Path) -> None:
        """Serve until cancelled.

        Args:
            egress: The path of the Unix socket on which the API server expects its CONNECT proxy.
        """
        server = await serve_connect(egress, self._plan)
        informers = [asyncio.ensure_future(each.run()) for each in (self._services, self._slices)]
        try:
            await self._services.synced.wait()
            await self._slices.synced.wait()
            while True:
                self._dirty.clear()
                await self._reconcile()
                await self._dirty.wait()
                await asyncio.sleep(_BATCH)
        finally:
            server.close()
            for informer in informers:
                informer.cancel()
            for listener in self._listeners.values():
                listener.close()

    def _note(self, _kind: str, _obj: Object) -> None:
        self._dirty.set()

    async def _reconcile(self) -> None:
        services = list(self._services.store.values())
        slices = list(self._slices.store.values())
        self._write_hosts(host_lines(services, slices))
        balancers = self._load_balancers(services)
        wanted = routes(services, slices, self._plan, balancers)
        for address in self._listeners.keys() - wanted.keys():
            self._listeners.pop(address).close()
        refused = {address for address in wanted if not await self._serve(address, wanted[address])}
        for service in services:
            await self._report(service, balancers.get(uid(service)), refused)

    async def _serve(self, address: Address, targets: list[Address]) -> bool:
        listener = self._listeners.get(address)
        if listener is None:
            listener = Listener(address)
            try:
                await listener.open()
            except OSError:
                return False
            self._listeners[address] = listener
        listener.targets = targets
        return True

    def _load_balancers(self, services: Iterable[Object]) -> dict[str, str]:
        """Return the address of each service of type LoadBalancer, by uid; old ones keep theirs."""
        if self._plan.port_shift:
            return {}
        wanted = [service for service in services if service["spec"]["type"] == "LoadBalancer"]
        wanted.sort(key=lambda service: (ingress(service) is None, service["metadata"]["creationTimestamp"]))
        prefix, _, first = self._plan.load_balancer.rpartition(".")
        free = [f"{prefix}.{last}" for last in range(int(first), _LAST_LOAD_BALANCER + 1)]
        given: dict[str, str] = {}
        for service in wanted[: len(free)]:
            before = ingress(service)
            address = before if before in free else free[0]
            free.remove(address)
            given[uid(service)] = address
        return given

    async def _report(self, service: Object, balancer: str | None, refused: set[Address]) -> None:
        """Give a load balancer's address to its service, or say on the service what cannot be listened on."""
        mine = addresses(service, self._plan, balancer)
        taken = refused.intersection(mine)
        namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
        try:
            if balancer and not taken and ingress(service) != balancer:
                status = {"status": {"loadBalancer": {"ingress": [{"ip": balancer, "ipMode": "VIP"}]}}}
                await self._api.patch(f"/api/v1/namespaces/{namespace}/services/{name}/status", status)
            for address in taken:
                if (uid(service), address) not in self._refused:
                    await self._api.create(f"/api/v1/namespaces/{namespace}/events", _event(service, address))
                    self._refused.add((uid(service), address))
        except ApiError as error:
            if error.status != 404:  # noqa: PLR2004  # Not Found: the service is gone meanwhile
                self._dirty.set()

    def _write_hosts(self, lines: list[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        if text != self.hosts.read_text(encoding="utf-8"):
            # Readers never see half a file.
            new = self.hosts.with_name("hosts.new")
            new.write_text(text, encoding="utf-8")
            new.replace(self.hosts)


def _event(service: Object, address: Address) -> Object:
    host, port = address
    message = (
        f"cannot listen on {host} port {port}: it is taken, probably by a server of this machine "
        f"that listens on all addresses (see: ss -ltnp 'sport = :{port}')"
    )
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = service["metadata"]
    about = {"apiVersion": "v1", "kind": "Service", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "metadata": {"generateName": f"{metadata['name']}."},
        "involvedObject": {**about, "namespace": metadata["namespace"]},
        "type": "Warning",
        "reason": "PortTaken",
        "message": message,
        "source": {"component": "pytest-istio-network"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }

"""Serves configuration over REST xDS, and knows what each proxy was sent and has accepted.

A proxy asks with the version that it has. The answer waits until there is another version, so that a change
arrives at once and a quiet mesh costs next to nothing. A version is a digest of what it names: a change of
the cluster that makes no difference to a proxy does not reach it.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_istio.local.images.environment import log
from pytest_istio.local.images.pilot import clusters, gateways, listeners, routes
from pytest_istio.local.images.proxy import bootstrap
from pytest_istio.local.images.web import Response, text_response

if TYPE_CHECKING:
    from pytest_istio.local.images.pilot.mesh import Mesh, Proxy
    from pytest_istio.local.images.web import Request

__all__ = ["CLUSTERS", "LISTENERS", "ROUTES", "Discovery", "Sent"]

Json = dict[str, Any]

CLUSTERS, LISTENERS, ROUTES = "clusters", "listeners", "routes"
_TYPES = {
    CLUSTERS: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
    LISTENERS: "type.googleapis.com/envoy.config.listener.v3.Listener",
    ROUTES: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
}
_PREFIX = "/v3/discovery:"

# Less than what proxies wait for an answer.
_HOLD = 20.0
# How long a version is not sent again that a proxy refused: what it misses may be a certificate's file.
_REFUSED_PAUSE = 5.0
# Routes to a cluster that a proxy does not have yet answer 503.
_CLUSTERS_FIRST = 0.1
# A proxy whose poll for clusters got lost asks anew after a while; routes do not wait so long for it.
_CLUSTERS_LATE = 3.0
# A proxy without an open poll for this long is gone.
_GONE = 10.0


class Answer(NamedTuple):
    """Configuration as it is sent."""

    version: str
    body: bytes


@dataclass
class Sent:
    """What one proxy was sent of one type of resource.

    Attributes:
        version: The version last sent.
        accepted: The version last accepted; equal to `version` when the proxy is up to date.
        refused: Why the version last sent was refused; empty if it was not.
        sent_at: When it was sent, on the monotonic clock.
        refused_at: When the refusal came in.
        seen_at: When the proxy last asked, or was last known to wait.
    """

    version: str = ""
    accepted: str = ""
    refused: str = ""
    sent_at: float = 0.0
    refused_at: float = 0.0
    seen_at: float = 0.0


class Key(NamedTuple):
    """What a poll asks for.

    Attributes:
        node: The proxy's node id.
        start: Tells one start of a proxy from the next.
        kind: The type of resource.
        names: The names of routes, with commas between them.
    """

    node: str
    start: str
    kind: str
    names: str


class Discovery:
    """The discovery service's answers; each request waits in a thread of its own."""

    def __init__(self) -> None:
        """Know nothing yet: every proxy waits for the first picture."""
        self._changed = threading.Condition()
        self._mesh: Mesh | None = None
        self._shown_at = 0.0
        self._answers: dict[Key, Answer] = {}
        self._outbound: list[Json] | None = None
        self._sent: dict[Key, Sent] = {}
        self.pushes = dict.fromkeys(_TYPES, 0)
        self.refusals = dict.fromkeys(_TYPES, 0)

    def show(self, mesh: Mesh) -> None:
        """Give the proxies a new picture."""
        with self._changed:
            self._mesh = mesh
            self._shown_at = time.monotonic()
            self._answers = {}
            self._outbound = None
            self._changed.notify_all()

    @property
    def mesh(self) -> Mesh | None:
        """The picture that is served; None before the first."""
        return self._mesh

    def sent(self) -> dict[Key, Sent]:
        """Return what proxies that still ask were sent, by what they asked for."""
        now = time.monotonic()
        with self._changed:
            return {key: one for key, one in self._sent.items() if now - one.seen_at < _HOLD + _GONE}

    def answer(self, request: Request) -> Response:
        """Answer a poll: when something is new, or with 304 after a while."""
        kind = request.path.removeprefix(_PREFIX)
        if request.method != "POST" or kind not in _TYPES:
            return text_response(f"no such discovery service: {request.path}\n", 404)
        asked = json.loads(request.body)
        node = asked["node"]
        start = str((node.get("metadata") or {}).get(bootstrap.START, ""))
        key = Key(node["id"], start, kind, ",".join(asked.get("resource_names") or []))
        with self._changed:
            sent = self._note(key, asked)
            found = self._wait(key, sent, first=not asked.get("version_info"))
            if found is None:
                return Response(304)
            sent.version, sent.sent_at, sent.refused = found.version, time.monotonic(), ""
            self.pushes[kind] += 1
            if kind == CLUSTERS:
                # Routes to them may be waiting.
                self._changed.notify_all()
        return Response(200, found.body, {"Content-Type": "application/json"})

    def _note(self, key: Key, asked: Json) -> Sent:
        """Remember what a poll says about the version that was sent last."""
        if key not in self._sent:
            self._forget_earlier_starts(key)
        sent = self._sent.setdefault(key, Sent())
        sent.seen_at = time.monotonic()
        sent.accepted = asked.get("version_info", "")
        if sent.version not in {"", sent.accepted} and not sent.refused:
            # REST has no refusal of its own: a proxy that does not have what it was sent did not take it.
            reason = (asked.get("error_detail") or {}).get("message", "the proxy's log says why")
            sent.refused, sent.refused_at = reason, sent.seen_at
            self.refusals[key.kind] += 1
            log("configuration refused", level="warning", node=key.node, type=key.kind, reason=reason)
        return sent

    def _forget_earlier_starts(self, key: Key) -> None:
        for known in [one for one in self._sent if one.node == key.node and one.start != key.start]:
            del self._sent[known]

    def _wait(self, key: Key, sent: Sent, *, first: bool) -> Answer | None:
        """Return the answer as soon as it is one that the proxy has not; None if there is none in time."""
        deadline = time.monotonic() + _HOLD
        while True:
            now = time.monotonic()
            sent.seen_at = now
            found = self._current(key)
            until = deadline
            if found is not None and found.version == sent.accepted:
                # So it is, too, when another instance of this service sent it.
                sent.version = found.version
            elif found is not None:
                until = self._not_before(key, sent, found, first=first)
                if until <= now:
                    return found
            if now >= deadline:
                return None
            self._changed.wait(min(until, deadline) - now)

    def _not_before(self, key: Key, sent: Sent, found: Answer, *, first: bool) -> float:
        """Return when a proxy may be sent an answer."""
        if sent.refused and found.version == sent.version:
            return sent.refused_at + _REFUSED_PAUSE
        if first or key.kind == CLUSTERS:
            return 0.0
        needed = key._replace(kind=CLUSTERS, names="")
        wanted, has = self._current(needed), self._sent.get(needed)
        if wanted is None or has is None:
            return 0.0
        if wanted.version != has.version:
            # Its poll for clusters, which is or will soon be open, ends this wait.
            return self._shown_at + _CLUSTERS_LATE
        return has.sent_at + _CLUSTERS_FIRST

    def _current(self, key: Key) -> Answer | None:
        """Return what a proxy should have; None as long as its pod is unknown."""
        if self._mesh is None:
            return None
        if key not in self._answers:
            proxy = self._mesh.proxy(key.node)
            if proxy is None:
                return None
            resources = self._resources(self._mesh, proxy, key)
            self._answers[key] = _answer(key.kind, resources)
        return self._answers[key]

    def _resources(self, mesh: Mesh, proxy: Proxy, key: Key) -> list[Json]:
        sidecar = proxy.role == "sidecar"
        if key.kind == CLUSTERS:
            if self._outbound is None:
                self._outbound = clusters.outbound(mesh)
            return self._outbound + (clusters.inbound(mesh, proxy) if sidecar else [])
        if key.kind == LISTENERS:
            return listeners.for_sidecar(mesh, proxy) if sidecar else gateways.listeners(mesh, proxy)
        if sidecar:
            return [routes.for_sidecar(mesh, proxy)]
        return [gateways.routes_named(mesh, proxy, name) for name in key.names.split(",")]


def _answer(kind: str, resources: list[Json]) -> Answer:
    text = json.dumps([{"@type": _TYPES[kind], **resource} for resource in resources])
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    body = f'{{"version_info": "{version}", "type_url": "{_TYPES[kind]}", "resources": {text}}}'
    return Answer(version, body.encode())

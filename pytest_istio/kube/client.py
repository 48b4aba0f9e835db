"""The client: objects of an API server, and what goes on in its pods."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from pytest_istio.kube import streams
from pytest_istio.kube.api_server import ApiServer
from pytest_istio.kube.discovery import Discovery, Resource
from pytest_istio.kube.errors import ConflictError, KubeError, NotFoundError
from pytest_istio.kube.watch import Event, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from pytest_istio.kube.connection import Connection
    from pytest_istio.kube.deadline import Deadline
    from pytest_istio.kube.objects import Body, Object

__all__ = ["Kube"]

PAGE = 500
"""Objects in one answer of a list, as kubectl asks for; bounds the memory that a big list takes."""

PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}


class Kube(ApiServer):
    """One API server, its objects and pods; bodies are plain JSON objects. Errors are as in `ApiServer`."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._discovery = Discovery(connection)

    def resource(self, api_version: str, kind: str) -> Resource:
        """Return how the objects of a kind are reached.

        Raises:
            KindNotServedError: The server has no such kind in that version, now asked once more.
        """
        return self._discovery.resource(api_version, kind)

    def served(self) -> frozenset[tuple[str, str]]:
        """Return what the server has now, as pairs of API version and kind."""
        return self._discovery.served()

    def learn(self, crd: Object) -> None:
        """Take in the kinds that a CustomResourceDefinition defines, before the server lists them itself."""
        self._discovery.learn(crd)

    def get(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object:
        """Return one object.

        Raises:
            NotFoundError: There is none of that name.
        """
        return self.json("GET", self.resource(api_version, kind).path(namespace, name))

    def find(self, api_version: str, kind: str, name: str, namespace: str | None = None) -> Object | None:
        """Return one object, or None when there is none of that name."""
        try:
            return self.get(api_version, kind, name, namespace)
        except NotFoundError:
            return None

    def pages(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> Iterator[list[Object]]:
        """Give the objects of a kind in portions of at most 500, so that many of them need little memory.

        Arguments as in `list`.
        """
        resource = self.resource(api_version, kind)
        for answer in self._answers(resource, namespace, _selectors(labels, fields)):
            yield answer["items"]

    def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
    ) -> list[Object]:
        """Return the objects of a kind, with apiVersion and kind filled in.

        Args:
            api_version: Such as ``apps/v1``.
            kind: Such as ``Deployment``.
            namespace: None for all namespaces.
            labels: A label selector, such as ``app=reviews,version!=v1``.
            fields: A field selector, such as ``status.phase=Running``.
        """
        pages = self.pages(api_version, kind, namespace, labels=labels, fields=fields)
        return [item for page in pages for item in page]

    def watch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        deadline: Deadline,
    ) -> Iterator[Event]:
        """Give what happens to the objects of a kind, starting with all that exist, until the deadline.

        Arguments as in `list`; what ends a watch (410, 429, 5xx, resets, closed streams) is survived.
        """
        watch = self.follow(api_version, kind, namespace, labels=labels, fields=fields, deadline=deadline)
        for event in watch:
            if event.type != "SYNCED":
                yield event

    def follow(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        fields: str | None = None,
        deadline: Deadline,
    ) -> Watch:
        """Return a watch that another thread can close, and that also reports being ``SYNCED``."""
        resource = self.resource(api_version, kind)
        query = _selectors(labels, fields)
        return Watch(
            self._connection,
            resource.path(namespace),
            query,
            lambda: self._answers(resource, namespace, query),
            deadline,
        )

    def create(self, obj: Object) -> Object:
        """Create an object and return it as stored.

        Raises:
            ConflictError: It exists already.
        """
        return self._write_once("POST", obj)

    def apply(self, obj: Object, *, manager: str, force: bool = True) -> Object:
        """Create an object or bring it to what `obj` says (server-side apply), and return it as stored.

        Args:
            obj: What is wanted; fields that it does not name are left to others.
            manager: The name under which the fields are owned.
            force: Take over fields that somebody else owns, instead of raising `ConflictError`.
        """
        return self.json(
            "PATCH",
            self._path_of(obj),
            query={"fieldManager": manager, "force": str(force).lower()},
            body=obj,
            content_type="application/apply-patch+yaml",
        )

    def patch(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None,
        body: Body,
        *,
        how: Literal["merge", "json", "strategic"] = "merge",
    ) -> Object:
        """Change an object and return it as stored; custom resources know no ``strategic`` patch."""
        path = self.resource(api_version, kind).path(namespace, name)
        return self.json("PATCH", path, body=body, content_type=PATCHES[how])

    def replace(self, obj: Object) -> Object:
        """Replace an object by `obj` and return it as stored.

        Raises:
            ConflictError: `obj` carries a resourceVersion, and it is not the newest one.
        """
        return self._write_once("PUT", obj)

    def delete(
        self,
        api_version: str,
        kind: str,
        name: str,
        namespace: str | None = None,
        *,
        grace: int | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        uid: str | None = None,
    ) -> None:
        """Ask for an object to be deleted; that there is none is fine.

        Args:
            api_version: Such as ``v1``.
            kind: Such as ``Pod``.
            name: The object's name.
            namespace: None for what belongs to the whole cluster.
            grace: Seconds that a pod gets to end; None for its own setting.
            propagation: What becomes of the objects that it owns.
            uid: The object's; None for whichever has the name.

        Raises:
            ConflictError: The object of that name has another `uid`.
        """
        options: Object = {"propagationPolicy": propagation}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        try:
            self.request("DELETE", self.resource(api_version, kind).path(namespace, name), body=options)
        except NotFoundError:
            return

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str | None = None,
        *,
        tail: int | None = None,
        previous: bool = False,
    ) -> str:
        """Return the log of a container.

        Args:
            namespace: The pod's namespace.
            pod: The pod's name.
            container: None where the pod has only one.
            tail: How many of the last lines; None for all.
            previous: The log of the run before the last restart.
        """
        query: dict[str, Any] = {"previous": str(previous).lower()}
        if container is not None:
            query["container"] = container
        if tail is not None:
            query["tailLines"] = tail
        path = self.resource("v1", "Pod").path(namespace, pod)
        return self.request("GET", f"{path}/log", query=query).decode(errors="replace")

    def exec(
        self,
        namespace: str,
        pod: str,
        command: Sequence[str],
        *,
        container: str | None = None,
        timeout: float | None = None,
        repeatable: bool = False,
    ) -> streams.Executed:
        """Run a program in a container and return what it printed and its exit code.

        Args:
            namespace: The pod's namespace.
            pod: The pod's name.
            command: The program and its arguments; no shell is involved.
            container: None where the pod has only one.
            timeout: Seconds until the program must have ended; None for the client's usual bound.
            repeatable: Whether it may be run once more when the way to it broke, as what only asks may be.

        Raises:
            UnreachableError: The program did not end in time.
        """
        return streams.execute(
            self._connection, namespace, pod, command,
            container=container, timeout=timeout, repeatable=repeatable,
        )  # fmt: skip

    def port_forward(self, namespace: str, pod: str, port: int) -> AbstractContextManager[tuple[str, int]]:
        """Forward connections to a port of a pod, inside the context.

        The context's value is the host and port on this machine where it listens.
        """
        return streams.forward(self._connection, namespace, pod, port)

    def _write_once(self, method: str, obj: Object) -> Object:
        """Send what must not be carried out twice, again where the answer was lost.

        A conflict may then be one with what this very request has stored, which a name of its own for who
        wrote it tells.
        """
        named = "name" in obj["metadata"]
        writer = f"pytest-istio-{secrets.token_hex(4)}"
        path = self._path_of(obj, collection=method == "POST")
        try:
            return self.json(method, path, query={"fieldManager": writer}, body=obj, repeatable=named)
        except ConflictError:
            stored = self._stored(obj) if named else None
            if stored is None or all(each["manager"] != writer for each in _writers(stored)):
                raise
            return stored

    def _stored(self, obj: Object) -> Object | None:
        try:
            return self.json("GET", self._path_of(obj))
        except NotFoundError:
            return None

    def _path_of(self, obj: Object, *, collection: bool = False) -> str:
        metadata = obj["metadata"]
        resource = self.resource(obj["apiVersion"], obj["kind"])
        return resource.path(metadata.get("namespace") or "default", None if collection else metadata["name"])

    def _answers(
        self, resource: Resource, namespace: str | None, query: Mapping[str, Any]
    ) -> Iterator[Object]:
        following: str | None = ""
        while following is not None:
            page = {**query, "limit": PAGE, **({"continue": following} if following else {})}
            try:
                answer = self.json("GET", resource.path(namespace), query=page)
            except KubeError as error:
                # The snapshot behind the list has expired; the server offers to go on with a newer one.
                following = (error.details.get("metadata") or {}).get("continue")
                if error.status != HTTPStatus.GONE or not following:
                    raise
                continue
            answer["items"] = answer["items"] or []
            for item in answer["items"]:
                item["apiVersion"], item["kind"] = resource.api_version, resource.kind
            yield answer
            following = answer["metadata"].get("continue") or None


def _writers(obj: Object) -> list[Object]:
    return obj["metadata"].get("managedFields") or []


def _selectors(labels: str | None, fields: str | None) -> dict[str, str]:
    chosen = {"labelSelector": labels, "fieldSelector": fields}
    return {name: value for name, value in chosen.items() if value}

"""What kubectl's commands do: get, apply, create, delete and rollout status."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_istio.local.images.cluster_api import ApiError
from pytest_istio.local.images.environment import inside
from pytest_istio.local.images.kubectl.client import TABLE

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from pytest_istio.local.images.cluster_api import Object
    from pytest_istio.local.images.kubectl.client import Client

__all__ = ["COMMANDS", "UsageError"]


class UsageError(Exception):
    """The command line asks for what this kubectl does not do."""


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _get(client: Client, words: Sequence[str], options: argparse.Namespace) -> None:
    if not words:
        raise UsageError("kubectl get: name a resource type")
    resource = client.resource(words[0])
    namespace = None if options.all_namespaces else options.namespace
    query = {"labelSelector": options.selector} if options.selector else {}
    paths = [resource.path(namespace, name) for name in words[1:]] or [resource.path(namespace)]
    if options.output in {"", "wide"}:
        tables = [client.get(path, TABLE, query) for path in paths]
        wide, everywhere = options.output == "wide", options.all_namespaces and resource.namespaced
        _print_table(tables, wide=wide, namespaces=everywhere, headers=not options.no_headers)
        return
    answers = [client.get(path, query=query) for path in paths]
    if options.output == "name":
        for obj in [each for answer in answers for each in answer.get("items", [answer])]:
            _say(f"{resource}/{obj['metadata']['name']}")
    elif options.output == "json":
        _say(json.dumps(answers[0] if len(answers) == 1 else answers, indent=4))
    else:
        raise UsageError(f"kubectl get: -o {options.output} is not part of this stand-in")


def _print_table(tables: Sequence[Object], *, wide: bool, namespaces: bool, headers: bool) -> None:
    columns = tables[0]["columnDefinitions"]
    shown = [number for number, column in enumerate(columns) if wide or not column.get("priority")]
    lines = [[columns[number]["name"].upper() for number in shown]] if headers else []
    if namespaces and headers:
        lines[0].insert(0, "NAMESPACE")
    rows = [row for table in tables for row in table.get("rows") or []]
    for row in rows:
        place = [row["object"]["metadata"]["namespace"]] if namespaces else []
        lines.append(place + [str(row["cells"][number]) for number in shown])
    if not rows:
        sys.stderr.write("No resources found\n")
        return
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        _say("   ".join(cells).rstrip())


def _documents(options: argparse.Namespace) -> Iterator[Object]:
    import yaml  # noqa: PLC0415 - half of this program's start, and only files need it

    for name in options.filename:
        # A script may have been given the container's path or, as its argument, where the file really is.
        path = inside(name) if name.startswith("/") and inside(name).exists() else Path(name)
        for document in yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader):
            if document:
                yield from document.get("items", [document])


def _apply(client: Client, words: Sequence[str], options: argparse.Namespace) -> None:
    del words
    for obj in _documents(options):
        resource = client.resource_of(obj["apiVersion"], obj["kind"])
        name = obj["metadata"]["name"]
        path = resource.path(obj["metadata"].get("namespace") or options.namespace, name)
        before = _resource_version(client, path)
        query = {"fieldManager": "kubectl", "force": "true"}
        applied = client.request("PATCH", path, obj, content_type="application/apply-patch+yaml", query=query)
        after = applied["metadata"]["resourceVersion"]
        what = "created" if before is None else "unchanged" if before == after else "configured"
        _say(f"{resource}/{name} {what}")


def _resource_version(client: Client, path: str) -> str | None:
    try:
        return str(client.get(path)["metadata"]["resourceVersion"])
    except ApiError as error:
        if error.reason != "NotFound":
            raise
        return None


def _create(client: Client, words: Sequence[str], options: argparse.Namespace) -> None:
    if words:
        raise UsageError("kubectl create: only -f is part of this stand-in")
    for obj in _documents(options):
        resource = client.resource_of(obj["apiVersion"], obj["kind"])
        client.request("POST", resource.path(obj["metadata"].get("namespace") or options.namespace), obj)
        _say(f"{resource}/{obj['metadata']['name']} created")


def _delete(client: Client, words: Sequence[str], options: argparse.Namespace) -> None:
    doomed = [(client.resource(words[0]), options.namespace, name) for name in words[1:]]
    for obj in _documents(options):
        resource, metadata = client.resource_of(obj["apiVersion"], obj["kind"]), obj["metadata"]
        doomed.append((resource, metadata.get("namespace") or options.namespace, metadata["name"]))
    if not doomed:
        raise UsageError("kubectl delete: name a resource type and objects, or files")
    for resource, namespace, name in doomed:
        if _deleted(client, resource.path(namespace, name), ignore_missing=options.ignore_not_found):
            _say(f'{resource} "{name}" deleted')


def _deleted(client: Client, path: str, *, ignore_missing: bool) -> bool:
    try:
        client.request("DELETE", path)
    except ApiError as error:
        if error.reason != "NotFound" or not ignore_missing:
            raise
        return False
    return True


def _rollout(client: Client, words: Sequence[str], options: argparse.Namespace) -> None:
    subject = "/".join(words[1:]).split("/")
    if words[:1] != ["status"] or len(subject) != 2:  # noqa: PLR2004 - a type and a name
        raise UsageError("kubectl rollout: only `rollout status TYPE NAME` is part of this stand-in")
    resource = client.resource(subject[0])
    query = {"fieldSelector": f"metadata.name={subject[1]}"}
    reported = ""

    def complain(error: Exception) -> None:
        sys.stderr.write(f"{error}\n")
        if isinstance(error, ApiError) and error.status == 403:  # noqa: PLR2004 - Forbidden
            raise error

    for event in client.watch(resource.path(options.namespace), query=query, on_error=complain):
        if not event.objects or event.type == "DELETED":
            raise UsageError(f'{resource.plural} "{subject[1]}" not found')
        missing = _rollout_missing(event.objects[0])
        if not missing:
            _say(f'{resource.kind.lower()} "{subject[1]}" successfully rolled out')
            return
        if missing != reported:
            reported = missing
            _say(f"Waiting for rollout to finish: {missing}...")


def _rollout_missing(deployment: Object) -> str:
    spec: dict[str, Any] = deployment.get("spec") or {}
    status: dict[str, Any] = deployment.get("status") or {}
    replicas = spec.get("replicas", 1)
    if status.get("observedGeneration", 0) < deployment["metadata"].get("generation", 0):
        return "the deployment spec update is not observed yet"
    for field, what in (("updatedReplicas", "updated"), ("availableReplicas", "available")):
        if status.get(field, 0) < replicas:
            return f"{status.get(field, 0)} of {replicas} replicas are {what}"
    if status.get("replicas", 0) > replicas:
        return f"{status['replicas'] - replicas} old replicas are pending termination"
    return ""


COMMANDS = {"get": _get, "apply": _apply, "create": _create, "delete": _delete, "rollout": _rollout}
"""The commands, by name."""

"""Reading manifests: files of Kubernetes objects, from anybody, so nothing in them is trusted.

Whatever a file holds, the answer is a list of objects or a `ManifestError` of one line that names file and
line, in bounded time and memory. Values are read as kubectl reads them, but for two habits of YAML 1.1 that
turn text into something else: dates stay text, and so do ``12:30:45`` and its like.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import ManifestError
from pytest_istio.kube import yaml_text
from pytest_istio.kube.discovery import defined_among
from pytest_istio.kube.names import misnamed
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.shapes import called, misshapen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_istio.kube.objects import Object

__all__ = ["Manifests", "load", "parse"]

SUFFIXES = frozenset({".yaml", ".yml", ".json"})

MAX_WARNINGS = 20
"""How many oddities are told one by one."""

MAX_BYTES = 64 * 2**20
"""The size of all files together; Istio's own manifests are below 1 MiB."""


@dataclass(frozen=True)
class Manifests:
    """Objects as they were written down.

    Attributes:
        objects: The objects in the order of the files.
        source: Where they come from, for people.
        sha256: Of the file; of a folder, over the lines that ``sha256sum`` would print for its files.
        warnings: What was odd and has been accepted.
    """

    objects: tuple[Object, ...]
    source: str
    sha256: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Found:
    obj: Object
    where: str


def load(path: Path, *, source: str | None = None, namespace: str = "default") -> Manifests:
    """Read a file, or the files ``*.yaml``, ``*.yml`` and ``*.json`` of a folder in the order of their names.

    Args:
        path: The file or folder.
        source: Where it comes from, for people; None for the path.
        namespace: Where objects without a namespace will be.

    Raises:
        ManifestError: A file cannot be read or is too large, is not YAML or JSON, holds something that is no
            object, or an object is there twice; or there is no object at all.
    """
    found: list[_Found] = []
    warnings: list[str] = []
    digests: list[tuple[str, str]] = []
    left = MAX_BYTES
    for file in _files(path):
        content = _read(file, left)
        left -= len(content)
        digests.append((hashlib.sha256(content).hexdigest(), file.name))
        objects, odd = _objects_of(content, str(file), as_json=file.suffix == ".json")
        found += objects
        warnings += odd
    if not found:
        msg = f"{path}: no Kubernetes object in it."
        raise ManifestError(msg)
    _refuse_duplicates(found, namespace)
    if path.is_dir():
        listing = "".join(f"{digest}  {name}\n" for digest, name in digests)
        digest = hashlib.sha256(listing.encode()).hexdigest()
    else:
        digest = digests[0][0]
    if len(warnings) > MAX_WARNINGS:
        warnings = [*warnings[:MAX_WARNINGS], f"{path}: {len(warnings) - MAX_WARNINGS:,} more of that kind."]
    return Manifests(tuple(item.obj for item in found), source or str(path), digest, tuple(warnings))


def parse(text: str | bytes, *, origin: str) -> tuple[list[Object], list[str]]:
    """Return the objects of a YAML text and what was odd in it.

    Args:
        text: YAML, with any number of documents; JSON is YAML, too.
        origin: What to call the text in messages.

    Raises:
        ManifestError: It is not YAML, or holds something that is no object.
    """
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    found, warnings = _objects_of(content, origin, as_json=False)
    return [item.obj for item in found], warnings


def _files(path: Path) -> list[Path]:
    try:
        if path.is_dir():
            # Folders inside are passed over, as kubectl does; a link to nowhere is not, nor is a pipe.
            files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES and not file.is_dir())
            if odd := next((file for file in files if file.exists() and not file.is_file()), None):
                msg = f"{odd}: is no file; move it out of the folder."
                raise ManifestError(msg)
            if not files:
                msg = f"{path}: the folder has no *.yaml, *.yml or *.json file."
                raise ManifestError(msg)
            return files
        if path.is_file():
            return [path]
    except OSError as error:
        raise _unreadable(path, error) from error
    msg = f"{path}: {'neither a file nor a folder' if path.exists() else 'no such file or folder'}."
    raise ManifestError(msg)


def _read(file: Path, limit: int) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise _unreadable(file, error) from error
    if len(content) > limit:
        msg = f"{file}: the manifests are larger than {MAX_BYTES // 2**20} MiB; split them, or apply apart."
        raise ManifestError(msg)
    return content


def _unreadable(path: Path, error: OSError) -> ManifestError:
    return ManifestError(f"{path}: cannot be read: {error.strerror}.")


def _objects_of(content: bytes, origin: str, *, as_json: bool) -> tuple[list[_Found], list[str]]:
    warnings: list[str] = []
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        msg = f"{origin}:{line}: not UTF-8 text."
        raise ManifestError(msg) from error
    documents = (
        _json_document(text, origin, warnings) if as_json else yaml_text.documents(text, origin, warnings)
    )
    found = [_Found(obj, where) for document, where in documents for obj in _flattened(document, where)]
    return found, warnings


def _json_document(text: str, origin: str, warnings: list[str]) -> Iterator[tuple[object, str]]:
    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        obj = dict(pairs)
        if len(obj) < len(pairs):
            counts = Counter(key for key, _ in pairs)
            twice = next(key for key in obj if counts[key] > 1)
            warnings.append(f"{origin}: key {twice!r} is there twice; the last one counts.")
        return obj

    try:
        document = json.loads(text, object_pairs_hook=object_of)
    except json.JSONDecodeError as error:
        msg = f"{origin}:{error.lineno}: not JSON: {error.msg}."
        raise ManifestError(msg) from error
    except (RecursionError, ValueError) as error:
        msg = f"{origin}: nested too deeply, or a number is too long."
        raise ManifestError(msg) from error
    if _too_deep(document):
        msg = f"{origin}: nested too deeply: more than {yaml_text.MAX_DEPTH} levels; no manifest needs that."
        raise ManifestError(msg)
    yield document, origin


def _too_deep(document: object) -> bool:
    level = [document]
    for _ in range(yaml_text.MAX_DEPTH + 1):
        inner = [
            each.values() if isinstance(each, dict) else each
            for each in level
            if isinstance(each, dict | list)
        ]
        level = list(chain.from_iterable(inner))
    return bool(level)


def _flattened(document: object, where: str) -> Iterator[Object]:
    """Give the objects of a document: none for an empty one, those in it for a List."""
    if document is None:
        return
    if not isinstance(document, dict):
        msg = f"{where}: a Kubernetes object was expected, not {called(document)}."
        raise ManifestError(msg)
    kind, items = document.get("kind"), document.get("items")
    # Custom resources may have such a name, too: without items it is an object.
    is_list = kind == "List" or (isinstance(kind, str) and kind.endswith("List") and "items" in document)
    if is_list and isinstance(items, list | None):
        for item in items or []:
            yield from _flattened(item, where)
        return
    yield _checked(document, where)


def _checked(obj: Object, where: str) -> Object:
    for field in ("apiVersion", "kind"):
        if not isinstance(obj.get(field), str) or not obj[field]:
            msg = f"{where}: no Kubernetes object: {field} must be text, it is {called(obj.get(field))}."
            raise ManifestError(msg)
    metadata = obj.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(name, str) or not name:
        msg = f"{where}: {obj['kind']} without a name: metadata.name must be text, it is {called(name)}."
        raise ManifestError(msg)
    if not isinstance(metadata.get("namespace"), str | None):
        msg = f"{where}: {obj['kind']} {name}: metadata.namespace must be text."
        raise ManifestError(msg)
    odd = misnamed(obj)
    if odd is not None:
        msg = f"{where}: {obj['kind']} {name}: {odd}."
        raise ManifestError(msg)
    for field in ("annotations", "labels"):
        if not isinstance(metadata.get(field), dict | None):
            msg = f"{where}: {obj['kind']} {name}: metadata.{field} must be an object."
            raise ManifestError(msg)
    no_value = next(_not_json(obj), None)
    wrong = misshapen(obj) if no_value is None else f"{no_value} is no value of JSON"
    if wrong is not None:
        msg = f"{where}: {obj['kind']} {name}: {wrong}."
        raise ManifestError(msg)
    try:
        defined_among([obj])
    except ManifestError as error:
        msg = f"{where}: {error}"
        raise ManifestError(msg) from error
    return obj


def _not_json(value: object) -> Iterator[str]:
    """Give what no API server takes: numbers that are none, bytes, sets."""
    if isinstance(value, dict):
        for item in value.values():
            yield from _not_json(item)
    elif isinstance(value, list):
        for item in value:
            yield from _not_json(item)
    elif isinstance(value, float) and not math.isfinite(value):
        yield str(value)
    elif not isinstance(value, str | int | float | None):
        yield called(value)


def _refuse_duplicates(found: list[_Found], namespace: str) -> None:
    places: dict[tuple[str, str, str, str], str] = {}
    for item in found:
        ref = Ref.of(item.obj)
        key = ref.group, ref.kind, ref.namespace or namespace, ref.name
        if key in places:
            msg = f"{item.where}: {ref} is there already, at {places[key]}."
            raise ManifestError(msg)
        places[key] = item.where

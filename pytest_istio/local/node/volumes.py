"""Volumes of a pod: folders that are filled once, and again whenever their sources change."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.local.node.environment import expand, field_value, resource_value
from pytest_istio.local.node.errors import CannotStartError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pytest_istio.local.api import Object
    from pytest_istio.local.node.context import Context

__all__ = ["Volumes", "references"]

_FILLED = ("secret", "configMap", "downwardAPI", "projected")
_TOKEN_SECONDS = 3607

Files = dict[str, bytes]


class Volumes:
    """The volumes of one pod."""

    def __init__(self, context: Context, folder: Path) -> None:
        """Describe them; `fill` makes them.

        Args:
            context: What all pods share.
            folder: Holds a folder for each volume.
        """
        self._context = context
        self._folder = folder
        self._filled: dict[str, Files] = {}
        self._tokens: dict[tuple[str, str], bytes] = {}

    async def fill(self, pod: Object) -> None:
        """Make the pod's volumes, or bring them up to date.

        As with a real kubelet, a container finds either all old files of a volume or all new ones.

        Raises:
            CannotStartError: A source is missing that is not optional, or cannot be had here.
        """
        for volume in pod["spec"].get("volumes", []):
            folder = self._folder / volume["name"]
            if not any(kind in volume for kind in ("emptyDir", *_FILLED)):
                kind = next((key for key in volume if key != "name"), "emptyDir")
                message = f'volume "{volume["name"]}": {kind} is not available on the cluster `local`'
                raise CannotStartError("FailedMount", message)
            folder.mkdir(parents=True, exist_ok=True)
            if "emptyDir" in volume:
                continue
            try:
                files = await self._files(pod, volume)
            except CannotStartError as error:
                message = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
                raise CannotStartError("FailedMount", message) from error
            if files != self._filled.get(volume["name"]):
                _replace(folder, files)
                self._filled[volume["name"]] = files

    async def _files(self, pod: Object, volume: Object) -> Files:
        if "projected" not in volume:
            return await self._source(pod, volume)
        files: Files = {}
        for source in volume["projected"].get("sources") or []:
            files |= await self._source(pod, source)
        return files

    async def _source(self, pod: Object, source: Object) -> Files:
        """Return the files of one volume, or of one source of a projected volume.

        The two name a Secret differently, hence two spellings of one thing below.
        """
        namespace = pod["metadata"]["namespace"]
        if "secret" in source:
            secret = source["secret"]
            return self._selected("Secret", namespace, secret.get("secretName", secret.get("name")), secret)
        if "configMap" in source:
            return self._selected("ConfigMap", namespace, source["configMap"]["name"], source["configMap"])
        if "downwardAPI" in source:
            items = source["downwardAPI"].get("items") or []
            return {item["path"]: self._downward(pod, item).encode() for item in items}
        if "serviceAccountToken" in source:
            wanted = source["serviceAccountToken"]
            return {wanted["path"]: await self._token(pod, wanted)}
        kind = next(iter(source))
        raise CannotStartError("FailedMount", f"a projected {kind} is not available on the cluster `local`")

    def _selected(self, kind: str, namespace: str, name: str, source: Object) -> Files:
        optional = source.get("optional", False)
        data = self._context.configuration.data(kind, namespace, name, optional=optional)
        if not source.get("items"):
            return data
        files: Files = {}
        for item in source["items"]:
            if item["key"] in data:
                files[item["path"]] = data[item["key"]]
            elif not optional:
                message = f"{kind} {namespace}/{name} has no key {item['key']}"
                raise CannotStartError("FailedMount", message)
        return files

    def _downward(self, pod: Object, item: Object) -> str:
        if "fieldRef" in item:
            return field_value(pod, item["fieldRef"]["fieldPath"])
        return resource_value(pod, item["resourceFieldRef"], "", self._context.capacity)

    async def _token(self, pod: Object, wanted: Object) -> bytes:
        """Return a token of the pod's ServiceAccount, the same one while the pod lives.

        The API server honours the usual token for a year, however soon it says that it expires.
        """
        audience = wanted.get("audience", "")
        key = (wanted["path"], audience)
        if key not in self._tokens:
            metadata = pod["metadata"]
            reference = {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": metadata["name"],
                "uid": metadata["uid"],
            }
            spec = {
                "audiences": [audience] if audience else None,
                "expirationSeconds": wanted.get("expirationSeconds", _TOKEN_SECONDS),
                "boundObjectRef": reference,
            }
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
            account = pod["spec"].get("serviceAccountName", "default")
            path = f"/api/v1/namespaces/{metadata['namespace']}/serviceaccounts/{account}/token"
            answer = await self._context.api.create(path, body)
            self._tokens[key] = answer["status"]["token"].encode()
        return self._tokens[key]

    def mount(self, pod: Object, container: Object, root: Path, env: Mapping[str, str]) -> None:
        """Put a container's volumes where its spec wants them, below `root`.

        Without mount namespaces these are symbolic links.
        """
        filled = {
            volume["name"]
            for volume in pod["spec"].get("volumes", [])
            if any(key in volume for key in _FILLED)
        }
        for mount in sorted(container.get("volumeMounts", []), key=lambda mount: len(mount["mountPath"])):
            place = root / mount["mountPath"].lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            place.unlink(missing_ok=True)
            part = mount.get("subPath") or expand(mount.get("subPathExpr", ""), env)
            source = self._folder / mount["name"] / part
            if part and mount["name"] in filled:
                _copy(source, place)
                continue
            source.mkdir(parents=True, exist_ok=True)
            place.symlink_to(source)


def references(pod: Object) -> frozenset[tuple[str, str]]:
    """Return kind and name of the Secrets and ConfigMaps that a pod's volumes are filled from."""
    return frozenset(_references(pod))


def _references(pod: Object) -> Iterator[tuple[str, str]]:
    for volume in pod["spec"].get("volumes", []):
        for source in [volume, *(volume.get("projected", {}).get("sources") or [])]:
            if "secret" in source:
                yield "Secret", source["secret"].get("secretName", source["secret"].get("name"))
            if "configMap" in source:
                yield "ConfigMap", source["configMap"]["name"]


def _copy(source: Path, place: Path) -> None:
    """Copy a part of a filled volume: a real kubelet does not bring such a mount up to date either."""
    if source.is_dir():
        shutil.copytree(source, place)
    elif source.exists():
        shutil.copyfile(source, place)
    else:
        place.mkdir()


def _replace(folder: Path, files: Files) -> None:
    """Give a volume new contents in one step: its files are links through one link that is switched."""
    fresh = folder / f"..{secrets.token_hex(4)}"
    for name, data in files.items():
        path = fresh / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_bytes(data)
    fresh.mkdir(exist_ok=True)
    current = folder / "..data"
    old = current.resolve() if current.exists() else None
    link = folder / "..data_new"
    link.symlink_to(fresh.name)
    link.replace(current)
    names = {name.split("/", 1)[0] for name in files}
    for path in folder.iterdir():
        if not path.name.startswith("..") and path.name not in names:
            path.unlink()
    for name in names:
        if not os.path.lexists(folder / name):
            (folder / name).symlink_to(Path("..data") / name)
    if old:
        shutil.rmtree(old)

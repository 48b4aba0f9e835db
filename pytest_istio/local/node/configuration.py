"""The cluster's Secrets and ConfigMaps, as containers and volumes use them."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

from pytest_istio.local.api import Informer
from pytest_istio.local.node.errors import CannotStartError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_istio.local.api import Api, Object

__all__ = ["Configuration"]


class Configuration:
    """A copy of all Secrets and ConfigMaps that is kept up to date."""

    def __init__(self, api: Api, on_change: Callable[[str, str, str], None]) -> None:
        """Describe the copy; `run` makes it.

        Args:
            api: The client.
            on_change: Called with kind, namespace and name of what changed.
        """
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._informers = {
            "Secret": Informer(api, "/api/v1/secrets", on_change=self._note),
            "ConfigMap": Informer(api, "/api/v1/configmaps", on_change=self._note),
        }

    def _note(self, _change: str, obj: Object) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_change(obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])

    async def run(self) -> None:
        """Keep the copy up to date until cancelled."""
        await asyncio.gather(*(informer.run() for informer in self._informers.values()))

    async def change(self) -> None:
        """Return as soon as anything changes."""
        await self._changed.wait()

    def data(self, kind: str, namespace: str, name: str, *, optional: bool | None) -> dict[str, bytes]:
        """Return the contents of a Secret or a ConfigMap; an optional one that is missing has none.

        Raises:
            CannotStartError: There is no such object.
        """
        obj = self._informers[kind].store.get((namespace, name))
        if obj is None:
            if optional:
                return {}
            raise CannotStartError("CreateContainerConfigError", f'{kind.lower()} "{name}" not found')
        if kind == "Secret":
            return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
        binary = {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
        return binary | {key: value.encode() for key, value in (obj.get("data") or {}).items()}

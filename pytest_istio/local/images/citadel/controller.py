"""Keeps one Secret for every ServiceAccount: issued, issued again when gone, removed with its account."""

from __future__ import annotations

import base64
import http.client
import itertools
import queue
import threading
from typing import TYPE_CHECKING

from pytest_istio.local.images.cluster_api import ApiError
from pytest_istio.local.images.environment import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_istio.local.images.citadel.authority import Authority
    from pytest_istio.local.images.cluster_api import ClusterApi, Event, Object

__all__ = ["Controller"]

_TYPE = "istio.io/key-and-cert"
_PREFIX = "istio."
_RETRY_SECONDS = 0.5
# A mesh waits for its secrets while the API server is busiest: requests overlap.
_WORKERS = 4

_Key = tuple[str, str]  # namespace and name of a ServiceAccount


class Controller:
    """Watches ServiceAccounts and the Secrets made for them, and makes the second follow the first."""

    def __init__(
        self,
        api: ClusterApi,
        authority: Authority,
        *,
        first: str,
        dns_names: Callable[[str, str], Sequence[str]],
    ) -> None:
        """Start nothing yet.

        Args:
            api: The API server.
            authority: Issues the certificates.
            first: The namespace whose accounts come before all others: the control plane's, which waits.
            dns_names: Names besides the identity, by namespace and name of an account.
        """
        self._api = api
        self._authority = authority
        self._first = first
        self._dns_names = dns_names
        self._accounts: set[_Key] = set()
        self._certificates: dict[_Key, bytes] = {}
        self._known = (threading.Event(), threading.Event())
        self._order = itertools.count()
        self._due: queue.PriorityQueue[tuple[bool, int, _Key]] = queue.PriorityQueue()
        self.issued = 0

    def start(self) -> None:
        """Watch and work in threads of its own."""
        for work in (self._watch_secrets, self._watch_accounts, *[self._work] * _WORKERS):
            threading.Thread(target=work, daemon=True).start()

    def _watch_accounts(self) -> None:
        for event in self._api.watch("/api/v1/serviceaccounts", on_error=_log_watch_error):
            changed = {_key(each) for each in event.objects}
            before = set(self._accounts)
            if event.type == "LISTED":
                self._accounts = changed
            elif event.type == "DELETED":
                self._accounts -= changed
            else:
                self._accounts |= changed
            self._enqueue(before ^ self._accounts)
            self._known[0].set()

    def _watch_secrets(self) -> None:
        query = {"fieldSelector": f"type={_TYPE}"}
        for event in self._api.watch("/api/v1/secrets", query=query, on_error=_log_watch_error):
            self._enqueue(self._note_secrets(event))
            self._known[1].set()

    def _note_secrets(self, event: Event) -> set[_Key]:
        """Remember the certificates that there are, and return whose may have changed."""
        found = {_account_of(each): _certificate(each) for each in event.objects if _is_ours(each)}
        if event.type == "LISTED":
            vanished = set(self._certificates) - set(found)
            self._certificates = found
            return vanished | set(found)
        if event.type == "DELETED":
            for key in found:
                self._certificates.pop(key, None)
        else:
            self._certificates.update(found)
        return set(found)

    def _enqueue(self, keys: set[_Key]) -> None:
        for key in sorted(keys):
            self._due.put((key[0] != self._first, next(self._order), key))

    def _work(self) -> None:
        # With one list only, every account would lack its secret, or every secret its account.
        for known in self._known:
            known.wait()
        while True:
            key = self._due.get()[2]
            try:
                self._reconcile(*key)
            except (ApiError, OSError, http.client.HTTPException) as error:
                # Where a namespace is being deleted this ends with the account.
                log("will try again", level="warn", account=_named(key), error=str(error))
                threading.Timer(_RETRY_SECONDS, self._enqueue, [{key}]).start()

    def _reconcile(self, namespace: str, account: str) -> None:
        key = (namespace, account)
        collection = f"/api/v1/namespaces/{namespace}/secrets"
        path = f"{collection}/{_PREFIX}{account}"
        certificate = self._certificates.get(key)
        if key not in self._accounts:
            if certificate is not None:
                self._api.request("DELETE", path)
                log("secret removed with its account", account=_named(key))
        elif certificate is None:
            self._create(collection, path, key)
        elif not self._authority.vouches_for(certificate):
            self._api.request("PUT", path, self._secret(*key))
            log("secret replaced", account=_named(key), reason="of another root, or half of its life is over")

    def _create(self, collection: str, path: str, key: _Key) -> None:
        try:
            self._api.request("POST", collection, self._secret(*key))
            log("secret issued", account=_named(key))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            # Made by another Citadel, or by another thread a moment ago.
            self._certificates[key] = _certificate(self._api.request("GET", path))
            self._enqueue({key})

    def _secret(self, namespace: str, account: str) -> Object:
        identity = f"spiffe://cluster.local/ns/{namespace}/sa/{account}"
        pair = self._authority.issue(identity, self._dns_names(namespace, account))
        self.issued += 1
        files = {
            "root-cert.pem": self._authority.root.certificate,
            "cert-chain.pem": pair.certificate,
            "key.pem": pair.key,
        }
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": _TYPE,
            "metadata": {
                "name": _PREFIX + account,
                "namespace": namespace,
                "annotations": {"istio.io/service-account.name": account},
            },
            "data": {name: base64.b64encode(pem).decode() for name, pem in files.items()},
        }


def _key(obj: Object) -> _Key:
    return obj["metadata"]["namespace"], obj["metadata"]["name"]


def _account_of(secret: Object) -> _Key:
    namespace, name = _key(secret)
    return namespace, name.removeprefix(_PREFIX)


def _is_ours(secret: Object) -> bool:
    return str(secret["metadata"]["name"]).startswith(_PREFIX)


def _certificate(secret: Object) -> bytes:
    return base64.b64decode((secret.get("data") or {}).get("cert-chain.pem", ""))


def _named(key: _Key) -> str:
    return "/".join(key)


def _log_watch_error(error: Exception) -> None:
    log("watch interrupted", level="warn", error=str(error))

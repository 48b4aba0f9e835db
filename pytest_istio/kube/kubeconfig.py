"""Reading kubeconfigs through the official client, in bounded time and with one line about what is wrong."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_native_id
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from kubernetes.client import Configuration
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from pytest_istio.errors import ClusterError
from pytest_istio.kube.deadline import OverdueError, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubernetes.config.kube_config import ConfigNode

__all__ = ["bounded", "contexts", "load", "unusable"]

T = TypeVar("T")

MAX_BYTES = 2**20
"""The size of a kubeconfig, and of each file that it names; a hundred contexts with keys are below it."""

FILES = {
    "tokenFile": "token",
    "certificate-authority": "certificate-authority-data",
    "client-certificate": "client-certificate-data",
    "client-key": "client-key-data",
}
"""What names files, and beside what the official client does not look at them."""

IMPERSONATION = ("as", "as-uid", "as-groups", "as-user-extra")
"""What has kubectl act as somebody else. The official client passes over it, and would act as the user."""

LOGIN_SECONDS = 60.0
"""How long reading may take, with the program that a context names for logging in."""


def contexts(kubeconfig: Path) -> list[str]:
    """Return the names of the contexts of a kubeconfig, or of several that ``:`` separates.

    Raises:
        ClusterError: It cannot be read.
    """

    def read() -> list[str]:
        # Not list_kube_config_contexts, which wants a current context, though the user names one.
        names = [each.value["name"] for each in _merged(kubeconfig).value["contexts"]]
        # YAML takes yes, 1.0 or a date for something else than a name.
        return sorted(name for name in names if isinstance(name, str))

    return bounded(kubeconfig, None, read)


def load(kubeconfig: Path | None, context: str | None, folder: str) -> Configuration:
    """Return the official client's configuration for a context, logged in.

    Args:
        kubeconfig: The file; None for ``KUBECONFIG`` or the one in the home folder.
        context: A context of the file; None for its current one.
        folder: Where the client writes the certificates and keys that the file embeds.

    Raises:
        ClusterError: It cannot be read, has no such context or not all that it names, its program for logging
            in fails or hangs, or its user acts as somebody else.
    """

    def read() -> Configuration:
        configuration = Configuration()
        merged = _merged(kubeconfig)
        _check_context(merged, context)
        with _errors_raised():
            loader = KubeConfigLoader(  # type: ignore[no-untyped-call]
                merged, context, config_base_path=None, temp_file_path=folder
            )
            loader.load_and_set(configuration)  # type: ignore[no-untyped-call]
        _check_server(configuration.host)
        return configuration

    return bounded(kubeconfig, context, read)


def unusable(kubeconfig: Path | None, context: str | None, error: Exception) -> str:
    """Return the message about a kubeconfig that cannot be used for a reason."""
    file = f"kubeconfig {kubeconfig}" if kubeconfig else "kubeconfig (KUBECONFIG or ~/.kube/config)"
    chosen = f", context {context!r}" if context else ""
    if kubeconfig and os.pathsep not in str(kubeconfig) and not kubeconfig.exists():
        return f"{file}: no such file."
    why = " ".join(str(error).split())
    if isinstance(error, LookupError | TypeError | AttributeError | RecursionError):
        why = f"its shape is not that of a kubeconfig ({type(error).__name__}: {why})"
    return f"{file}{chosen} cannot be used: {why}. See `kubectl config get-contexts`."


def bounded(kubeconfig: Path | None, context: str | None, read: Callable[[], T]) -> T:
    """Return what reading a kubeconfig gives, which may call the program that it names for logging in.

    Raises:
        ClusterError: It fails, or hangs; then the program is ended.
    """
    threads = []

    def attempt() -> T:
        threads.append(get_native_id())
        return read()

    try:
        _check_files(kubeconfig)
        return within(LOGIN_SECONDS, attempt, "kubeconfig")
    except OverdueError as error:
        for program in _started_by(Path("/proc/self/task"), str(threads[0])):
            with suppress(OSError):
                os.kill(program, signal.SIGKILL)
        hangs = ValueError(
            f"reading it was not done within {LOGIN_SECONDS:.0f} s; the program that it names for logging in "
            "hangs, or waits for an input. Log in beforehand"
        )
        raise ClusterError(unusable(kubeconfig, context, hangs)) from error
    except Exception as error:
        # The client raises whatever a file of another shape happens to bring about in its code.
        raise ClusterError(unusable(kubeconfig, context, error)) from error


def _named(kubeconfig: Path | None) -> str:
    return str(kubeconfig) if kubeconfig else os.environ.get("KUBECONFIG") or "~/.kube/config"


def _merged(kubeconfig: Path | None) -> ConfigNode:
    # The client annotates only a part of itself.
    merged: ConfigNode | None = KubeConfigMerger(_named(kubeconfig)).config  # type: ignore[no-untyped-call]
    if merged is None:
        msg = "there is no such file"
        raise ValueError(msg)
    return merged


def _check_files(kubeconfig: Path | None) -> None:
    for name in filter(None, _named(kubeconfig).split(os.pathsep)):
        path = Path(name).expanduser()
        if path.exists() and not path.is_file():
            msg = f"{path} is not a regular file"
            raise ValueError(msg)
        if path.exists() and path.stat().st_size > MAX_BYTES:
            msg = f"{path} is larger than {MAX_BYTES // 2**20} MiB"
            raise ValueError(msg)


class _Errors(logging.Handler):
    """Keeps what one thread logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []
        self._thread = get_native_id()

    def emit(self, record: logging.LogRecord) -> None:
        if get_native_id() == self._thread:
            self.said.append(record.getMessage())


@contextmanager
def _errors_raised() -> Iterator[None]:
    """Raise what the client only logs: that logging in failed, after which it would ask as nobody."""
    errors = _Errors()
    logging.getLogger().addHandler(errors)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(errors)
    if errors.said:
        raise ValueError("; ".join(errors.said))


def _started_by(tasks: Path, thread: str = "*") -> Iterator[int]:
    """Give the processes that a thread has started, and what they have; only Linux tells."""
    for listed in tasks.glob(f"{thread}/children"):
        with suppress(OSError):
            for process in listed.read_text(encoding="utf-8").split():
                yield from _started_by(Path("/proc") / process / "task")
                yield int(process)


def _check_context(config: ConfigNode, context: str | None) -> None:
    chosen = config["contexts"].get_with_name(context or config["current-context"])["context"]
    for kind in ("cluster", "user"):
        # A context without a user asks as nobody on purpose; without a cluster the client refuses it.
        if name := chosen.safe_get(kind):
            found = config[f"{kind}s"].get_with_name(name, safe=True)
            if found is None:
                # The client would ask as nobody.
                msg = f"the context names the {kind} {name!r}, which is not under {kind}s"
                raise ValueError(msg)
            _check_impersonation(found[kind])
            _check_named_files(found[kind])


def _check_impersonation(user: ConfigNode) -> None:
    names = [name for name in IMPERSONATION if user.value.get(name)]
    if names:
        msg = (
            f"its user acts as somebody else ({', '.join(names)}), which is not supported; "
            "name a context without these"
        )
        raise ValueError(msg)


def _check_named_files(node: ConfigNode) -> None:
    """Refuse files that the client would read for ever: pipes, devices and gigantic ones."""
    for name, data in FILES.items():
        if name in node and data not in node:
            # As the client finds it, which passes over links before a "..".
            path = Path(os.path.normpath(Path(node.path).absolute().parent / node[name]))
            # What is missing is told by the client.
            if path.exists() and (not path.is_file() or path.stat().st_size > MAX_BYTES):
                msg = f"its {name} {path} is no file of at most {MAX_BYTES // 2**10} KiB"
                raise ValueError(msg)


def _check_server(url: str) -> None:
    try:
        parts = urlsplit(url)
        # Asked for, as a port out of range shows only then.
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        msg = f"its server {url!r} is no URL such as https://127.0.0.1:6443"
        raise ValueError(msg)
    if parts.username is not None:
        # Told without it, as messages and reports name the server.
        msg = "the URL of its server holds credentials; give them under users, where they stay secret"
        raise ValueError(msg)

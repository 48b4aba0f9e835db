"""What a program finds in its container: files, environment and command line."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest_istio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pytest_istio.local.api import Object
    from pytest_istio.local.images import Program
    from pytest_istio.local.node.owner import Owner

__all__ = ["command_line", "exec_line", "has_sidecar", "listen_host", "process_environment", "write_files"]

_SIDECAR = "istio-proxy"
# These divert a pod's traffic to its sidecar; istio-validation checks that a CNI plugin did.
_DIVERTERS = frozenset({"istio-init", "istio-validation"})
_SIDECAR_PORT = 15001
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def has_sidecar(pod: Object) -> bool:
    """Tell whether a pod's traffic goes through a sidecar.

    Pods of the control plane have a proxy beside them that nothing is diverted to.
    """
    return any(item["name"] in _DIVERTERS for item in pod["spec"].get("initContainers", []))


def listen_host(owner: Owner, container: str) -> str:
    """Return the loopback address at which a container of a pod listens."""
    plan = owner.context.plan
    if has_sidecar(owner.pod) and container != _SIDECAR:
        return plan.application(owner.ip)
    return plan.wire(owner.ip, 0)[0]


def write_files(root: Path, owner: Owner, program: Program) -> None:
    """Write the files that are in every container: the commands of its image and ``/etc/hosts``."""
    (root / "etc").mkdir(parents=True)
    spec, name = owner.pod["spec"], owner.pod["metadata"]["name"]
    aliases = [f"{alias['ip']}\t{' '.join(alias['hostnames'])}" for alias in spec.get("hostAliases", [])]
    hosts = ["127.0.0.1\tlocalhost", f"{owner.ip}\t{name}", *aliases]
    (root / "etc" / "hosts").write_text("\n".join(hosts) + "\n", encoding="utf-8")
    (root / "bin").mkdir()
    for command, module in program.commands.items():
        wrapper = root / "bin" / command
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m {module} "$@"\n')
        wrapper.chmod(0o700)


def process_environment(
    owner: Owner, spec: Object, root: Path, declared: Mapping[str, str]
) -> dict[str, str]:
    """Return the environment of a container's processes.

    Args:
        owner: The pod.
        spec: The container's spec.
        root: The folder that stands for the container's root.
        declared: What the spec declares; it is never overridden.
    """
    context, pod, name = owner.context, owner.pod, spec["name"]
    values = {
        "HOME": str(root),
        "HOSTNAME": pod["metadata"]["name"],
        "KUBERNETES_SERVICE_HOST": context.plan.api_service,
        "KUBERNETES_SERVICE_PORT": "443",
        "LANG": "C.UTF-8",
        "LOCAL_ADDRESSES": str(context.hosts),
        "LOCAL_LISTEN": listen_host(owner, name),
        "LOCAL_POD_IP": owner.ip,
        "LOCAL_PORT_SHIFT": str(context.plan.port_shift),
        "PODROOT": str(root),
        # A program that runs out of a checkout must find itself again.
        "PYTHONPATH": str(Path(pytest_istio.__file__).parents[1]),
        "PYTHONUNBUFFERED": "1",
    }
    main = [container["name"] for container in pod["spec"]["containers"]]
    if has_sidecar(pod) and name in main and name != _SIDECAR:
        values |= _proxy(context.plan.wire(owner.ip, _SIDECAR_PORT))
    path = declared.get("PATH", _PATH)
    return {**values, **declared, "PATH": f"{root / 'bin'}{os.pathsep}{path}"}


def _proxy(address: tuple[str, int]) -> dict[str, str]:
    """Return what makes HTTP clients use the sidecar; there is no iptables to make them."""
    proxy = f"http://{address[0]}:{address[1]}"
    no_proxy = "127.0.0.1,localhost"
    return {"http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": no_proxy, "NO_PROXY": no_proxy}


def command_line(program: Program, arguments: Sequence[str]) -> list[str]:
    """Return the command line of a container, given the command and arguments of its spec."""
    return [sys.executable, "-m", program.module, *arguments]


def exec_line(root: Path, argv: Sequence[str]) -> list[str]:
    """Return the command line of a command in a container.

    A command of the image is meant by whatever path it has in the real image; everything else is looked
    up as usual, on the machine.
    """
    own = root / "bin" / Path(argv[0]).name
    return [str(own) if own.exists() else argv[0], *argv[1:]]

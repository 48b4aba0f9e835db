"""Whether this host can run a Kubernetes node of a version in a container, found out before one is made."""

from __future__ import annotations

import re
import shutil
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from pytest_istio.errors import ClusterError
from pytest_istio.findings import finding

if TYPE_CHECKING:
    from pytest_istio.clusters.engine import Engine

__all__ = ["check_host", "default_image"]

FOLDER = Path(__file__).resolve().parent
# Older kubelets know only version 1 of control groups; newer ones refuse it unless told otherwise.
_FIRST_WITH_CGROUP_2 = (1, 19)
_FIRST_WITHOUT_CGROUP_1 = (1, 35)
# Istio's released images were for amd64 alone before this version.
_FIRST_ISTIO_ON_ARM = (1, 15)
# What the control plane of Kubernetes takes, and what Istio's pods request at the least.
_MEMORY = 3 * 2**30
# Room for a node image and Istio's images.
_STORAGE = 4 * 2**30


@cache
def default_image(istio: str) -> str:
    """Return the node image for a version of Istio, such as ``docker.io/kindest/node:v1.21.14``.

    Raises:
        ClusterError: No node image is known for it.
    """
    images = yaml.load((FOLDER / "node_images.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    minor = istio.rpartition(".")[0]
    if minor not in images:
        raise ClusterError(
            f"No default node image is known for Istio {istio}; name one with --istio-kind-image, "
            "such as docker.io/kindest/node:v1.34.0."
        )
    image: str = images[minor]["image"]
    return image


def check_host(engine: Engine, image: str, istio: str) -> None:
    """Return if a node of the image can be expected to start here and to hold Istio.

    Args:
        engine: The container engine.
        image: The node image; where its tag names no Kubernetes version, that is not judged.
        istio: The version of Istio.

    Raises:
        ClusterError: It cannot; says why, and which combination would work.
    """
    problem = _cgroup_problem(engine, image, istio) or _architecture_problem(engine, istio) or _room(engine)
    if problem:
        raise ClusterError(f"--istio-cluster=kind cannot work here, so nothing was created.\n{problem}")


def _cgroup_problem(engine: Engine, image: str, istio: str) -> str | None:
    tag = re.search(r":v?(\d+)\.(\d+)\.\d+", image)
    if tag is None:
        return None
    version = int(tag[1]), int(tag[2])
    if engine.cgroup == 1 and version >= _FIRST_WITHOUT_CGROUP_1:
        expected, cause = "a host with cgroup v2", "kubelets from 1.35 on refuse cgroup v1"
        works = f"a node image of {_shown(_FIRST_WITHOUT_CGROUP_1, -1)} or older"
    elif engine.cgroup != 1 and version < _FIRST_WITH_CGROUP_2:
        expected, cause = "a host with cgroup v1", "kubelets before 1.19 know only cgroup v1"
        works = f"a node image of {_shown(_FIRST_WITH_CGROUP_2)} or newer"
    else:
        return None
    return finding(
        f"node image {image}",
        expected=expected,
        seen=f"cgroup v{engine.cgroup}",
        cause=cause,
        look=f"with {works}, such as --istio-kind-image={default_image(istio)}, it works here",
    )


def _architecture_problem(engine: Engine, istio: str) -> str | None:
    major, minor = (int(part) for part in istio.split(".")[:2])
    if engine.architecture == "amd64" or (major, minor) >= _FIRST_ISTIO_ON_ARM:
        return None
    return finding(
        f"Istio {istio}",
        expected="a container engine on amd64",
        seen=engine.architecture,
        cause=f"before {_shown(_FIRST_ISTIO_ON_ARM)} Istio's images were released for amd64 alone",
        look="run it where containers are amd64: another host, or an existing cluster (--istio-context)",
    )


def _room(engine: Engine) -> str | None:
    if engine.memory < _MEMORY:
        return finding(
            f"the memory of {engine.program}",
            expected=_amount(_MEMORY),
            seen=_amount(engine.memory),
            cause="the machine, or the engine's virtual machine, is too small for Kubernetes and Istio",
            look=f"{engine.program} info",
        )
    try:
        free = shutil.disk_usage(engine.storage).free
    except OSError:
        # An engine that runs elsewhere has its storage there, and one of root's may let nobody look at it.
        return None
    if free < _STORAGE:
        return finding(
            f"the disk under {engine.storage}",
            expected=f"{_amount(_STORAGE)} free",
            seen=_amount(free),
            cause="images and volumes that nobody uses any more",
            look=f"{engine.program} system df",
        )
    return None


def _shown(version: tuple[int, int], add: int = 0) -> str:
    return f"{version[0]}.{version[1] + add}"


def _amount(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"

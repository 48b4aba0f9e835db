"""The container engine that kind uses: Docker or Podman, and what its host is like."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import ClusterError
from pytest_istio.local.processes import asked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_istio.progress import Progress

__all__ = ["Engine", "engine_of", "find_engine", "kind_environment", "nodes_left"]

PROGRAMS = ("docker", "podman")
"""The engines that kind works with, the first that answers being taken."""

# An engine that answers does so in tenths of a second; one that hangs is none.
_ANSWER_SECONDS = 10.0
_ASKED = "KIND_EXPERIMENTAL_PROVIDER"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Engine:
    """A container engine that answers.

    Attributes:
        program: ``docker`` or ``podman``.
        architecture: Of the host of the containers, such as ``amd64``.
        cgroup: The version of control groups that containers get, 1 or 2.
        memory: Bytes of memory of that host; on macOS of the engine's virtual machine.
        storage: Where images are kept; not on this machine when the engine is elsewhere.
        host: The name of that host.
    """

    program: str
    architecture: str
    cgroup: int
    memory: int
    storage: Path
    host: str

    @property
    def place(self) -> str:
        """What tells it from others that its program may lead to."""
        # Docker has an ID for that; but Podman, asked in Docker's way, makes up a new one for each answer.
        return f"{self.host}:{self.storage}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which kind uses this engine."""
        return kind_environment(self.program)

    def inspect(self, image: str) -> dict[str, Any] | None:
        """Return what the engine knows of an image; None if it does not have it.

        Raises:
            ClusterError: The engine does not answer.
        """
        answer = _answer(self.program, "image", "inspect", image)
        return json.loads(answer.stdout)[0] if answer.returncode == 0 else None

    def pull(self, image: str, *, timeout: float, progress: Progress) -> None:
        """Fetch an image.

        Raises:
            ClusterError: The registry refuses it, or it did not arrive in time.
        """
        progress.waiting(f"{self.program} pulls {image}")
        try:
            pulled = _run(self.program, "pull", "--quiet", image, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            why = f"it had not arrived after {timeout:.0f} s"
            raise ClusterError(self._not_pulled(image, why)) from error
        except OSError as error:
            raise ClusterError(self._not_pulled(image, _not_run(error))) from error
        if pulled.returncode != 0:
            raise ClusterError(self._not_pulled(image, _last_line(pulled.stderr)))

    def save(self, images: Iterable[str], path: Path, *, timeout: float) -> None:
        """Write images that it has into an archive.

        Raises:
            ClusterError: It fails to, or was not done in time.
        """
        # Podman's archives hold one image unless it is told otherwise.
        several = ["--multi-image-archive"] if self.program == "podman" else []
        try:
            saved = _run(self.program, "save", *several, "--output", str(path), *images, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"`{self.program} save`: not done after {timeout:.0f} s") from error
        except OSError as error:
            raise ClusterError(f"`{self.program} save`: {_not_run(error)}") from error
        if saved.returncode != 0:
            raise ClusterError(f"`{self.program} save` failed: {_last_line(saved.stderr)}")

    def published(self, container: str) -> dict[str, int]:
        """Return the ports of this machine at which ports of a container are reached, by the container's.

        Raises:
            ClusterError: The engine does not answer.
        """
        ports = {}
        for line in _answer(self.program, "port", container).stdout.splitlines():
            # Such as "31380/tcp -> 127.0.0.1:40123".
            inside, _, outside = line.partition(" -> ")
            ports[inside.partition("/")[0]] = int(outside.rpartition(":")[2])
        return ports

    def _not_pulled(self, image: str, why: str) -> str:
        return (
            f"Image {image} cannot be had: {why}. Nothing was created. Try `{self.program} pull {image}`; "
            f"where the registry is out of reach, load the image from a file (`{self.program} load`) "
            "or name another with --istio-kind-image."
        )


def kind_environment(program: str) -> dict[str, str]:
    """Return the environment in which kind uses the engine of that name."""
    return {**os.environ, _ASKED: program}


def nodes_left(program: str, cluster: str) -> list[str]:
    """Return the containers that the engine of that name has of a kind cluster.

    Raises:
        ClusterError: It does not answer.
    """
    chosen = ("--filter", f"label=io.x-k8s.kind.cluster={cluster}")
    return _answer(program, "ps", "--all", "--quiet", *chosen).stdout.split()


def _answer(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return _run(program, *words, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(_silent(program, words[0])) from error
    except OSError as error:
        raise ClusterError(f"{program}: {_not_run(error)}") from error


def _run(program: str, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
    return asked([program, *words], seconds=timeout)


def _silent(program: str, command: str) -> str:
    return f"`{program} {command}` does not answer within {_ANSWER_SECONDS:.0f} s; restart its daemon"


def _not_run(error: OSError) -> str:
    return f"it cannot be run: {error}; install it anew"


def engine_of(program: str) -> Engine:
    """Return the engine that the program of that name leads to.

    Raises:
        ClusterError: It cannot be used; says what is the matter and what helps.
    """
    answer = _ask(program)
    if isinstance(answer, Engine):
        return answer
    raise ClusterError(f"{program}: {answer}")


def find_engine(environment: Mapping[str, str] = os.environ) -> Engine:
    """Return the container engine that kind is going to use.

    Raises:
        ClusterError: None answers, or one is asked for that is not known; says what is the matter with each
            and what helps.
    """
    chosen = environment.get(_ASKED)
    if chosen and chosen not in PROGRAMS:
        raise ClusterError(
            f"{_ASKED}={chosen}: no such container engine is known here; unset it, or set it to "
            f"{' or '.join(PROGRAMS)}"
        )
    troubles = []
    for program in [chosen] if chosen else PROGRAMS:
        answer = _ask(program)
        if isinstance(answer, Engine):
            return answer
        troubles.append(f"  {program}: {answer}")
    raise ClusterError(
        "--istio-cluster=kind needs a container engine, and none can be used:\n" + "\n".join(troubles)
    )


def _ask(program: str) -> Engine | str:
    """Return the engine, or why it cannot be used."""
    if shutil.which(program) is None:
        return "there is no such program on PATH; install it"
    try:
        answer = _run(program, "info", "--format", "{{json .}}", timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        return _silent(program, "info")
    except OSError as error:
        return _not_run(error)
    try:
        facts: dict[str, Any] = json.loads(answer.stdout) if answer.stdout.startswith("{") else {}
        # Some releases of Docker's client tell of a daemon that does not answer inside the document only.
        if trouble := "; ".join(facts.get("ServerErrors") or []) or (answer.returncode and answer.stderr):
            return _explained(program, str(trouble))
        return _podman(facts) if program == "podman" else _docker(facts)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return f"`{program} info` answers what no {program} does: {_last_line(answer.stdout)[:80]}"


def _docker(facts: Mapping[str, Any]) -> Engine:
    machine, host = str(facts["Architecture"]), str(facts.get("Name", ""))
    return Engine("docker", _MACHINES.get(machine, machine), int(facts["CgroupVersion"]),
                  int(facts["MemTotal"]), Path(facts["DockerRootDir"]), host)  # fmt: skip


def _podman(facts: Mapping[str, Any]) -> Engine:
    host, store = facts["host"], facts["store"]
    return Engine("podman", str(host["arch"]), int(host["cgroupVersion"].lstrip("v")),
                  int(host["memTotal"]), Path(store["graphRoot"]), str(host.get("hostname", "")))  # fmt: skip


def _explained(program: str, text: str) -> str:
    lowered = text.lower()
    if "permission denied" in lowered:
        helps = f"add yourself to its group (`sudo usermod -aG {program} $USER`, then log in again)"
        return f"you are not permitted to use it; {helps}: {_last_line(text)}"
    if "cannot connect" in lowered or "connection refused" in lowered or "is the docker daemon" in lowered:
        helps = f"`sudo systemctl start {program}`, or start {program.capitalize()} Desktop"
        if (host := f"{'CONTAINER' if program == 'podman' else 'DOCKER'}_HOST") in os.environ:
            helps += f"; if it is elsewhere, correct {host}"
        return f"its daemon does not run; start it ({helps}): {_last_line(text)}"
    return f"it refuses: {_last_line(text)}"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines() or ["it said nothing"]
    return lines[-1].strip().rstrip(".")

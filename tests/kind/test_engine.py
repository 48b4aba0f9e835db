"""Finding the container engine, and what is said when there is none that can be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters import engine
from pytest_istio.clusters.engine import find_engine
from pytest_istio.errors import ClusterError
from pytest_istio.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

DOCKER = {
    "Architecture": "x86_64",
    "CgroupVersion": "2",
    "MemTotal": 16 * 2**30,
    "DockerRootDir": "/var/lib/docker",
    "Name": "a-host",
}
PODMAN: dict[str, dict[str, object]] = {
    "host": {"arch": "arm64", "cgroupVersion": "v2", "memTotal": 8 * 2**30, "hostname": "a-host"},
    "store": {"graphRoot": "/home/somebody/storage"},
}


def write(path: Path, *, out: object = None, error: str = "", code: int = 0) -> None:
    """Write a program that answers as told, whatever it is asked."""
    lines = ["#!/bin/sh"]
    if out is not None:
        lines.append(f"echo '{json.dumps(out)}'")
    lines += [f"echo '{error}' >&2", f"exit {code}"]
    path.write_text("\n".join(lines))
    path.chmod(0o755)


def test_docker_tells_what_its_host_is_like(programs: Path) -> None:
    write(programs / "docker", out=DOCKER)
    found = find_engine()
    assert (found.program, found.architecture, found.cgroup, found.memory) == (
        "docker", "amd64", 2, 16 * 2**30,
    )  # fmt: skip
    assert found.place == "a-host:/var/lib/docker"


def test_podman_is_taken_where_docker_does_not_answer(programs: Path) -> None:
    write(programs / "docker", error="Cannot connect to the Docker daemon at unix:///x.", code=1)
    write(programs / "podman", out=PODMAN)
    found = find_engine()
    assert (found.program, found.architecture, found.cgroup) == ("podman", "arm64", 2)
    assert found.place == "a-host:/home/somebody/storage"
    assert found.environment["KIND_EXPERIMENTAL_PROVIDER"] == "podman"


def test_the_engine_that_the_user_names_is_the_only_one_tried(programs: Path) -> None:
    write(programs / "docker", out=DOCKER)
    with pytest.raises(ClusterError, match="podman: there is no such program"):
        find_engine({"KIND_EXPERIMENTAL_PROVIDER": "podman"})
    with pytest.raises(ClusterError, match=r"=nerdctl: no such container engine .* to docker or podman"):
        find_engine({"KIND_EXPERIMENTAL_PROVIDER": "nerdctl"})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"error": "Cannot connect to the Docker daemon at unix:///x. Is it running?", "code": 1},
         "its daemon does not run; start it"),
        ({"out": {"ServerErrors": ["Cannot connect to the Docker daemon at unix:///x."]}},
         "its daemon does not run; start it"),
        ({"error": "permission denied while trying to connect to the Docker daemon socket", "code": 1},
         "you are not permitted to use it; add yourself to its group"),
        ({"error": "strange weather", "code": 7}, "it refuses: strange weather"),
    ],
)  # fmt: skip
def test_an_engine_that_cannot_be_used_says_why_and_what_helps(
    programs: Path, answer: dict[str, object], said: str
) -> None:
    write(programs / "docker", **answer)  # type: ignore[arg-type]
    with pytest.raises(ClusterError) as caught:
        find_engine()
    assert f"docker: {said}" in str(caught.value)
    assert "podman: there is no such program on PATH; install it" in str(caught.value)


def test_an_engine_that_is_looked_for_in_the_wrong_place_names_who_says_so(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(programs / "docker", error="Cannot connect to the Docker daemon at tcp://127.0.0.1:9.", code=1)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(ClusterError, match="correct DOCKER_HOST"):
        find_engine()


def test_an_engine_that_hangs_is_given_up(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(programs / "docker", out=DOCKER)
    found = find_engine()
    monkeypatch.setattr(engine, "_ANSWER_SECONDS", 0.2)
    (programs / "docker").write_text("#!/bin/sh\nexec sleep 20\n")
    with pytest.raises(ClusterError, match="`docker info` does not answer within"):
        find_engine()
    with pytest.raises(ClusterError, match="`docker image` does not answer within"):
        found.inspect("an/image")
    with pytest.raises(ClusterError, match="`docker ps` does not answer within"):
        engine.nodes_left("docker", "a-cluster")


def test_an_engine_that_prints_without_end_is_given_up(programs: Path) -> None:
    write(programs / "docker", out=DOCKER)
    found = find_engine()
    (programs / "docker").write_text("#!/bin/sh\nexec /usr/bin/yes\n")
    with pytest.raises(ClusterError, match="docker: it cannot be run: it prints without end; install it"):
        find_engine()
    with pytest.raises(ClusterError, match="an/image cannot be had: it cannot be run: it prints without end"):
        found.pull("an/image", timeout=5, progress=Silent())


@pytest.mark.parametrize(
    ("program", "facts"),
    [
        ("docker", {**DOCKER, "MemTotal": "x"}),
        ("docker", {**DOCKER, "MemTotal": float("inf")}),
        ("docker", {**DOCKER, "DockerRootDir": 1}),
        ("podman", {**PODMAN, "host": {**PODMAN["host"], "memTotal": [1]}}),
    ],
)
def test_an_engine_of_which_nothing_can_be_known_is_none(
    programs: Path, program: str, facts: dict[str, object]
) -> None:
    write(programs / program, out=facts)
    with pytest.raises(ClusterError, match=f"`{program} info` answers what no {program} does"):
        find_engine()


def test_an_image_that_no_registry_gives_is_one_message(programs: Path) -> None:
    write(programs / "docker", out=DOCKER)
    found = find_engine()
    write(programs / "docker", error="Error: pull access denied for nobody/nothing", code=1)
    with pytest.raises(ClusterError, match="nobody/nothing:1 cannot be had: Error: pull access denied"):
        found.pull("nobody/nothing:1", timeout=5, progress=Silent())

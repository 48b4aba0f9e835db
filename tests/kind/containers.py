"""The containers and images of the engine that kind uses in these tests."""

from __future__ import annotations

import os
import subprocess

ENGINE = os.environ.get("KIND_EXPERIMENTAL_PROVIDER", "docker")
SAVE = ("save", "--multi-image-archive") if ENGINE == "podman" else ("save",)
"""How it writes several images into one archive."""


def ask_engine(*words: str, given: str | None = None) -> str:
    """Return what the engine answers to a command."""
    done = subprocess.run([ENGINE, *words], input=given, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def containers(cluster: str | None = None) -> set[str]:
    """Return the containers of the nodes of a cluster; without its name, all."""
    chosen = ["--filter", f"label=io.x-k8s.kind.cluster={cluster}"] if cluster else []
    return set(ask_engine("ps", "--all", "--quiet", *chosen).split())

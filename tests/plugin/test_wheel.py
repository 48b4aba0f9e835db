"""The wheel carries checks and manifests, and works where there is nothing else of the project."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel; what the project depends on is borrowed."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, REPOSITORY], check=True)
    (wheel,) = folder.glob("pytest_istio-*.whl")
    venv.create(folder / "environment", with_pip=False)
    environment = {"base": str(folder / "environment"), "platbase": str(folder / "environment")}
    packages = Path(sysconfig.get_path("purelib", "posix_prefix", vars=environment))
    subprocess.run([*pip, "install", "--no-deps", "--target", packages, wheel], check=True)
    # Of a folder that a .pth file names no .pth files count, so no editable installation.
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "environment" / "bin" / "python"


def run(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "pytest", "--pyargs", "pytest_istio.suites", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_checks_are_collected_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    done = run(installed, tmp_path, "--istio-version=1.0.5", "--collect-only", "-q")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_control_plane.py::test_component_available[istio-pilot]" in done.stdout


def test_who_has_no_tests_is_told_of_the_checks(installed: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed, "-m", "pytest", "--istio-version=1.0.5"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "to run the checks of pytest-istio, add: --pyargs pytest_istio.suites\n" in done.stdout


def test_all_that_is_bundled_is_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    command = "from pytest_istio import paths; print(paths.fixtures_folder())"
    done = subprocess.run(
        [installed, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    folder = Path(done.stdout.strip())
    assert folder.is_relative_to(installed.parents[1])

    def files(below: Path) -> set[Path]:
        return {path.relative_to(below) for path in below.rglob("*") if path.is_file()}

    assert files(folder) == files(REPOSITORY / "fixtures")


def test_checks_run_from_the_wheel(
    installed: Path, tmp_path: Path, kube_binaries: Mapping[str, Path]
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, path in kube_binaries.items():
        (programs / name).symlink_to(path)
    empty = tmp_path / "empty"
    empty.mkdir()
    local = ("--istio-cluster=local", f"--istio-kube-binaries={programs}")
    done = run(installed, empty, "--istio-version=1.0.5", "--istio-profile=smoke", *local)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "REHEARSAL" in done.stdout.splitlines()[-1]

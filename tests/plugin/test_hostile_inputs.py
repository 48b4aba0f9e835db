"""Bad input is one line that says what to do and exit code 4, and nothing was made."""

from __future__ import annotations

import secrets
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.plugin import hostile_places
from tests.plugin.conftest import REPOSITORY
from tests.plugin.hostile_places import Place, give_up_rights

if TYPE_CHECKING:
    from collections.abc import Iterator

INPUTS: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("hostile_inputs.yaml").read_text(encoding="utf-8")
)
CHECKS = """
import pytest

@pytest.mark.istio("PRE-001")
def test_it(istio_cluster): pass
"""
OWN = {"TMPDIR": "tmp", "XDG_STATE_HOME": "state", "XDG_CACHE_HOME": "cache", "HOME": "home"}
"""Variables, and the folders that they name, in which nothing may be left."""
NOWHERE = "http://127.0.0.1:1"
BOUND_SECONDS = 120


@pytest.fixture
def place() -> Iterator[Place]:
    # Not below pytest's own folder, whose long path sockets do not take.
    with tempfile.TemporaryDirectory(prefix="hostile-") as root:
        place = Place(Path(root).resolve())
        place.words["here"] = str(place.here)
        for folder in (place.here, place.programs, *(place.root / name for name in OWN.values())):
            folder.mkdir()
        place.write("test_checks.py", CHECKS)
        yield place
        for end in place.ends:
            end()


def prepare(place: Place, given: dict[str, Any]) -> None:
    for name in given.get("prepare", ()):
        getattr(hostile_places, name)(place)
    for name, text in given.get("files", {}).items():
        place.write(name, text)
    settings = {"istio_version": "1.0.5", "istio_cluster": "local", **given.get("ini", {})}
    place.write(
        "pytest.ini", "\n".join(["[pytest]", *(f"{name} = {value}" for name, value in settings.items())])
    )


def run(place: Place, options: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    others = ("hypothesispytest", "anyio", "randomly", "cacheprovider")
    fixed = {
        "PATH": str(place.programs),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_ADDOPTS": " ".join(f"-p no:{name}" for name in others),
        **{variable: str(place.root / name) for variable, name in OWN.items()},
        # Nothing can be downloaded, and Go has no modules to build of.
        "PYTEST_ISTIO_KUBERNETES_URL": NOWHERE,
        "PYTEST_ISTIO_ETCD_URL": NOWHERE,
        "PYTEST_ISTIO_KIND_URL": NOWHERE,
        "GOPROXY": "off",
        "GOPATH": str(place.root / "go"),
        "GOCACHE": str(place.root / "go" / "cache"),
        "XDG_CONFIG_HOME": str(place.root / "go" / "telemetry"),
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=place.here, env={**fixed, **place.environment, **environment}, capture_output=True, text=True,
        timeout=BOUND_SECONDS, check=False, preexec_fn=give_up_rights if place.bounded else None,
    )  # fmt: skip


def judge(place: Place, given: dict[str, Any], *more: str) -> None:
    """Run pytest and see that it refuses what is given, in one line, and leaves nothing behind."""
    prepare(place, given)
    mark = f"HOSTILE_{secrets.token_hex(8)}"
    filled = [Template(text).safe_substitute(place.words) for text in given.get("options", ())]
    before = contents(place)
    result = run(place, [*filled, *more], {**given.get("environment", {}), mark: "1"})
    printed = result.stdout + result.stderr
    print(printed)
    assert result.returncode == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in printed
    (line,) = (line for line in printed.splitlines() if "ERROR" in line)
    assert line.startswith("ERROR: ")
    # A message of several lines would have the others after the first.
    assert [each for each in result.stderr.splitlines() if each] == [line]
    for words in given["says"]:
        assert Template(words).safe_substitute(place.words) in line
    assert contents(place) - before == set()
    assert list(processes(mark)) == []


def contents(place: Place) -> set[str]:
    """Return what lies in the run's folders, but for pytest-xdist's own."""
    paths = (path for name in ("here", *OWN.values()) for path in (place.root / name).rglob("*"))
    return {text for text in map(str, paths) if "/pytest-of-" not in text}


def processes(mark: str) -> Iterator[int]:
    """Give the processes that have inherited a variable of the environment."""
    for entry in Path("/proc").glob("[0-9]*/environ"):
        # Processes end meanwhile, and those of others cannot be read.
        with suppress(OSError):
            if mark.encode() in entry.read_bytes():
                yield int(entry.parent.name)


@pytest.mark.parametrize("name", INPUTS)
def test_bad_input_is_one_line(place: Place, name: str) -> None:
    judge(place, INPUTS[name])


@pytest.mark.parametrize("name", [name for name, given in INPUTS.items() if given.get("workers")])
def test_bad_input_is_one_line_with_workers_too(place: Place, name: str) -> None:
    judge(place, INPUTS[name], "-n2")

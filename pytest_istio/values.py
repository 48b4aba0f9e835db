"""The values of options: each made of the text that was given, and of the folder that relative paths are in.

What is wrong with a text is raised as a ValueError, whose own text goes on from it: "is not a number".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_istio.timeouts import Timeouts

__all__ = [
    "to_choice",
    "to_docker_config",
    "to_existing",
    "to_feature",
    "to_file",
    "to_folder",
    "to_image",
    "to_kind_name",
    "to_namespace",
    "to_namespaced",
    "to_nodes",
    "to_registry",
    "to_report",
    "to_skip",
    "to_text",
    "to_timeouts",
    "to_version",
    "to_yes",
]

VERSION = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*)){2}")
CHECK = re.compile(r"[A-Z]{2,4}-[0-9]{3}(\[.+\])?")
# The distribution project's grammar of images' names.
HOST = r"[a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]{1,5})?"
PART = r"[a-z0-9]+(([._]|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"{HOST}(/{PART})*")
IMAGE = re.compile(rf"({HOST}/)?{PART}(/{PART})*(:\w[\w.-]{{0,127}})?(@sha256:[0-9a-f]{{64}})?", re.ASCII)
# RFC 1123, what the API server demands of a namespace's name.
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def to_version(value: str, folder: Path) -> str:
    if not VERSION.fullmatch(value):
        raise ValueError("is not a version such as 1.0.5")
    return value


def to_namespace(value: str, folder: Path) -> str:
    return _label(value, "a namespace")


def to_kind_name(value: str, folder: Path) -> str:
    return _label(value, "a name of a kind cluster")


def _label(value: str, what: str) -> str:
    if not LABEL.fullmatch(value):
        raise ValueError(f"is not {what}: lower-case letters, digits and '-', at most 63")
    return value


def to_namespaced(value: str, folder: Path) -> tuple[str, str]:
    namespace, _, name = value.partition("/")
    if not (LABEL.fullmatch(namespace) and LABEL.fullmatch(name)):
        raise ValueError("is not NAMESPACE/NAME such as istio-system/istio-ingressgateway")
    return namespace, name


def to_text(value: str, folder: Path) -> str:
    if not value.strip():
        raise ValueError("is no name")
    return value


def to_image(value: str, folder: Path) -> str:
    if not IMAGE.fullmatch(value):
        raise ValueError("is no name of an image such as docker.io/curlimages/curl:8.16.0")
    return value


def to_choice(*choices: str) -> Callable[[str, Path], str]:
    def convert(value: str, folder: Path) -> str:
        if value not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return value

    return convert


def to_yes(value: str, folder: Path) -> bool:
    if value not in ("yes", "no"):
        raise ValueError("is neither yes nor no")
    return value == "yes"


def to_feature(value: str, folder: Path) -> str:
    if not LABEL.fullmatch(value):
        raise ValueError("is not a feature such as automatic-injection; see `pytest-istio list`")
    return value


def to_registry(value: str, folder: Path) -> tuple[str, str]:
    """Return prefix and place of a mapping ``PREFIX=PLACE`` of images' names.

    Raises:
        ValueError: It is none.
    """
    prefix, _, place = (part.strip("/") for part in value.partition("="))
    if not REPOSITORY.fullmatch(prefix) or not REPOSITORY.fullmatch(place):
        raise ValueError("is not PREFIX=PLACE such as docker.io/istio=registry.example.com/istio")
    return prefix, place


def to_skip(value: str, folder: Path) -> tuple[str, str]:
    name, _, reason = value.partition("=")
    if not CHECK.fullmatch(name) or not reason.strip():
        raise ValueError("is not ID=REASON such as 'ING-002=no gateway here'")
    return name, reason.strip()


def to_path(value: str, folder: Path) -> Path:
    if not value or "\0" in value:
        raise ValueError("is no path")
    try:
        return folder / Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"is in no home folder: {error}") from None


def to_existing(value: str, folder: Path) -> Path:
    path = to_path(value, folder)
    try:
        path.stat()
    except FileNotFoundError:
        raise ValueError(f"does not exist (looked for {path})") from None
    except OSError as error:
        raise ValueError(f"cannot be used: {error.strerror} (looked for {path})") from None
    return path


def to_file(value: str, folder: Path) -> Path:
    path = to_existing(value, folder)
    if not path.is_file():
        raise ValueError(f"is no file (looked at {path})")
    return path


def to_folder(value: str, folder: Path) -> Path:
    path = to_existing(value, folder)
    if not path.is_dir():
        raise ValueError(f"is no folder (looked at {path})")
    return path


def to_report(value: str, folder: Path) -> Path:
    from pytest_istio.report.writers import check

    path = to_path(value, folder)
    check(path)
    return path


def to_docker_config(value: str, folder: Path) -> Path:
    from pytest_istio.istio.pull_secret import read

    path = to_existing(value, folder)
    read(path)
    return path


def to_nodes(value: str, folder: Path) -> int:
    if not re.fullmatch(r"[1-9]", value):
        raise ValueError("is not a number from 1 to 9")
    return int(value)


def to_timeouts(value: str, folder: Path) -> Timeouts:
    from pytest_istio.timeouts import Timeouts

    try:
        factor = float(value)
    except ValueError:
        factor = 0.0
    if not 0.1 <= factor <= 100:  # noqa: PLR2004 (also keeps out inf and nan)
        raise ValueError("is not a number from 0.1 to 100")
    return Timeouts().scaled(factor)

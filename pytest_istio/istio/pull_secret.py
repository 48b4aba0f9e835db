"""Credentials for images: the user's docker config, as a Secret wherever the run's pods are.

What is in the file goes to the API server and nowhere else: no message and no report has it.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import BadSettingError
from pytest_istio.kube.apply import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.objects import Object
    from pytest_istio.settings import Settings

__all__ = ["NAME", "give", "read", "secrets", "with_pull_secret"]

NAME = "pytest-istio-pull"
"""The name of the Secret."""
TYPE = "kubernetes.io/dockerconfigjson"
KEY = ".dockerconfigjson"
MAX_BYTES = 2**20
"""What a Secret can hold: https://kubernetes.io/docs/concepts/configuration/secret/ (v1.34)."""
CREDENTIALS = ("auth", "identitytoken", "registrytoken", "username")
"""What an entry of a registry holds, one of them at least, to be of use to a kubelet."""


def read(path: Path) -> str:
    """Return the text of a docker config that holds credentials.

    The form is that of ``~/.docker/config.json``, which is also what ``kubectl create secret docker-registry
    --from-file`` takes.

    Raises:
        ValueError: It is none; says what was expected, and nothing of what is in it.
    """
    if path.exists() and not path.is_dir() and not (path.is_file() and path.stat().st_size <= MAX_BYTES):
        raise ValueError(f"is no file of at most {MAX_BYTES // 2**10} KiB, as a Secret can hold")
    try:
        text = path.read_text(encoding="utf-8")
        auths = json.loads(text)["auths"]
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        auths = None
    if not isinstance(auths, dict) or not all(isinstance(entry, dict) for entry in auths.values()):
        raise ValueError(
            'is not a docker config: JSON such as {"auths": {"registry.example.com": {"auth": …}}}'
        )
    if not any(entry.get(name) for entry in auths.values() for name in CREDENTIALS):
        raise ValueError(
            "holds no credentials; where docker keeps them in a store of the system, write a file with an "
            '"auth" for each registry: the base64 of USER:PASSWORD'
        )
    return text


def secrets(settings: Settings, namespaces: Iterable[str]) -> list[Object]:
    """Return the Secret for each of the namespaces; none where no credentials were given.

    Raises:
        BadSettingError: The file is not any more what it was when the options were read.
    """
    if settings.image_pull_secret is None:
        return []
    try:
        text = read(settings.image_pull_secret)
    except ValueError as error:
        raise BadSettingError(f"--istio-image-pull-secret: {settings.image_pull_secret} {error}") from None
    encoded = base64.b64encode(text.encode()).decode()
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": NAME, "namespace": namespace},
            "type": TYPE,
            "data": {KEY: encoded},
        }
        for namespace in sorted(set(namespaces))
    ]


def with_pull_secret(objects: Iterable[Object], settings: Settings) -> list[Object]:
    """Return the objects, with the Secret named in all pods and pod templates if credentials were given."""
    if settings.image_pull_secret is None:
        return list(objects)
    return [_using(each) if each["kind"] in WORKLOADS else each for each in objects]


def give(mesh: Mesh, namespace: str) -> None:
    """Have the pods of a namespace pull with the credentials, if some were given.

    Those pods are not the run's own, so it is the namespace's service account, which must be there, that
    names the Secret.

    Raises:
        KubeError: The API server refuses it.
    """
    made = secrets(mesh.settings, [namespace])
    if not made:
        return
    for secret in made:
        mesh.kube.create({**secret, "metadata": {**secret["metadata"], "labels": mesh.labels}})
    mesh.kube.patch("v1", "ServiceAccount", "default", namespace, {"imagePullSecrets": [{"name": NAME}]})


def _using(value: Any) -> Any:  # noqa: ANN401  (a JSON value)
    """Return a workload with the Secret named wherever it describes a pod."""
    if isinstance(value, list):
        return [_using(each) for each in value]
    if not isinstance(value, dict):
        return value
    used = {key: _using(each) for key, each in value.items()}
    given = value.get("imagePullSecrets") or []
    # Of another shape, they are for the API server to refuse.
    if isinstance(value.get("containers"), list) and isinstance(given, list):
        used["imagePullSecrets"] = [*given, {"name": NAME}]
    return used

"""Kubeconfigs that name a program to log in with, or that would wait for somebody."""

from __future__ import annotations

import json
import operator
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pytest_istio.errors import ClusterError
from pytest_istio.kube import connection, kubeconfig
from pytest_istio.kube.client import Kube
from pytest_istio.kube.polling import until
from pytest_istio.local.pki import Authority
from pytest_istio.local.processes import started_at

if TYPE_CHECKING:
    from collections.abc import Callable


def write(path: Path, *, server: str = "https://127.0.0.1:1", user: dict[str, Any] | None = None) -> Path:
    config = {
        "clusters": [{"name": "c", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(json.dumps(config))
    return path


def credential(**status: str) -> str:
    """Return what a program for logging in prints."""
    api_version = "client.authentication.k8s.io/v1"
    return json.dumps({"apiVersion": api_version, "kind": "ExecCredential", "status": status})


def login(code: str) -> dict[str, Any]:
    """Return a user who logs in with a Python program."""
    api_version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": api_version, "command": sys.executable, "args": ["-c", code]}}


def refusal(path: Path) -> str:
    """Return what is said of a kubeconfig, in one line."""
    with pytest.raises(ClusterError) as caught:
        Kube.connect(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"kubeconfig {path}")
    return message


def test_empty_parts_of_several_names_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "k")
    for named in (f":{path}", f"{path}:", f"{tmp_path}/absent:{path}"):
        assert kubeconfig.contexts(Path(named)) == ["c"]
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ClusterError, match=r"KUBECONFIG or ~/.kube/config.* cannot be used") as caught:
        kubeconfig.load(None, "nowhere", str(tmp_path))
    assert "regular file" not in str(caught.value)


def test_a_program_that_logs_in_gives_the_token(tmp_path: Path) -> None:
    path = write(tmp_path / "k", user=login(f"print({credential(token='abc')!r})"))
    kube = Kube.connect(path)
    assert kube._connection.authorization() == {"authorization": "Bearer abc"}


def test_a_program_that_fails_to_log_in_is_quoted(tmp_path: Path) -> None:
    user = login("import sys; sys.exit('your session has run out,\\n run `cloud login`')")
    said = refusal(write(tmp_path / "k", user=user))
    assert "process returned 1. your session has run out, run `cloud login`" in said


def test_a_program_that_is_missing_is_named(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/nowhere/aws"}}
    assert "No such file or directory: '/nowhere/aws'" in refusal(write(tmp_path / "k", user=user))


def test_a_program_that_hangs_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "LOGIN_SECONDS", 8.0)
    code = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        f"open({str(tmp_path / 'pids')!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "child.wait()"
    )
    said = refusal(write(tmp_path / "k", user=login(code)))
    assert (
        "not done within 8 s; the program that it names for logging in hangs, or waits for an input" in said
    )
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2
    assert not until(lambda: any(started_at(int(pid)) for pid in pids), operator.not_, timeout=5.0)


def test_a_program_that_hangs_when_it_logs_in_again_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    code = (
        "import os, pathlib, time\n"
        f"pids = pathlib.Path({str(pids)!r})\n"
        "again = pids.exists()\n"
        "pids.write_text(str(os.getpid()))\n"
        "if again: time.sleep(300)\n"
        f"print({credential(token='abc', expirationTimestamp='2018-12-18T12:00:00Z')!r})"
    )
    kube = Kube.connect(write(tmp_path / "k", user=login(code)))
    monkeypatch.setattr(kubeconfig, "LOGIN_SECONDS", 8.0)
    with pytest.raises(ClusterError, match="not done within 8 s; the program that it names for logging in"):
        kube.request("GET", "/version")
    assert not until(lambda: started_at(int(pids.read_text())), operator.not_, timeout=5.0)


@pytest.mark.parametrize(
    "impersonation",
    [{"as": "boss"}, {"as-groups": ["bosses"]}, {"as-uid": "1"}, {"as-user-extra": {"scopes": ["view"]}}],
)
def test_a_user_who_acts_as_somebody_else_is_refused_before_he_logs_in(
    tmp_path: Path, impersonation: dict[str, Any]
) -> None:
    user = {**login(f"open({str(tmp_path / 'called')!r}, 'w')"), **impersonation}
    said = refusal(write(tmp_path / "k", user=user))
    (name,) = impersonation
    assert f"its user acts as somebody else ({name}), which is not supported; name a context without" in said
    assert not (tmp_path / "called").exists()


def test_an_impersonation_that_names_nobody_is_none(tmp_path: Path) -> None:
    kube = Kube.connect(write(tmp_path / "k", user={"token": "abc", "as": "", "as-groups": []}))
    assert kube._connection.authorization() == {"authorization": "Bearer abc"}


def with_encrypted_key(folder: Path) -> Path:
    pair = Authority(folder).issue("user", "user")
    encrypted = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    pair.key.write_bytes(encrypted)
    user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
    return write(folder / "k", user=user)


def with_credentials_in_the_url(folder: Path) -> Path:
    return write(folder / "k", server="https://me:hunter2@127.0.0.1:1")


def with_a_token_of_a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "token")
    return write(folder / "k", user={"tokenFile": "token"})


def with_a_gigantic_token(folder: Path) -> Path:
    (folder / "token").touch()
    os.truncate(folder / "token", kubeconfig.MAX_BYTES + 1)
    return write(folder / "k", user={"tokenFile": "token"})


def with_a_gigantic_key(folder: Path) -> Path:
    (folder / "key").touch()
    os.truncate(folder / "key", kubeconfig.MAX_BYTES + 1)
    return write(folder / "k", user={"client-key": str(folder / "key")})


def a_gigantic_one(folder: Path) -> Path:
    path = write(folder / "k")
    os.truncate(path, kubeconfig.MAX_BYTES + 1)
    return path


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "k")
    return folder / "k"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (with_encrypted_key, "its client key is encrypted"),
        (with_credentials_in_the_url, "the URL of its server holds credentials"),
        (a_pipe, "is not a regular file"),
        (a_gigantic_one, "k is larger than 1 MiB"),
        (with_a_token_of_a_pipe, "token is no file of at most 1024 KiB"),
        (with_a_gigantic_token, "token is no file of at most 1024 KiB"),
        (with_a_gigantic_key, "its client-key"),
    ],
)
def test_what_would_wait_or_be_shown_is_refused(
    tmp_path: Path, make: Callable[[Path], Path], says: str
) -> None:
    said = refusal(make(tmp_path))
    assert says in said
    assert "hunter2" not in said


def test_a_token_lies_beside_its_kubeconfig_wherever_the_run_takes_place(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc")
    (tmp_path / "link").symlink_to("token")
    kube = Kube.connect(write(tmp_path / "k", user={"tokenFile": "link"}))
    assert kube._connection.authorization() == {"authorization": "Bearer abc"}


@pytest.mark.parametrize("kind", ["cluster", "user"])
def test_a_context_that_names_what_is_missing_is_refused(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "k")
    config = json.loads(path.read_text())
    config["contexts"][0]["context"][kind] = "ghost"
    path.write_text(json.dumps(config))
    assert f"the context names the {kind} 'ghost', which is not under {kind}s" in refusal(path)


def test_a_context_without_a_user_asks_as_nobody(tmp_path: Path) -> None:
    path = write(tmp_path / "k")
    config = json.loads(path.read_text())
    del config["contexts"][0]["context"]["user"], config["users"]
    path.write_text(json.dumps(config))
    assert Kube.connect(path)._connection.authorization() == {}


@pytest.mark.parametrize("named", ["/nope:/nada", ":::"])
def test_several_names_of_no_file_are_told(named: str) -> None:
    with pytest.raises(ClusterError, match=f"^kubeconfig {named} cannot be used: there is no such file"):
        kubeconfig.contexts(Path(named))


def test_a_proxy_of_socks_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As where it is not installed; a warning fails the test.
    monkeypatch.setitem(sys.modules, "socks", None)
    path = write(tmp_path / "k")
    config = json.loads(path.read_text())
    config["clusters"][0]["cluster"]["proxy-url"] = "socks5://127.0.0.1:1"
    path.write_text(json.dumps(config))
    assert "SOCKS, which needs `pip install pysocks`" in refusal(path)


@pytest.mark.parametrize(
    ("file", "context", "command"),
    [
        (None, None, "kubectl"),
        (Path("my k"), "c", "kubectl --context c --kubeconfig 'my k'"),
        (Path("a:b"), "c", "kubectl --context c"),
    ],
)
def test_kubectl_is_told_the_cluster_of_the_run(file: Path | None, context: str | None, command: str) -> None:
    assert connection._kubectl(file, context) == command

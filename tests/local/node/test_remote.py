"""Logs, exec and port-forward, by kubectl and by the official Python client."""

from __future__ import annotations

import gc
import http.client
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from kubernetes import client, config, stream

from tests.local.node.cluster import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.local.node.cluster import Namespace


@pytest.fixture
def web(namespace: Namespace) -> str:
    namespace.pod("web", image="gated", args=["8080"], ports=[{"containerPort": 8080}])
    namespace.wait_ready("web")
    return "web"


@pytest.fixture
def core(namespace: Namespace) -> Iterator[client.CoreV1Api]:
    configuration = client.Configuration()
    config.load_kube_config(  # type: ignore[no-untyped-call]  # the package has no types
        str(namespace.kubeconfig), client_configuration=configuration
    )
    with client.ApiClient(configuration) as api:
        yield client.CoreV1Api(api)


def test_logs_are_cut_timed_and_followed(namespace: Namespace) -> None:
    env = [{"name": "SLEEP", "value": "2"}]
    namespace.pod("talker", image="words", restartPolicy="Never", args=["one", "two", "three"], env=env)
    eventually(lambda: namespace.kubectl("logs", "talker", check=False).stdout)
    assert namespace.kubectl("logs", "talker", "--tail=2").stdout == "two\nthree\n"
    assert namespace.kubectl("logs", "talker", "--limit-bytes=5").stdout == "one\nt"
    assert namespace.kubectl("logs", "talker", "--since=1h").stdout == "one\ntwo\nthree\n"
    assert namespace.kubectl("logs", "talker", "--since-time=2100-01-01T00:00:00Z").stdout == ""
    stamp, word = namespace.kubectl("logs", "talker", "--tail=1", "--timestamps").stdout.split()
    assert word == "three"
    assert stamp.endswith("Z")
    assert namespace.kubectl("logs", "-f", "talker").stdout == "one\ntwo\nthree\n"
    assert "terminated" in namespace.state("talker")["state"]


def test_logs_of_what_does_not_run_are_refused_with_the_reason(namespace: Namespace) -> None:
    namespace.pod("none", image="nginx")
    eventually(lambda: namespace.waiting("none") == "ErrImagePull")
    refused = namespace.kubectl("logs", "none", check=False)
    assert 'container "main" in pod "none" is waiting to start' in refused.stderr


def test_exec_passes_streams_and_the_exit_code(namespace: Namespace, web: str) -> None:
    script = "echo out; echo err >&2; exit 5"
    done = namespace.kubectl("exec", web, "--", "sh", "-c", script, check=False)
    assert (done.stdout, done.returncode) == ("out\n", 5)
    assert "err" in done.stderr.splitlines()
    much = "x" * 1_000_000
    assert namespace.kubectl("exec", "-i", web, "--", "cat", stdin=much).stdout == much
    done = namespace.kubectl("exec", web, "--", "no-such-command", check=False)
    assert done.returncode == 127
    # Not only: kubectl on a busy machine itself remarks on a message that came before its streams stood.
    assert 'cannot run "no-such-command" in the container: No such file' in done.stderr


def test_exec_at_a_terminal(namespace: Namespace, web: str) -> None:
    command = f"kubectl --kubeconfig={namespace.kubeconfig} -n {namespace.name} exec -it {web} -- "
    command += "sh -c 'tty && exit 3'"
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, check=False, timeout=20,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "/dev/pts/" in done.stdout
    assert done.returncode == 3


def test_exec_by_the_python_client(core: client.CoreV1Api, namespace: Namespace, web: str) -> None:
    answer = stream.stream(
        core.connect_get_namespaced_pod_exec,
        web,
        namespace.name,
        command=["sh", "-c", "read line; echo got $line; echo err >&2; exit 4"],
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    answer.write_stdin("this\n")
    answer.run_forever(timeout=10)
    assert answer.read_stdout() == "got this\n"
    assert answer.read_stderr() == "err\n"
    assert answer.returncode == 4


def test_a_command_ends_with_its_client(namespace: Namespace, web: str) -> None:
    argv = ["kubectl", f"--kubeconfig={namespace.kubeconfig}", f"--namespace={namespace.name}"]
    argv += ["exec", web, "--", "sh", "-c", "echo $$; sleep 987"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as kubectl:
        assert kubectl.stdout
        shell = int(kubectl.stdout.readline())
        kubectl.kill()
    eventually(lambda: not Path("/proc", str(shell)).exists())


def test_port_forward_by_kubectl(namespace: Namespace, web: str) -> None:
    argv = ["kubectl", f"--kubeconfig={namespace.kubeconfig}", f"--namespace={namespace.name}"]
    argv += ["port-forward", "--address=127.0.0.1", web, ":8080"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as kubectl:
        assert kubectl.stdout
        port = int(kubectl.stdout.readline().split("->")[0].rpartition(":")[2])
        assert [_get(http.client.HTTPConnection("127.0.0.1", port)) for _ in range(5)] == [b"ok\n"] * 5
        kubectl.terminate()


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_port_forward_by_the_python_client(core: client.CoreV1Api, namespace: Namespace, web: str) -> None:
    forward = stream.portforward(
        core.connect_get_namespaced_pod_portforward, web, namespace.name, ports="8080,9999"
    )
    connection = http.client.HTTPConnection("127.0.0.1")
    connection.sock = forward.socket(8080)
    assert _get(connection) == b"ok\n"
    assert "Connection refused" in str(eventually(partial(forward.error, 9999)))
    forward.close()
    # The client leaves sockets to the garbage collector; that must not fall upon another test.
    del forward, connection
    gc.collect()


def _get(connection: http.client.HTTPConnection) -> bytes:
    connection.timeout = 10
    connection.request("GET", "/")
    answer = connection.getresponse().read()
    connection.close()
    return answer


def test_files_are_copied_by_kubectl(namespace: Namespace, web: str, tmp_path: Path) -> None:
    namespace.kubectl("cp", f"{web}:etc/hosts", str(tmp_path / "hosts"))
    assert "web" in (tmp_path / "hosts").read_text()


def test_attach_is_refused_politely(namespace: Namespace, web: str) -> None:
    assert "try exec" in namespace.kubectl("attach", web, check=False).stderr

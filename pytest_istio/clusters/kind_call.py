"""The way to pytest-kind: its KindCluster creates and deletes clusters and loads images, in a child process.

``KindCluster`` writes into the current folder, lets kind write to the terminal, and sets no bounds on time.
In a process of its own, in the cluster's private folder, all of that is contained, and the run can end it: as
``python -m pytest_istio.clusters.kind_call '{"do": "create", ...}'``.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_istio.progress import Progress

__all__ = ["Call"]

# kind quotes what it calls with all of its arguments, and says only then what came of it.
_COMMAND = re.compile(r'(command "\S+ \S+)[^"]*(?=")')


@dataclass(frozen=True)
class Call:
    """What KindCluster is to do.

    Attributes:
        do: ``create`` or ``delete``.
        name: The cluster's name.
        kubeconfig: Path of the kubeconfig that kind writes.
        kind: Path of kind's program.
        image: The node image.
        config: Path of kind's configuration file.
    """

    do: str
    name: str
    kubeconfig: str
    kind: str
    image: str | None = None
    config: str | None = None

    def run(
        self, folder: Path, environment: Mapping[str, str], *, timeout: float, progress: Progress
    ) -> None:
        """Have it done, with what kind writes added to ``kind.log`` in the folder.

        Raises:
            ClusterError: kind failed, or was not done in time; the message ends with what kind wrote last.
        """
        child = subprocess.Popen(
            [sys.executable, "-m", "pytest_istio.clusters.kind_call", json.dumps(asdict(self))],
            cwd=folder,
            env={**environment, "PYTHONPATH": _python_path(environment)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A Ctrl-C at the terminal is for the run, which then ends this process and what it has started.
            start_new_session=True,
        )
        assert child.stdin
        assert child.stdout
        late = threading.Timer(timeout, _kill, [child])
        late.start()
        lines = []
        try:
            with child.stdout, (folder / "kind.log").open("a", encoding="utf-8", buffering=1) as log:
                for line in child.stdout:
                    log.write(line)
                    lines.append(line.rstrip())
                    progress.waiting(f"kind: {line.strip()}")
            child.wait()
        finally:
            in_time = late.is_alive()
            late.cancel()
            _kill(child)
            child.stdin.close()
        if child.returncode != 0:
            raise ClusterError(self._failed(child.returncode, in_time, timeout, lines))

    def _failed(self, code: int, in_time: bool, timeout: float, lines: list[str]) -> str:
        why = f"ended with exit code {code}" if in_time else f"was not done after {timeout:.0f} s"
        shown = [_COMMAND.sub(r"\1 …", line) for line in lines if line.strip()][-8:]
        return f"kind could not {self.do} cluster {self.name}: it {why}.\n" + "\n".join(
            f"  {line}" for line in shown
        )


def _kill(child: subprocess.Popen[str]) -> None:
    """End the child and what it has started, if that goes on."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _python_path(environment: Mapping[str, str]) -> str:
    # In a checkout the package is found by its place.
    package = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([package, *filter(None, [environment.get("PYTHONPATH")])])


def _end_with_the_run() -> None:
    """Wait for the run to close the pipe, which it does by dying, too; then end everything started here."""
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


def _main() -> None:
    from pytest_kind import KindCluster  # noqa: PLC0415 (heavy, and for this process alone)

    call = Call(**json.loads(sys.argv[1]))
    threading.Thread(target=_end_with_the_run, daemon=True).start()
    cluster = KindCluster(call.name, Path(call.kubeconfig), call.image, Path(call.kind))
    try:
        if call.do == "create":
            cluster.create(call.config)
        else:
            cluster.delete()
    except subprocess.CalledProcessError as error:
        # kind has said why.
        sys.exit(error.returncode)


if __name__ == "__main__":
    _main()

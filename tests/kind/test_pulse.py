"""A cluster is lost, too, when nobody can log in to it any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_istio.clusters import pulse
from pytest_istio.errors import ClusterError
from pytest_istio.kube.errors import from_answer
from pytest_istio.kube.polling import until

if TYPE_CHECKING:
    from pytest_istio.errors import PytestIstioError

HANGS = ClusterError("kubeconfig k cannot be used: reading it was not done within 60 s")
EXPIRED = from_answer("GET /readyz", 401, b"Unauthorized", None)
REFUSED = from_answer("GET /readyz", 403, b"Forbidden", None)


class Server:
    """A client that gives these answers and then none that is bad."""

    def __init__(self, *answers: PytestIstioError | None) -> None:
        self.answers = list(answers)
        self.asked = 0

    def connect(self, *_: object, **__: object) -> Server:
        return self

    def request(self, *_: object) -> bytes:
        self.asked += 1
        if self.answers and (error := self.answers.pop(0)):
            raise error
        return b"ok"

    def close(self) -> None:
        pass


def trouble(server: Server, monkeypatch: pytest.MonkeyPatch) -> str | None:
    monkeypatch.setattr(pulse, "PERIOD", 0.01)
    monkeypatch.setattr(pulse, "Kube", server)
    asking = pulse.Pulse(Path("k"), None)
    try:
        return until(lambda: asking.trouble, lambda seen: seen or server.asked > 6, timeout=10.0, pause=0.02)
    finally:
        asking.close()


@pytest.mark.parametrize("error", [HANGS, EXPIRED])
def test_a_login_that_fails_twice_is_the_loss_of_the_cluster(
    monkeypatch: pytest.MonkeyPatch, error: PytestIstioError
) -> None:
    assert trouble(Server(None, error, error), monkeypatch) == f"The cluster is lost: {error}"


@pytest.mark.parametrize("answers", [[HANGS, None, EXPIRED], [REFUSED] * 8])
def test_what_passes_and_what_is_refused_is_none(
    monkeypatch: pytest.MonkeyPatch, answers: list[PytestIstioError | None]
) -> None:
    assert trouble(Server(*answers), monkeypatch) is None

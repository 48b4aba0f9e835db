"""What the tests of the plugin share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_istio import clusters

# Here, since pytester forgets what a run within this process imports, and yaml cannot be imported twice.
from pytest_istio.run import controller, setup  # noqa: F401

REPOSITORY = Path(__file__).parents[2]

BROKEN_MESH = """
    import pytest

    class Mesh:
        def problems(self, check_id, *, bookinfo=None, gateway=None):
            broken = {"CP-001[istio-pilot]": ("Deployment istio-pilot\\n  seen: 0 of 1 available",)}
            return broken.get(check_id, ())

    @pytest.fixture(scope="session")
    def mesh(istio_cluster):
        return Mesh()
"""
"""A conftest whose mesh has a broken Pilot and is otherwise as it should be."""


@pytest.fixture(autouse=True)
def _plain_environment(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is set for these tests away from the runs within them."""
    for name in os.environ:
        if name.startswith(("PYTEST_ISTIO_", "FAKE_CLUSTER_")):
            monkeypatch.delenv(name)
    # Other plugins of the machine cost these runs more than all that they do.
    others = ("hypothesispytest", "anyio", "randomly", "cacheprovider")
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in others))


@dataclass
class FakeCluster:
    """Runs pytest with a cluster that is none, in a folder of its own."""

    pytester: pytest.Pytester
    log: Path

    @property
    def notes(self) -> list[str]:
        """What happened to the cluster."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def run(self, *arguments: str) -> pytest.RunResult:
        """Run pytest here."""
        return self.pytester.runpytest_inprocess(*self.arguments(*arguments))

    def run_apart(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in a process of its own, as what uses workers or signals must."""
        return self.pytester.runpytest_subprocess(*self.arguments(*arguments))

    def arguments(self, *arguments: str) -> list[str]:
        """Return the arguments of such a run."""
        return ["-p", "tests.plugin.fake_cluster", "--istio-version=1.0.5", *arguments]


@pytest.fixture
def fake_cluster(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    # The fake replaces both when it is loaded; this has them put back afterwards.
    monkeypatch.setattr(clusters, "resolve", clusters.resolve)
    monkeypatch.setattr(clusters, "provider", clusters.provider)
    log = pytester.path / "cluster.log"
    monkeypatch.setenv("FAKE_CLUSTER_LOG", str(log))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return FakeCluster(pytester, log)

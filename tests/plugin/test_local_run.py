"""Whole runs on the embedded Kubernetes: a user's own tests with the fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

THEIR_TESTS = """
    import pytest
    from pytest_istio.paths import fixtures_folder

    NETWORKING = fixtures_folder() / "bookinfo" / "1.0.5" / "networking"

    def virtual_services(mesh):
        served = next(api for api, kind in mesh.kube.served() if kind == "VirtualService")
        found = mesh.kube.list(served, "VirtualService", "default")
        return {each["metadata"]["name"]: each["spec"] for each in found}

    @pytest.fixture(scope="session")
    def before(mesh, bookinfo):
        return virtual_services(mesh)

    def test_cluster(istio_cluster, istio_settings):
        assert istio_cluster.provider == istio_settings.cluster == "local"
        assert istio_cluster.kubeconfig.stat().st_mode & 0o777 == 0o600

    def test_page(gateway, bookinfo):
        assert gateway.wait_answer("/productpage").status_code == 200

    @pytest.mark.parametrize("number", range(2))
    def test_routes(before, routes, gateway, mesh, number):
        routes.apply(NETWORKING / "destination-rule-all.yaml", NETWORKING / "virtual-service-all-v1.yaml")
        changed = dict(before["bookinfo"], hosts=["bookinfo.example.com"])
        served = next(api for api, kind in mesh.kube.served() if kind == "VirtualService")
        kind = {"apiVersion": served, "kind": "VirtualService"}
        routes.apply([{**kind, "metadata": {"name": "bookinfo"}, "spec": changed}])
        assert len(virtual_services(mesh)) == len(before) + 4
        gateway.wait_answer("/productpage", 404)
        gateway.wait_answer("/productpage", headers={"Host": "bookinfo.example.com"})

    def test_routes_are_taken_back(before, istio_exclusive, mesh, gateway):
        assert virtual_services(mesh) == before
        gateway.wait_answer("/productpage")

    def test_deleted_route_comes_back(before, routes, mesh, gateway):
        served = next(api for api, kind in mesh.kube.served() if kind == "VirtualService")
        routes.delete(served, "VirtualService", "bookinfo")
        gateway.wait_answer("/productpage", 404)
        routes.restore()
        assert virtual_services(mesh) == before

    @pytest.fixture
    def phase(mesh, request):
        yield
        gone = mesh.kube.find("v1", "Namespace", request.node.made)
        assert gone is None or gone["metadata"].get("deletionTimestamp")

    def test_namespace(phase, istio_namespace, istio_plain_namespace, mesh, request):
        request.node.made = istio_namespace
        labels = mesh.kube.get("v1", "Namespace", istio_namespace)["metadata"]["labels"]
        assert labels["istio-injection"] == "enabled"
        plain = mesh.kube.get("v1", "Namespace", istio_plain_namespace)["metadata"]["labels"]
        assert "istio-injection" not in plain
"""


@pytest.fixture
def arguments(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, kube_binaries: Mapping[str, Path]
) -> list[str]:
    """The arguments of a run on a local cluster."""
    programs = pytester.mkdir("programs")
    for name, path in kube_binaries.items():
        (programs / name).symlink_to(path)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    return ["--istio-version=1.0.5", "--istio-cluster=local", f"--istio-kube-binaries={programs}"]


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_their_own_tests(pytester: pytest.Pytester, arguments: list[str], workers: tuple[str, ...]) -> None:
    pytester.makepyfile(THEIR_TESTS)
    result = pytester.runpytest_subprocess(*arguments, *workers)
    result.assert_outcomes(passed=7)
    result.stdout.fnmatch_lines(
        ["istio: Kubernetes v1.*", "istio: manifests re-created 1.0.5 *", "*REHEARSAL*"]
    )

"""The fixtures: each calls one room."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from pytest_istio.errors import PytestIstioError
from pytest_istio.stash import RUN, settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from pytest_istio.bookinfo import Bookinfo
    from pytest_istio.clusters.base import Cluster
    from pytest_istio.gateway import Gateway
    from pytest_istio.istio.mesh import Mesh
    from pytest_istio.kube.client import Kube
    from pytest_istio.routes import Routes
    from pytest_istio.settings import Settings

NO_CLUSTER = (
    "There is no cluster: it is started when a collected test names istio_cluster, or a fixture built on it, "
    "as an argument; asking for it by request.getfixturevalue comes too late."
)

TOO_LATE = (
    "The mesh is shared with other tests already: name istio_exclusive, or a fixture built on it such as "
    "routes, as an argument of the test; asking for it by request.getfixturevalue comes too late."
)


@pytest.fixture(scope="session")
def istio_settings(pytestconfig: pytest.Config) -> Settings:
    """What the run was asked to do: version, cluster, namespace, bounds on waiting."""
    return settings_of(pytestconfig)


@pytest.fixture(scope="session")
def istio_cluster(pytestconfig: pytest.Config) -> Cluster:
    """The run's Kubernetes cluster: its `.kubeconfig` (a path), `.name`, `.provider`, `.capabilities`."""
    from pytest_istio.run.owner import attach

    cluster = attach(pytestconfig.stash[RUN].folder)
    if cluster is None:
        pytest.fail(NO_CLUSTER, pytrace=False)
    return cluster


@pytest.fixture(scope="session")
def istio_kube(istio_cluster: Cluster, istio_settings: Settings) -> Iterator[Kube]:
    """A client of the cluster's API server."""
    from pytest_istio.kube.client import Kube

    bound = istio_settings.timeouts.request
    with _plainly():
        kube = Kube.connect(istio_cluster.kubeconfig, istio_cluster.context, request_timeout=bound)
    yield kube
    kube.close()


@pytest.fixture(scope="session")
def mesh(pytestconfig: pytest.Config, istio_cluster: Cluster, istio_kube: Kube) -> Mesh:
    """Istio, installed once for all processes of the run; `.problems(id)` says what is wrong with it."""
    from pytest_istio.run import setup

    with _plainly():
        return setup.mesh(pytestconfig.stash[RUN], istio_cluster, istio_kube)


@pytest.fixture(scope="session")
def bookinfo(pytestconfig: pytest.Config, mesh: Mesh) -> Bookinfo:
    """The sample application with sidecars and its gateway, deployed once for all processes of the run."""
    from pytest_istio.findings import finding, one_line
    from pytest_istio.run import setup

    try:
        return setup.bookinfo(pytestconfig.stash[RUN], mesh)
    except PytestIstioError as error:
        text = finding(
            "bookinfo",
            expected="applied, with a sidecar in each pod",
            seen=one_line(str(error)),
            cause="its manifests, or the injection template and the mesh configuration, cannot be used",
            look=f"kubectl -n {mesh.namespace} get configmaps istio istio-sidecar-injector -o yaml",
        )
        raise pytest.fail.Exception(text, pytrace=False) from None


@pytest.fixture(scope="session")
def gateway(pytestconfig: pytest.Config, istio_cluster: Cluster, mesh: Mesh) -> Iterator[Gateway]:
    """The ingress gateway as reached from here: its `.url`, and `.get(path, headers=...)` to ask it."""
    from pytest_istio.run import setup

    with _plainly():
        found = setup.gateway(pytestconfig.stash[RUN], istio_cluster, mesh)
    yield found
    found.close()


@pytest.fixture
def istio_namespace(mesh: Mesh, istio_cluster: Cluster) -> Iterator[str]:
    """The name of a fresh namespace whose pods get a sidecar; removed after the test."""
    with _namespace(mesh, istio_cluster, injected=True) as name:
        yield name


@pytest.fixture
def istio_plain_namespace(mesh: Mesh, istio_cluster: Cluster) -> Iterator[str]:
    """The name of a fresh namespace that does not ask for sidecars; removed after the test."""
    with _namespace(mesh, istio_cluster, injected=False) as name:
        yield name


@pytest.fixture
def istio_exclusive(pytestconfig: pytest.Config, mesh: Mesh) -> Iterator[None]:  # noqa: ARG001 (installed first)
    """Have the mesh alone while the test runs, for tests that change what others look at."""
    from pytest_istio.run.lock import SharingError

    with ExitStack() as held:
        try:
            held.enter_context(pytestconfig.stash[RUN].mesh_lock.exclusive())
        except SharingError:
            pytest.fail(TOO_LATE, pytrace=False)
        yield


@pytest.fixture
def routes(istio_exclusive: None, mesh: Mesh, bookinfo: Bookinfo) -> Iterator[Routes]:  # noqa: ARG001 (held)
    """Apply routing objects by `.apply(path or objects)`, alone in the mesh; taken back after the test."""
    from pytest_istio.routes import Routes

    changed = Routes(mesh, bookinfo.namespace)
    yield changed
    changed.restore()


@pytest.fixture
def _istio_mesh_shared(pytestconfig: pytest.Config) -> Iterator[None]:
    """Keep those who change the mesh waiting while the test looks at it."""
    with pytestconfig.stash[RUN].mesh_lock.shared():
        yield


@pytest.fixture
def _istio_prerequisites(request: pytest.FixtureRequest) -> None:
    """Skip or block a check, before its own fixtures are made, if what it builds on is missing or broken."""
    from pytest_istio.conformance.check import check_of
    from pytest_istio.run import prerequisites

    check = check_of(request.node)
    if check:
        cluster = request.getfixturevalue("istio_cluster")
        prerequisites.need_capabilities(cluster, check)
        prerequisites.need_consent(cluster, check, settings_of(request.config).disruptive)
    requires = check.requires if check else ()
    if requires or "mesh" in request.fixturenames:
        prerequisites.need_installation(request.node, request.config.stash[RUN])
        installed = request.getfixturevalue("mesh")
        alone = "istio_exclusive" in request.fixturenames
        request.getfixturevalue("istio_exclusive" if alone else "_istio_mesh_shared")
        for requirement in requires:
            prerequisites.need(request, installed, requirement)
        if check and "bookinfo" in request.fixturenames:
            prerequisites.need_bookinfo(request, check)


@contextmanager
def _plainly() -> Iterator[None]:
    """Fail with the message alone: the way through this program tells a user nothing."""
    try:
        yield
    except PytestIstioError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _namespace(mesh: Mesh, cluster: Cluster, *, injected: bool) -> AbstractContextManager[str]:
    from pytest_istio.istio.namespaces import temporary_namespace
    from pytest_istio.progress import Silent

    # On a cluster that ends with the run nobody need wait for what is left.
    gone = not cluster.created
    return temporary_namespace(mesh, "istio-check", injected=injected, progress=Silent(), gone=gone)

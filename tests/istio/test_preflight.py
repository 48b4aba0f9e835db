"""What the cluster was like before is recorded as whole messages, and nothing is changed by looking."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from pytest_istio.errors import ClusterError
from pytest_istio.istio.catalog import release
from pytest_istio.istio.preflight import Preflight, check_version, record
from pytest_istio.kube.migrate import Unserved
from pytest_istio.kube.objects import Ref
from pytest_istio.settings import Settings
from pytest_istio.timeouts import Timeouts
from tests.istio.fake import FakeKube, Object, obj

if TYPE_CHECKING:
    from pytest_istio.kube.client import Kube

SETTINGS = Settings(istio_version="1.0.5", timeouts=Timeouts().scaled(0.001))
MI = 2**20


@dataclass(frozen=True)
class Plural:
    plural: str


@dataclass
class Cluster(FakeKube):
    """A cluster of one node, whose user may do what `denied` does not name, by resource or by verb."""

    git_version: str = "v1.34.3"
    denied: tuple[str, ...] = ()

    def version(self) -> Object:
        return {"gitVersion": self.git_version}

    def resource(self, _api_version: str, kind: str) -> Plural:
        return Plural(f"{kind.lower()}s")

    def json(self, _method: str, path: str, *, body: Object, repeatable: bool) -> Object:
        assert path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        asked = body["spec"]["resourceAttributes"]
        # Who may do everything but one thing may not do everything.
        some = asked["verb"] == "*" and self.denied
        return {
            "status": {"allowed": not some and {asked["resource"], asked["verb"]}.isdisjoint(self.denied)}
        }


def node(*, memory: str = "4Gi", ready: str = "True", **spec: object) -> Object:
    status = {
        "allocatable": {"cpu": "2", "memory": memory},
        "conditions": [
            {"type": "Ready", "status": ready, "reason": "KubeletNotReady", "message": "no network"}
        ],
    }
    return obj("Node", "one", namespace=None, spec=spec, status=status)


TWO = (node(memory="2Gi"), {**node(memory="2Gi"), "metadata": {"name": "two"}})


def workload(memory: str, *, replicas: int | None = 1) -> Object:
    container = {"name": "c", "resources": {"requests": {"cpu": "500m", "memory": memory}}}
    template = {"spec": {"containers": [container]}}
    return obj("Deployment", "pilot", "apps/v1", spec={"replicas": replicas, "template": template})


def recorded(
    *objects: Object,
    manifests: tuple[Object, ...] = (),
    unserved: tuple[Unserved, ...] = (),
    created: bool = True,
    **cluster: Any,  # noqa: ANN401  # any field
) -> Preflight:
    kube = Cluster(
        [node(), *objects] if not any(each["kind"] == "Node" for each in objects) else [*objects], **cluster
    )
    settings = replace(SETTINGS, context=cluster.pop("context", None))
    return record(cast("Kube", kube), settings, release("1.0.5"), manifests, unserved, created=created)


def test_a_good_cluster_has_no_problem() -> None:
    found = recorded(manifests=(workload("2048Mi"),), kinds={("apps/v1", "Deployment")})
    assert asdict(found) == {
        "kubernetes": "v1.34.3",
        "deviation": found.deviation,
        **dict.fromkeys(
            (
                "version_problems",
                "unserved",
                "forbidden",
                "previous_istio",
                "capacity_problems",
                "consent_problems",
                "others",
            ),
            (),
        ),
    }


def test_it_crosses_processes_as_json() -> None:
    found = recorded(git_version="v1.5.0")
    assert Preflight.from_state(json.loads(json.dumps(asdict(found)))) == found


@pytest.mark.parametrize(
    ("version", "deviation", "problem"),
    [("v1.9.0", "", False), ("v1.15.12-gke.1", "", False), ("v1.8.4", "", True),
     ("v1.21.1", "shown to work up to 1.34", False),
     ("v1.35.0", "not tried with this version before", False)],
)  # fmt: skip
def test_the_kubernetes_version_is_judged_after_migration(
    version: str, deviation: str, problem: bool
) -> None:
    found = recorded(git_version=version)
    assert found.deviation.endswith(deviation)
    assert bool(found.deviation) is bool(deviation)
    assert bool(found.version_problems) is problem


def test_kinds_that_the_server_has_in_no_version_are_named_once() -> None:
    odd = [Unserved(Ref("x.istio.io/v1", "Thing", "a", name), "why") for name in ("one", "two")]
    other = Unserved(Ref("v1", "Odd", None, "three"), "why")
    first, second = recorded(unserved=(*odd, other)).unserved
    assert first.startswith("Odd in v1")
    assert second.startswith("Thing in x.istio.io/v1")
    assert "has no one, two" in second


def test_what_the_user_may_not_create_is_named_with_the_command_to_ask() -> None:
    (text,) = recorded(
        manifests=(workload("1Mi"),), kinds={("apps/v1", "Deployment")}, denied=("deployments",)
    ).forbidden
    assert "kubectl auth can-i create deployments.apps -n istio-system" in text


@pytest.mark.parametrize(
    ("verb", "where"),
    [
        ("create", " -n istio-system"),
        ("patch", " -n istio-system"),
        ("list", " -A"),
        ("delete", " -n istio-system"),
    ],
)
def test_a_verb_that_is_denied_is_named(verb: str, where: str) -> None:
    kinds = {("apps/v1", "Deployment")}
    (text,) = recorded(manifests=(workload("1Mi"),), kinds=kinds, denied=(verb,)).forbidden
    assert "expected: the user may create, patch, list and delete it" in text
    assert f"seen:     {verb} is denied: no rule allows it" in text
    assert text.endswith(f"kubectl auth can-i {verb} deployments.apps{where}")


@pytest.mark.parametrize(("created", "named"), [(True, ()), (False, ("shop",))])
def test_namespaces_that_the_webhooks_would_select_are_others(created: bool, named: tuple[str, ...]) -> None:
    shop = obj("Namespace", "shop", namespace=None, metadata={"labels": {"istio-injection": "enabled"}})
    hook = {"name": "a", "namespaceSelector": {"matchLabels": {"istio-injection": "enabled"}}}
    injector = obj("MutatingWebhookConfiguration", "injector", "admissionregistration.k8s.io/v1", None)
    kinds = {(injector["apiVersion"], injector["kind"])}
    manifests = ({**injector, "webhooks": [hook]},)
    found = recorded(shop, obj("Namespace", "default"), manifests=manifests, kinds=kinds, created=created)
    assert found.others == named


def test_what_is_left_of_an_istio_is_named() -> None:
    left = obj("CustomResourceDefinition", "gateways.networking.istio.io", "apiextensions.k8s.io/v1", None)
    other = obj("CustomResourceDefinition", "things.example.com", "apiextensions.k8s.io/v1", None)
    (text,) = recorded(left, other).previous_istio
    assert "1 objects of one: CustomResourceDefinition gateways.networking.istio.io" in text


@pytest.mark.parametrize(
    ("objects", "request_", "replicas", "said"),
    [((node(memory="2Gi"),), "2048Mi", 1, None),
     ((node(memory="2Gi"),), "2049Mi", 1, "2049 MiB free for all pods"),
     ((node(memory="4Gi"),), "2Gi", 3, "6144 MiB free for all pods"),
     ((node(memory="4Gi"),), "5Gi", None, "5120 MiB free for all pods"),
     (TWO, "3Gi", 1, "a node with 3072 MiB free"),
     # No quantities, which the API server refuses with a better reason.
     (TWO, "much", 1, None), (TWO, "NaN", 1, None), (TWO, "1e99999999", 1, None), (TWO, "", 1, None),
     (TWO, "1Mi", 10**12, "5000.00 CPU free for all pods"),
     ((node(ready="False"),), "1Mi", 1, "one: not Ready: KubeletNotReady: no network"),
     ((node(unschedulable=True),), "1Mi", 1, "seen:     one: cordoned")],
)  # fmt: skip
def test_room_is_counted_for_all_pods_and_for_the_largest(
    objects: tuple[Object, ...], request_: str, replicas: int | None, said: str | None
) -> None:
    kinds = {("apps/v1", "Deployment")}
    found = recorded(
        *objects, manifests=(workload(request_, replicas=replicas),), kinds=kinds
    ).capacity_problems
    assert bool(found) is (said is not None)
    assert said is None or said in found[0]


def test_what_other_pods_request_is_not_free() -> None:
    taken = {"name": "c", "resources": {"requests": {"memory": "1Gi"}}}
    pod = obj("Pod", "other", namespace="default", spec={"nodeName": "one", "containers": [taken]})
    manifests = (workload("3584Mi"),)
    (text,) = recorded(pod, manifests=manifests, kinds={("apps/v1", "Deployment")}).capacity_problems
    assert "3072 MiB free" in text


def test_a_cluster_found_by_default_is_nobodys_consent() -> None:
    (text,) = recorded(created=False).consent_problems
    assert "--istio-context" in text


def test_an_api_server_that_is_too_old_for_anything_is_refused_first() -> None:
    check_version({"gitVersion": "v1.16.0"})
    with pytest.raises(ClusterError, match=r"Kubernetes v1\.8\.15\n +expected: 1\.16 or newer"):
        check_version({"gitVersion": "v1.8.15"})

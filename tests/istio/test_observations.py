"""Each observation names the object, what was expected and seen, the likely cause, and what to type next."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.istio import explain, observations
from pytest_istio.istio.catalog import release
from pytest_istio.istio.explain import deployment_problems
from pytest_istio.istio.mesh import restored
from pytest_istio.kube.errors import KubeError
from pytest_istio.kube.objects import Ref
from pytest_istio.kube.wait import Trouble
from tests.istio.fake import FakeKube, Object, container, deployment, mesh, obj, pods

if TYPE_CHECKING:
    from pathlib import Path

HOOK = "MutatingWebhookConfiguration"
ADMISSION = "admissionregistration.k8s.io/v1"
SYNC_PATH = "/api/v1/namespaces/istio-system/pods/istio-pilot-1:8080/proxy/debug/syncz"
SYNCED = {
    f"{kind}_{what}": "7"
    for kind in ("cluster", "listener", "route", "endpoint")
    for what in ("sent", "acked")
}


def problem(*objects: Object, log: str = "") -> str:
    """Return the one message about the Deployment of the name pilot."""
    kube: Any = FakeKube(list(objects), log=log)
    (text,) = deployment_problems(kube, "istio-system", "pilot")
    assert text.startswith("Deployment istio-system/pilot\n")
    for part in ("expected:", "seen:", "likely:", "look:     kubectl -n istio-system "):
        assert part in text
    return str(text)


def test_an_available_deployment_is_no_problem() -> None:
    kube: Any = FakeKube([deployment("pilot")])
    assert deployment_problems(kube, "istio-system", "pilot") == ()


def test_a_deployment_that_is_gone() -> None:
    assert "not on the cluster" in problem()


def test_a_deployment_scaled_to_zero_says_how_to_scale_it_back() -> None:
    text = problem(deployment("pilot", replicas=0, available=0))
    assert "scaled to zero" in text
    assert "kubectl -n istio-system scale deployment pilot --replicas=1" in text


def test_an_image_that_cannot_be_pulled_is_named() -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "manifest unknown"}}
    states = container(ready=False, image="docker.io/istio/pilot:nope", state=waiting)
    text = problem(deployment("pilot", available=0), *pods("pilot", states))
    assert "0 of 1 pods available; ErrImagePull" in text
    assert "docker.io/istio/pilot:nope" in text
    assert "manifest unknown" in text
    assert "name or tag is wrong" in text


def test_a_crash_loop_shows_exit_code_and_last_words() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    last = {"terminated": {"exitCode": 255, "reason": "Error"}}
    states = container(ready=False, state=waiting, lastState=last, restartCount=5)
    text = problem(
        deployment("pilot", available=0),
        *pods("pilot", states),
        log="starting\nfailed to register custom resources\n",
    )
    assert "exit code 255" in text
    assert "restarted 5 times" in text
    assert "starting | failed to register custom resources" in text
    assert "logs pilot-1 -c c" in text


def test_a_pod_without_a_node_says_why() -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                   "message": "0/1 nodes are available: 1 Insufficient memory."}]  # fmt: skip
    text = problem(
        deployment("pilot", available=0),
        *pods("pilot", container(ready=False, state={}), conditions=conditions),
    )
    assert "Unschedulable" in text
    assert "Insufficient memory" in text


def test_pods_that_cannot_be_created_say_what_refused_them() -> None:
    message = 'admission webhook "x.istio.io" denied the request: no'
    conditions = [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}]
    text = problem(deployment("pilot", available=0, status={"conditions": conditions}))
    assert message in text
    assert "an admission webhook that refuses" in text


def test_definitions_are_missing_or_not_established() -> None:
    def definition(name: str, *conditions: Object) -> Object:
        status = {"conditions": conditions}
        return obj("CustomResourceDefinition", name, "apiextensions.k8s.io/v1", None, status=status)

    first, *others = release("1.0.5").crds
    good = [definition(name, {"type": "Established", "status": "True"}) for name in others]
    bad = definition("a.istio.io", {"type": "NamesAccepted", "status": "False", "message": "taken"})
    texts = observations.crds_established(mesh(FakeKube([*good, bad]), bad, definition("b.istio.io"), *good))
    assert [text.splitlines()[0].split()[1] for text in texts] == ["a.istio.io", "b.istio.io", first]
    assert "taken" in texts[0]
    assert "deleted after the installation" in texts[1]
    assert "the manifests leave it out" in texts[2]


def test_restarts_count_from_when_the_mesh_was_ready() -> None:
    last = {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}
    kube = FakeKube(pods("pilot", container(restartCount=3, lastState=last)))
    assert observations.restarts(mesh(kube, deployment("pilot"), restarts={"pilot-1/c": 3})) == ()
    (text,) = observations.restarts(mesh(kube, deployment("pilot"), restarts={"pilot-1/c": 1}))
    assert "3 restarts, the last one after exit code 137 (OOMKilled)" in text
    assert "a limit on memory" in text


@pytest.mark.parametrize(
    ("endpoints", "good"),
    [([{"addresses": ["10.0.0.1"]}], True), ([{"conditions": {"ready": True}}], True),
     ([{"conditions": {"ready": False}}], False), (None, False)],
)  # fmt: skip
def test_a_service_needs_a_ready_address(endpoints: list[Object] | None, good: bool) -> None:
    slices = obj("EndpointSlice", "s-1", "discovery.k8s.io/v1",
                 metadata={"labels": {"kubernetes.io/service-name": "s"}}, endpoints=endpoints)  # fmt: skip
    found = observations.service_has_endpoints(
        mesh(FakeKube([obj("Service", "s"), slices])), "istio-system", "s"
    )
    assert (found == ()) is good


def test_a_service_that_is_gone_is_told_from_one_without_addresses() -> None:
    (text,) = observations.service_has_endpoints(mesh(FakeKube()), "istio-system", "s")
    assert "no such Service" in text


def test_a_service_of_the_control_plane_is_a_prerequisite_by_its_name_in_any_release() -> None:
    assert len(observations.services_have_endpoints(mesh(FakeKube()))) == 9
    later = replace(release("1.0.5"), successors={"istio-galley": "istiod"})
    (text,) = replace(mesh(FakeKube()), release=later).problems("CP-003[istio-galley]")
    assert text.startswith("Service istio-system/istiod\n")


def test_a_job_is_complete_or_failed_or_gone() -> None:
    job = obj("Job", "clean", "batch/v1", status={"conditions": [{"type": "Complete", "status": "True"}]})
    assert observations.job_complete(mesh(FakeKube([job])), Ref.of(job)) == ()
    (text,) = observations.job_complete(mesh(FakeKube()), Ref.of(job))
    assert "not on the cluster" in text


@pytest.mark.parametrize(
    ("reported", "good"),
    [("root@x-docker.io/istio-1.0.5-c1707e45-Clean", True), ("1.0.5", True), ("11.0.5", False),
     ("1.0.51", False), ("1.0.6", False)],
)  # fmt: skip
def test_the_version_is_compared_whole(reported: str, good: bool) -> None:
    path = "/api/v1/namespaces/istio-system/services/istio-pilot:9093/proxy/version"
    found = observations.version_reported(mesh(FakeKube(paths={path: reported})))
    assert (found == ()) is good


def test_a_component_that_does_not_answer_says_how_to_ask_it() -> None:
    (text,) = observations.discovery_ready(mesh(FakeKube()))
    assert "kubectl get --raw /api/v1/namespaces/istio-system/services/istio-pilot:8080/proxy/ready" in text
    assert "503" in text


def with_sidecar(pod: Object) -> Object:
    if pod["kind"] != "Pod":
        return pod
    return {
        **pod,
        "spec": {**pod["spec"], "containers": [*pod["spec"]["containers"], {"name": "istio-proxy"}]},
    }


def webhook(bundle: str) -> Object:
    config = {"caBundle": bundle, "service": {"name": "istio-sidecar-injector"}}
    return obj(HOOK, "istio-sidecar-injector", ADMISSION, None, webhooks=[{"clientConfig": config}])


def test_the_injector_is_live_when_a_pod_gets_its_sidecar_and_nothing_stays() -> None:
    kube = FakeKube([webhook("Q0E=")], admit=with_sidecar)
    assert observations.injector_live(mesh(kube)) == ()
    assert [kind for kind, _ in kube.deleted] == ["Pod", "Namespace"]


@pytest.mark.parametrize(
    ("objects", "said"),
    [([], "not on the cluster"), ([webhook("")], "caBundle is empty"),
     ([webhook("Q0E=")], "admitted with probe, without istio-proxy")],
)  # fmt: skip
def test_an_injector_that_is_not_live_says_what_is_wrong_with_it(objects: list[Object], said: str) -> None:
    (text,) = observations.injector_live(mesh(FakeKube(objects)))
    assert said in text


MATCHING = {"matchLabels": {"istio-injection": "enabled"}}
CHOOSING: list[tuple[Object, bool]] = [
    ({}, True),
    (MATCHING, True),
    ({"matchLabels": {"istio-injection": "nobody"}}, False),
    ({"matchExpressions": [{"key": "istio-injection", "operator": "In", "values": ["enabled"]}]}, True),
    ({"matchExpressions": [{"key": "istio-injection", "operator": "In", "values": ["nobody"]}]}, False),
    ({"matchExpressions": [{"key": "istio-injection", "operator": "NotIn", "values": ["disabled"]}]}, True),
    ({"matchExpressions": [{"key": "istio-injection", "operator": "NotIn", "values": ["enabled"]}]}, False),
    ({"matchExpressions": [{"key": "istio.io/rev", "operator": "NotIn", "values": ["canary"]}]}, True),
    ({"matchExpressions": [{"key": "istio.io/rev", "operator": "Exists"}]}, False),
    ({**MATCHING, "matchExpressions": [{"key": "istio.io/rev", "operator": "DoesNotExist"}]}, True),
    ({"matchExpressions": [{"key": "istio-injection", "operator": "DoesNotExist"}]}, False),
]


@pytest.mark.parametrize(("selector", "good"), CHOOSING)
def test_a_selector_that_leaves_out_labelled_namespaces_is_the_cause(selector: Object, good: bool) -> None:
    hook = webhook("Q0E=")
    hook["webhooks"][0]["namespaceSelector"] = selector
    (text,) = observations.injector_live(mesh(FakeKube([hook])))
    assert ("takes in namespaces labelled istio-injection=enabled" in text) is not good


def test_a_policy_that_leaves_pods_alone_is_the_cause() -> None:
    data = {"config": "policy: disabled\ntemplate: ''\n"}
    config = obj("ConfigMap", "istio-sidecar-injector", data=data)
    (text,) = observations.injector_live(mesh(FakeKube([webhook("Q0E="), config])))
    assert "the policy in ConfigMap istio-system/istio-sidecar-injector is 'disabled'" in text


def test_valid_configuration_is_created_and_nothing_stays() -> None:
    kube = FakeKube()
    assert observations.configuration_accepted(mesh(kube)) == ()
    assert [kind for kind, _ in kube.deleted] == ["Gateway", "VirtualService", "DestinationRule", "Namespace"]


@pytest.mark.parametrize(
    ("bundle", "answer", "said"),
    [("", "x509", "caBundle is empty: its server"),
     ("Q0E=", "x509: unknown authority", "certificate is not of the authority"),
     ("Q0E=", 'webhook "x" denied the request: no', "takes what is valid for invalid")],
)  # fmt: skip
def test_configuration_that_is_refused_says_why(bundle: str, answer: str, said: str) -> None:
    def refuse(given: Object) -> Object:
        if given["kind"] == "VirtualService":
            raise KubeError(answer)
        return given

    hook = obj("ValidatingWebhookConfiguration", "istio-galley", ADMISSION, None,
               webhooks=[{"clientConfig": {"caBundle": bundle}}])  # fmt: skip
    (text,) = observations.configuration_accepted(mesh(FakeKube([hook], admit=refuse)))
    assert f"the VirtualService is refused: {answer}" in text
    assert said in text


def synced(status: list[Object] | None) -> tuple[str, ...]:
    app = pods("details", container("details"), container("istio-proxy"), namespace="default")
    objects = [deployment("istio-pilot"), *pods("istio-pilot", container()), *app]
    paths = {} if status is None else {SYNC_PATH: status}
    return observations.sidecars_synced(mesh(FakeKube(objects, paths)), "default")


def test_sidecars_are_synced_when_all_was_accepted() -> None:
    assert synced([{"proxy": "details-1.default", **SYNCED}]) == ()
    assert synced([{"proxy": "details-1.default", **SYNCED, "route_sent": "", "route_acked": ""}]) == ()


@pytest.mark.parametrize(
    ("status", "said"),
    [([], "does not know this proxy"), (None, "503"),
     ([{"proxy": "details-1.default", **SYNCED, "listener_acked": "6"}], "listeners are stale: sent '7'"),
     ([{"proxy": "details-1.default", **SYNCED, "cluster_sent": ""}], "no clusters were sent")],
)  # fmt: skip
def test_sidecars_that_are_not_synced_say_what_is_missing(status: list[Object] | None, said: str) -> None:
    (text,) = synced(status)
    assert said in text


def bookinfo(*containers: Object, init: list[Object] | None = None) -> list[str]:
    app = pods("details-v1", *containers, namespace="default")
    if init:
        app[1]["spec"]["initContainers"] = [
            {"name": each["name"], "restartPolicy": "Always"} for each in init
        ]
        app[1]["status"]["initContainerStatuses"] = init
    placed = {
        **deployment("details-v1"),
        "metadata": {**deployment("details-v1")["metadata"], "namespace": "default"},
    }
    found = observations.bookinfo_pods_ready(mesh(FakeKube([placed, *app])), "default")
    return [text for text in found if "details-v1-1" in text]


def test_a_pod_is_two_of_two_wherever_its_sidecar_is() -> None:
    assert bookinfo(container("details"), container("istio-proxy")) == []
    assert bookinfo(container("details"), init=[container("istio-proxy")]) == []


def test_a_pod_without_sidecar_or_with_an_unready_one_says_so() -> None:
    (text,) = bookinfo(container("details"))
    assert "expected: a container istio-proxy" in text
    (text,) = bookinfo(container("details"), container("istio-proxy", ready=False))
    assert "1/2, not istio-proxy" in text


def test_a_long_detail_keeps_what_is_concerned_and_why() -> None:
    assert explain._both_ends("Failed to pull\n  not found\n") == "Failed to pull | not found"
    shown = explain._both_ends(f"container a, image b: {'x' * 1000}: no such host")
    assert shown.startswith("container a, image b: xx")
    assert shown.endswith("xx: no such host")
    assert len(shown) < 610


def test_an_observation_is_made_once_and_shared(tmp_path: Path) -> None:
    kube = FakeKube([deployment("istio-pilot")])
    first, second = mesh(kube, observed=tmp_path), mesh(FakeKube(), observed=tmp_path)
    assert first.problems("CP-001[istio-pilot]") == ()
    assert second.problems("CP-001[istio-pilot]") == (), "the second process reads what the first one saw"
    assert mesh(FakeKube()).problems("CP-001[istio-pilot]") != ()


def test_all_components_are_those_that_are_not_optional() -> None:
    texts = mesh(FakeKube()).problems("CP-001")
    assert len(texts) == 9
    assert not any("grafana" in text for text in texts)


def test_what_cannot_be_observed_is_an_error_of_the_check() -> None:
    with pytest.raises(LookupError, match="no observation belongs to XYZ-001"):
        mesh(FakeKube()).problems("XYZ-001")
    with pytest.raises(LookupError, match="none was given"):
        mesh(FakeKube()).problems("BKI-001")


def test_a_mesh_crosses_processes_as_json() -> None:
    trouble = Trouble(Ref("apps/v1", "Deployment", "istio-system", "pilot"), "NotReady", "why", "log")
    given = mesh(FakeKube(), troubles=(trouble,), restarts={"a/b": 1})
    fields = restored(json.loads(json.dumps(given.to_state())))
    assert fields["troubles"] == (trouble,)
    assert fields["preflight"] == given.preflight

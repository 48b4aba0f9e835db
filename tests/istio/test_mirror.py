"""Images from a mirror: in every container and in the template, and nowhere else."""

from __future__ import annotations

import pytest
import yaml

from pytest_istio.istio.images import images
from pytest_istio.istio.inject import InjectionConfig, inject_pod
from pytest_istio.istio.mirror import mirrored, mirrored_image
from pytest_istio.istio.sources import manifests
from pytest_istio.settings import Settings

REGISTRIES = (("docker.io/istio", "mirror.example:5000/mesh"), ("docker.io", "mirror.example:5000/hub"))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("docker.io/istio/pilot:1.0.5", "mirror.example:5000/mesh/pilot:1.0.5"),
        ("istio/pilot:1.0.5", "mirror.example:5000/mesh/pilot:1.0.5"),
        ("docker.io/istiod/pilot:1", "mirror.example:5000/hub/istiod/pilot:1"),
        ("grafana/grafana:5.2.3", "mirror.example:5000/hub/grafana/grafana:5.2.3"),
        ("quay.io/coreos/hyperkube:v1", "quay.io/coreos/hyperkube:v1"),
        ("localhost/istio/pilot:1", "localhost/istio/pilot:1"),
    ],
)
def test_the_longest_prefix_of_whole_parts_counts(image: str, expected: str) -> None:
    assert mirrored_image(image, REGISTRIES) == expected


def test_every_image_of_a_run_comes_from_the_mirror() -> None:
    given = Settings(istio_version="1.0.5")
    asked = Settings(istio_version="1.0.5", image_registries=REGISTRIES)
    expected = {mirrored_image(image, REGISTRIES) for image in images(given)}
    assert set(images(asked)) == expected
    assert not any(image.startswith("docker.io") for image in expected)


def test_injected_sidecars_come_from_the_mirror() -> None:
    found = manifests(Settings(istio_version="1.0.5", image_registries=REGISTRIES))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": []}}
    injected = inject_pod(pod, InjectionConfig.from_manifests(found.objects))
    assert [each["image"] for each in injected["spec"]["containers"]] == [
        "mirror.example:5000/mesh/proxyv2:1.0.5"
    ]
    assert injected["spec"]["initContainers"][0]["image"] == "mirror.example:5000/mesh/proxy_init:1.0.5"
    assert "images of docker.io/istio from mirror.example:5000/mesh" in found.warnings


def test_a_prefix_that_no_image_has_is_told() -> None:
    pairs = (("docker.io/nosuch", "a.example"), ("docker.io/istio/examples-bookinfo-details-v1", "b.example"))
    found = manifests(Settings(istio_version="1.0.5", image_registries=pairs))
    unused = "no image of this run is of docker.io/nosuch, so none comes from a.example"
    assert unused in found.warnings


def test_nothing_else_is_changed() -> None:
    text = "see https://docker.io/istio/docs\nimage: docker.io/istio/proxyv2:1\n"
    obj = {"kind": "ConfigMap", "data": {"config": text, "note": "docker.io/istio/x"}}
    (changed,) = mirrored([obj], REGISTRIES)
    assert yaml.safe_load(changed["data"]["config"].splitlines()[1]) == {
        "image": "mirror.example:5000/mesh/proxyv2:1"
    }
    assert changed["data"]["config"].splitlines()[0] == "see https://docker.io/istio/docs"
    assert changed["data"]["note"] == "docker.io/istio/x"
    assert mirrored([obj], ()) == (obj,)

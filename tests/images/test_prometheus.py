"""Prometheus: the machine's own one, with the manifests' configuration made fit for a process."""

from __future__ import annotations

import json
import shutil

import pytest
import yaml

from pytest_istio.local.images.prometheus.configuration import localized
from pytest_istio.local.images.prometheus.discovery import groups
from pytest_istio.local.images.web import fetch
from tests.images.pods import Object, Pods, eventually, istio_objects, wire


def given() -> Object:
    (found,) = [each for each in istio_objects("ConfigMap") if each["metadata"]["name"] == "prometheus"]
    loaded: Object = yaml.safe_load(found["data"]["prometheus.yml"])
    return loaded


def local(config: Object) -> Object:
    return localized(
        config,
        api_server="127.96.0.1:10443",
        inside=lambda path: f"/pod{path}",
        targets=lambda query: f"/pod/{query[0]}-{'-'.join(query[1])}.json",
    )


def test_every_target_ends_up_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_ADDRESSES", "/hosts")
    monkeypatch.setenv("LOCAL_PORT_SHIFT", "10000")
    config = local(given())
    assert len(config["scrape_configs"]) == 12
    for job in config["scrape_configs"]:
        assert "kubernetes_sd_configs" not in job
        *rules, last = job["relabel_configs"]
        assert last == {"source_labels": ["__address__"], "action": "keep", "regex": r"127\..+"}
        assert [each["regex"] for each in rules[-6:-4]] == [r"kubernetes\.default\.svc:443", r"10\.(.+)"]
    assert config["scrape_configs"][0]["file_sd_configs"] == [{"files": ["/pod/endpoints-istio-system.json"]}]


def test_files_are_below_the_containers_root() -> None:
    jobs = {job["job_name"]: job for job in local(given())["scrape_configs"]}
    secure = jobs["kubernetes-pods-istio-secure"]["tls_config"]
    assert secure["key_file"] == "/pod/etc/istio-certs/key.pem"


def test_targets_carry_the_labels_of_kubernetes_own_discovery() -> None:
    named = {"name": "istio-telemetry", "namespace": "istio-system", "uid": "1"}
    pod = {
        "metadata": {**named, "uid": "2", "labels": {"istio.io/rev": "x"}},
        "status": {"podIP": "10.160.0.1"},
        "spec": {
            "containers": [{"name": "proxy", "ports": [{"name": "envoy-prom", "containerPort": 15090}]}]
        },
    }
    subset = {
        "addresses": [{"ip": "10.160.0.1", "targetRef": {"uid": "2"}}],
        "ports": [{"name": "prometheus", "port": 42422}],
    }
    objects: dict[str, list[Object]] = {
        "nodes": [],
        "pods": [pod],
        "services": [{"metadata": {**named, "annotations": {"a/b": "c"}}}],
        "endpoints": [{"metadata": named, "subsets": [subset]}],
    }
    (endpoint,) = groups(("endpoints", ("istio-system",)), objects)
    assert endpoint["targets"] == ["10.160.0.1:42422"]
    assert endpoint["labels"]["__meta_kubernetes_service_name"] == "istio-telemetry"
    assert endpoint["labels"]["__meta_kubernetes_endpoint_port_name"] == "prometheus"
    assert endpoint["labels"]["__meta_kubernetes_service_annotation_a_b"] == "c"
    (found,) = groups(("pod", ()), objects)
    assert found["targets"] == ["10.160.0.1:15090"]
    assert found["labels"]["__meta_kubernetes_pod_container_port_name"] == "envoy-prom"
    assert found["labels"]["__meta_kubernetes_pod_label_istio_io_rev"] == "x"
    assert not list(groups(("pod", ("default",)), objects))


def scraped() -> Object:
    """A configuration that scrapes Mixer only: the whole one would ask for what does not run here."""
    config = given()
    config["scrape_configs"] = [each for each in config["scrape_configs"] if each["job_name"] == "istio-mesh"]
    config["scrape_configs"][0]["scrape_interval"] = "1s"
    return config


def test_the_real_one_scrapes_the_clusters_targets(pods: Pods) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("no program prometheus on PATH")
    mixer, address = pods.address(21), pods.address(20)
    pods.apply(*[each for each in istio_objects("Service") if each["metadata"]["name"] == "istio-telemetry"])
    pods.serve("istio-telemetry", mixer, 42422, "prometheus")
    root = pods.root_of("prometheus")
    folder = root / "etc/prometheus"
    folder.mkdir(parents=True)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(scraped()))
    arguments = ["--storage.tsdb.retention=6h", "--config.file=/etc/prometheus/prometheus.yml"]
    url = f"http://{wire(address, 9090)[0]}:9090"
    with (
        pods.running("mixer", [], pods.root_of("istio-mixer-service-account"), mixer),
        pods.running("prometheus", arguments, root, address) as running,
    ):
        eventually(lambda: fetch(f"{url}/-/ready").status == 200)

        def up() -> list[Object]:
            answer = json.loads(fetch(f"{url}/api/v1/query?query=up==1").body)
            result: list[Object] = answer["data"]["result"]
            return result

        (found,) = eventually(up)
        assert found["metric"]["instance"] == f"{wire(mixer, 0)[0]}:42422"
        assert "level=error" not in running.log

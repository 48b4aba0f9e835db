"""What the injector answers, and how it keeps its webhook's configuration usable."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pytest_istio.errors import ManifestError
from pytest_istio.istio.inject import InjectionConfig, injection_required, json_patch
from pytest_istio.local.images import admission, arguments
from pytest_istio.local.images.cluster_api import ApiError, ClusterApi
from pytest_istio.local.images.environment import inside, log

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["CaBundle", "Injector", "serve"]

_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1beta1/mutatingwebhookconfigurations"


class Injector:
    """Decides about pods by the configuration in the mounted ConfigMaps."""

    def __init__(self, config: Path, mesh: Path) -> None:
        """Read nothing yet: each request counts on what the files hold at its time.

        Args:
            config: The policy and the template.
            mesh: The mesh configuration.
        """
        self._files = (config, mesh)
        self._texts: list[str] = []
        self._config: InjectionConfig | None = None

    def decide(self, request: Mapping[str, Any]) -> admission.Verdict:
        """Return the patch that injects the sidecar into the pod of an admission request, if it takes one."""
        pod, namespace = request["object"], request.get("namespace")
        named = f"{namespace}/{pod['metadata'].get('name') or pod['metadata'].get('generateName')}"
        try:
            config = self._current()
            if not injection_required(pod, namespace, config.policy):
                log("pod left as it is", pod=named)
                return admission.Verdict()
            patch = json_patch(pod, config)
        except (ManifestError, OSError) as error:
            log("pod denied", level="error", pod=named, error=str(error))
            return admission.Verdict(message=f"failed to inject the sidecar into pod {named}: {error}")
        log("sidecar injected", pod=named)
        return admission.Verdict(patch=tuple(patch))

    def _current(self) -> InjectionConfig:
        texts = [file.read_text(encoding="utf-8") for file in self._files]
        if self._config is None or texts != self._texts:
            self._config = InjectionConfig.from_texts(*texts)
            self._texts = texts
            log("configuration read", template=self._config.version)
        return self._config


class CaBundle:
    """Keeps the CA bundle of the webhook's configuration filled where it can.

    Like the release it knows that API only as it was up to Kubernetes 1.21: on a newer API server it serves,
    says again and again that it could not, and somebody else has to fill it.
    """

    def __init__(self, api: ClusterApi, webhook: admission.Webhook, configuration: str, hook: str) -> None:
        """Do nothing yet.

        Args:
            api: The API server.
            webhook: The server whose CA bundle it is.
            configuration: The name of the MutatingWebhookConfiguration.
            hook: The name of the webhook in it.
        """
        self._api = api
        self._webhook = webhook
        self._path = f"{_CONFIGURATIONS}/{configuration}"
        self._hook = hook

    def check(self) -> None:
        """Patch the configuration; nothing changes where its CA bundle is this server's."""
        patch = {"webhooks": [{"name": self._hook, "clientConfig": {"caBundle": self._webhook.ca_bundle}}]}
        try:
            self._api.request(
                "PATCH", self._path, patch, content_type="application/strategic-merge-patch+json"
            )
        except (ApiError, OSError) as error:
            log("CA bundle not patched, will try again", level="error", error=str(error))


def serve(given: Sequence[str]) -> None:
    """Serve until terminated.

    Args:
        given: The program's arguments.
    """
    parser = argparse.ArgumentParser(prog="sidecar-injector", allow_abbrev=False)
    admission.add_options(parser)
    parser.add_argument("--injectConfig", type=inside, default=inside("/etc/istio/inject/config"))
    parser.add_argument("--meshConfig", type=inside, default=inside("/etc/istio/config/mesh"))
    parser.add_argument("--webhookConfigName", default="istio-sidecar-injector")
    parser.add_argument("--webhookName", default="sidecar-injector.istio.io")
    options = arguments.parse(parser, given)
    injector = Injector(options.injectConfig, options.meshConfig)
    webhook = admission.Webhook(options, {"/inject": injector.decide})
    log("serving", webhook=options.webhookName)
    bundle = CaBundle(ClusterApi(), webhook, options.webhookConfigName, options.webhookName)
    webhook.run(options, bundle.check)

"""What can go wrong, as types.

Every exception's text is a whole message for a person: the object, what was expected, what was seen,
the likely cause and the next command to type. The plugin prints it as it is and never shows a
traceback for one of these, which is why errors of libraries are translated at the border of a room
and do not leak through it.

    PytestIstioError
    ├── BadSettingError      an option, environment variable or ini value is wrong (exit code 4)
    ├── ManifestError        a manifest cannot be read, or holds what no cluster could take (exit code 4)
    ├── UnknownVersionError  no catalogue entry for the Istio version asked for (exit code 4)
    ├── ClusterError         a cluster cannot be had, or is lost (exit code 4)
    ├── KubeError            the API server answered with an error (pytest_istio.kube.errors)
    └── NotReadyError        objects did not become ready in time (pytest_istio.kube.wait)
"""

from __future__ import annotations

__all__ = ["BadSettingError", "ClusterError", "ManifestError", "PytestIstioError", "UnknownVersionError"]


class PytestIstioError(Exception):
    """The base of all errors of this program; ``str()`` of it is a complete message."""


class BadSettingError(PytestIstioError):
    """An option, an environment variable or an ini value cannot be used."""


class ManifestError(PytestIstioError):
    """A manifest cannot be read, or holds what no cluster could take."""


class UnknownVersionError(PytestIstioError):
    """The catalogue has no entry for an Istio version."""


class ClusterError(PytestIstioError):
    """A cluster cannot be created, reached or used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.images.pods import Pods, running_pods

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """A control plane on which programs of images run."""
    with running_pods(tmp_path_factory.mktemp("pods")) as running:
        yield running

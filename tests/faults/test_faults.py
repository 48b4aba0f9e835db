"""Each fault makes its checks fail, those that build on them are blocked, and their neighbours pass."""

from __future__ import annotations

import pytest

from tests.faults.faults import all_faults
from tests.faults.runner import all_checks, run


@pytest.mark.faults
@pytest.mark.usefixtures("kube_binaries")
@pytest.mark.parametrize("name", all_faults())
def test_fault(name: str) -> None:
    fault = all_faults()[name]
    done = run(fault, fault.neighbours(all_checks()))
    surprises = done.surprises()
    assert not surprises, "\n".join([*surprises, done.text])

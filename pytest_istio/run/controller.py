"""The hooks of the process that owns the cluster: pytest itself, never a worker of pytest-xdist."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pytest_istio.conformance.gate import shortcoming
from pytest_istio.conformance.selection import Selection
from pytest_istio.errors import PytestIstioError
from pytest_istio.findings import one_line
from pytest_istio.report import terminal, writers
from pytest_istio.report.model import Report
from pytest_istio.report.results import Results
from pytest_istio.run.context import CONTROLLER_INPUT, FOLDER_INPUT, VERSION_INPUT, is_distributing, is_dry
from pytest_istio.run.interrupts import LOST
from pytest_istio.run.live import durations
from pytest_istio.run.loss import Loss
from pytest_istio.run.owner import Owner
from pytest_istio.run.states import FACTS, GATEWAY, SELECTION
from pytest_istio.run.workers import Workers

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from _pytest.terminal import TerminalReporter

    from pytest_istio.clusters.base import Cluster
    from pytest_istio.run.context import Run
    from pytest_istio.run.interrupts import Interrupts

__all__ = ["Controller"]

FINISH_IT = "finish it with: pytest-istio cleanup (for an existing cluster with its --context)"
CLUSTER_FACTS = ("name", "provider", "description", "created", "reused")


class Controller:
    """Starts the cluster when a test that runs needs it, ends it, and tells what the run came to."""

    def __init__(self, run: Run, config: pytest.Config, interrupts: Interrupts) -> None:
        self._run = run
        self._config = config
        self._owner = Owner(run.settings, run.folder)
        self._interrupts = interrupts
        self._loss = Loss(lambda: self._owner.trouble, interrupts.end)
        self._results = Results()
        self._report: Report | None = None
        self._session: pytest.Session | None = None
        self._errors: list[str] = []
        config.pluginmanager.register(self._results, "istio-results")

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Show what workers do, where there are any: only now is that known."""
        self._session = session
        if is_distributing(self._config):
            self._config.pluginmanager.register(Workers(self._run.folder, self._run.screen), "istio-workers")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Start the cluster, unless workers collect the tests."""
        collection_failed = session.testsfailed and not session.config.option.continue_on_collection_errors
        if not collection_failed:
            self._start_for(self._run.selection)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # noqa: ANN401 (pytest-xdist may not be there)
        """Tell a worker where the run's processes meet, and what it is about."""
        node.workerinput[VERSION_INPUT] = self._run.settings.istio_version
        node.workerinput[FOLDER_INPUT] = str(self._run.folder.path)
        node.workerinput[CONTROLLER_INPUT] = os.getpid()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self) -> None:
        """Start the cluster, between the collection of a worker and its first test."""
        self._start_for(self._selection())

    # Around the end of fixtures and workers, inside the writing of the summary.
    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        """End the cluster and write the reports."""
        broken_off = self._interrupts.heard or bool(self._owner.trouble)
        try:
            yield
        except (KeyboardInterrupt, pytest.exit.Exception):
            raise
        except BaseException as error:
            # What a test that was broken off has made may not be there to be taken back.
            if not broken_off:
                raise
            for each in getattr(error, "exceptions", [error]):
                self._fail(session, one_line(f"After the run was broken off, a fixture's end failed: {each}"))
        finally:
            if not is_dry(self._config):
                self._finish(session)

    def pytest_runtest_logfinish(self) -> None:
        """Run no further test on a cluster that is lost, where the run could not be ended in mid-test."""
        if self._owner.trouble and self._session:
            self._session.shouldfail = LOST

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter, exitstatus: int) -> None:
        """Tell what the run came to."""
        deselected = terminalreporter.stats.get("deselected")
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and not deselected:
            terminal.point_to_suites(terminalreporter)
        if self._report and self._config.get_verbosity() >= 0:
            terminal.summarise(terminalreporter, self._report, self._selection())
        if self._owner.kept:
            terminal.explain_kept(terminalreporter, self._owner.kept)

    def pytest_unconfigure(self) -> None:
        """Write the very last lines."""
        if not self._config.pluginmanager.has_plugin("terminalreporter"):
            sys.stderr.writelines(f"ERROR: {text}\n" for text in self._errors)
            return
        for text in self._errors:
            self._config.get_terminal_writer().line(f"ERROR: {text}", red=True)
        if self._report and self._report.cluster and self._config.get_verbosity() >= -1:
            self._config.get_terminal_writer().line(terminal.verdict(self._report))

    def _start_for(self, selection: Selection) -> None:
        if selection.complaints:
            raise pytest.UsageError("; ".join(selection.complaints))
        if not selection.cluster or is_dry(self._config):
            return
        try:
            self._owner.start(self._run.progress)
            self._loss.watch()
        except PytestIstioError as error:
            if self._interrupts.heard:
                # Taking back what had been started failed; the run was interrupted all the same.
                self._errors.append(one_line(str(error)))
                raise KeyboardInterrupt from error
            raise pytest.UsageError(one_line(str(error))) from error
        except (OSError, RuntimeError) as error:
            # Such as a full disk, wherever it shows, or a user without a home folder.
            raise pytest.UsageError(one_line(f"The cluster cannot be started: {error}")) from error

    def _finish(self, session: pytest.Session) -> None:
        self._loss.close()
        checks = self._results.checks(self._selection())
        outcomes = [check.outcome for check in checks]
        cluster, trouble = self._owner.cluster, self._owner.trouble
        if self._run.settings.gate and not trouble:
            self._judge(session, outcomes, cluster)
        if session.exitstatus == pytest.ExitCode.OK and "blocked" in outcomes:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if trouble:
            self._fail(session, trouble)
        try:
            self._owner.stop(self._run.progress, failed=session.exitstatus == pytest.ExitCode.TESTS_FAILED)
        except PytestIstioError as error:
            self._fail(session, str(error))
        except OSError as error:
            # Such as a full disk, wherever it shows.
            self._fail(session, f"Ending the cluster failed: {error}; {FINISH_IT}")
        except KeyboardInterrupt:
            self._fail(session, f"Ending the cluster was interrupted; {FINISH_IT}")
        if self._interrupts.heard:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        self._report = self._compose(session, cluster)
        for path in self._run.settings.reports:
            self._write(session, self._report, path)

    def _write(self, session: pytest.Session, report: Report, path: Path) -> None:
        try:
            writers.write(report, path)
        except OSError as error:
            self._fail(session, f"--istio-report: {path} cannot be written: {error.strerror}")

    def _judge(self, session: pytest.Session, outcomes: list[str], cluster: Cluster | None) -> None:
        if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            reason = shortcoming(outcomes, rehearsal=cluster is not None and cluster.rehearsal)
            if reason:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
                self._errors.append(f"--istio-gate: {reason}")

    def _compose(self, session: pytest.Session, cluster: Cluster | None) -> Report:
        return Report(
            istio={"version": self._run.settings.istio_version, **(self._run.folder.read(FACTS) or {})},
            cluster={name: getattr(cluster, name) for name in CLUSTER_FACTS} if cluster else None,
            profile=self._run.settings.profile,
            rehearsal=cluster is not None and cluster.rehearsal,
            exit_status=int(session.exitstatus),
            phases=tuple(durations(self._run.folder)),
            checks=self._results.checks(self._selection()),
            gateway=self._run.folder.read(GATEWAY),
        )

    def _selection(self) -> Selection:
        if not is_distributing(self._config):
            return self._run.selection
        # All workers collect the same, and the first one's word is there when it is needed.
        states = self._run.folder.read_all(SELECTION)
        return next((Selection.from_state(state) for state in states), Selection())

    def _fail(self, session: pytest.Session, text: str) -> None:
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR
        self._errors.append(text)

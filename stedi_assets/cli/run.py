"""Runs the Dagster job in this process and tells a person how it goes."""

import contextlib
import logging
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import dagster as dg
from rich.console import Console
from rich.markup import escape

from stedi_assets.cli import BEGAN, interrupts
from stedi_assets.cli.history import instance_of
from stedi_assets.cli.terminal import tell
from stedi_assets.defs.all_files import ALL_FILES
from stedi_assets.defs.checks import UNCHANGED
from stedi_assets.defs.jobs import REFRESH
from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.progress import Progress
from stedi_assets.settings import Settings
from stedi_assets.tables import TABLES

_TABLES = tuple(table.name for table in TABLES)

_WIDE = 79
"""Columns that the line of a table takes."""


def run(
    settings: Settings,
    console: Console,
    progress: Progress,
    tables: Collection[str],
    tags: Mapping[str, str],
) -> bool:
    """Run the refresh job as a run of Dagster's history, so that the UI shows it too.

    Args:
        settings: Which lakehouse.
        console: Where to print how it goes.
        progress: Is told what is being done.
        tables: Tables to bring up to date, with those they are made from.
        tags: What else is asked of the run.

    Returns:
        Whether every table was refreshed and every check passed.
    """
    events = _Events(console)
    definitions = dg.Definitions.merge(
        lakehouse_definitions(settings, progress),
        dg.Definitions(loggers={"progress": events.logger_definition()}),
    )
    selection = dg.AssetSelection.assets(*tables).upstream() & dg.AssetSelection.assets(*_TABLES)
    selected = selection.resolve(definitions.resolve_asset_graph())
    with instance_of(settings) as instance, _canceled_if_interrupted(instance, events) as run_id:
        result = definitions.resolve_job_def(REFRESH).execute_in_process(
            run_id=run_id,
            instance=instance,
            asset_selection=list(selected),
            run_config={"loggers": {"progress": {}}},
            tags={"lakehouse": settings.lakehouse, **tags},
            raise_on_error=sys.flags.dev_mode,
        )
    events.summarize({key.path[-1] for key in selected}, run_id)
    return result.success and not events.failed


@contextlib.contextmanager
def _canceled_if_interrupted(instance: dg.DagsterInstance, events: "_Events") -> Iterator[str]:
    """An id for a run, which is canceled in the history if a signal ends it.

    Raises:
        KeyboardInterrupt: A signal ended it.
    """
    run_id = str(uuid4())
    # Known before the run has ended, it does not fail, so that nobody is alerted.
    events.when_interrupted = lambda: _report(run_id, instance, instance.report_run_canceling)
    try:
        try:
            yield run_id
        finally:
            interrupts.hold(False)
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        events.interrupted = True
    if events.interrupted:
        _report(run_id, instance, instance.report_run_canceled)
        raise KeyboardInterrupt


def _report(
    run_id: str, instance: dg.DagsterInstance, report: Callable[[dg.DagsterRun], object]
) -> None:
    run = instance.get_run_by_id(run_id)
    if run and run.status != dg.DagsterRunStatus.CANCELED:
        report(run)


_SENTENCES = {
    LakehouseError.__name__,
    *(error.__name__ for error in LakehouseError.__subclasses__()),
}
"""Errors whose message is a sentence for people."""


@dataclass
class _Line:
    """What is known of a table in this run.

    Attributes:
        ended: When its last event came.
    """

    ended: float
    rows: int | None = None
    audited: bool = False
    held_back: bool = False
    nothing_taken: bool = False
    duplicates: int = 0
    checks: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    warned: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """What became of the table."""
        if self.held_back:
            return "held back"
        return "published" if self.audited and not self.nothing_taken else "unchanged"


class _Events(logging.Handler):
    """Follows a run's events, and prints a line for each table that is done."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._lines: dict[str, _Line] = {}
        self._current: str | None = None
        self._steps_failed = False
        self._ended = 0.0
        self._seconds = 0.0
        self.interrupted = False
        self.when_interrupted: Callable[[], object] = lambda: None

    def logger_definition(self) -> dg.LoggerDefinition:
        """This handler, as a logger that a job can be configured with."""

        def make(_: dg.InitLoggerContext) -> logging.Logger:
            logger = logging.Logger("stedi.refresh", logging.DEBUG)
            logger.addHandler(self)
            return logger

        return dg.LoggerDefinition(make)

    @property
    def failed(self) -> bool:
        """Whether a check failed with more than a warning."""
        return any(line.failed for line in self._lines.values())

    def emit(self, record: logging.LogRecord) -> None:
        if interrupts.exit_code() and not self.interrupted:
            signal.raise_signal(signal.SIGINT)  # some library swallowed it
        event: dg.DagsterEvent | None = getattr(record, "dagster_event", None)
        if event is None:
            if record.levelno >= logging.WARNING:  # ours; those of Dagster are events, too
                meta = getattr(record, "dagster_meta", {})
                message = meta.get("orig_message", record.getMessage())
                self._console.print(message, style="yellow", markup=False)
            return
        match event.event_type:
            case dg.DagsterEventType.RESOURCE_INIT_SUCCESS | dg.DagsterEventType.LOGS_CAPTURED:
                # In between, Dagster starts processes that copy what steps print.
                interrupts.hold(event.event_type != dg.DagsterEventType.LOGS_CAPTURED)
            case dg.DagsterEventType.STEP_START:
                self._ended = self._ended or time.perf_counter()
            case dg.DagsterEventType.ASSET_MATERIALIZATION:
                self._materialized(event.step_materialization_data.materialization)
            case dg.DagsterEventType.ASSET_CHECK_EVALUATION:
                self._checked(event.asset_check_evaluation_data)
            case dg.DagsterEventType.STEP_SUCCESS:
                if self._current:
                    self._lines[self._current].ended = time.perf_counter()
                self._close()
            case dg.DagsterEventType.STEP_UP_FOR_RETRY:
                self._close()
                self._retry(event)
            case dg.DagsterEventType.STEP_FAILURE:
                self._close()
                self._fail(event)
            case dg.DagsterEventType.RUN_FAILURE:
                self._fail_outside(event)

    def _materialized(self, materialization: dg.AssetMaterialization) -> None:
        self._close()
        self._current = materialization.asset_key.path[-1]
        self._lines[self._current] = _Line(
            ended=time.perf_counter(),
            rows=_number(materialization.metadata.get("dagster/row_count")),
            nothing_taken=bool(_number(materialization.metadata.get("held_back_files")))
            and not _number(materialization.metadata.get("new_files")),
            duplicates=_number(materialization.metadata.get("duplicate_files")) or 0,
        )

    def _checked(self, evaluation: dg.AssetCheckEvaluation) -> None:
        name = evaluation.asset_key.path[-1]
        if evaluation.check_name == ALL_FILES:  # it only repeats others
            return
        if name not in self._lines:  # the candidate is held back, or there is none
            self._close()
            self._current, self._lines[name] = name, _Line(time.perf_counter(), held_back=True)
        line = self._lines[name]
        if line.rows is None:
            line.rows = _number(evaluation.metadata.get("candidate_rows"))
        line.ended = time.perf_counter()
        line.checks += 1
        measured = evaluation.metadata
        line.audited |= "audit_seconds" in measured and UNCHANGED not in measured
        if not evaluation.passed:
            warning = evaluation.severity == dg.AssetCheckSeverity.WARN
            sentences = line.warned if warning else line.failed
            sentences[evaluation.check_name] = evaluation.description or ""
        line.held_back |= bool(_number(evaluation.metadata.get("held_back")))

    def _close(self) -> None:
        if self._current is None:
            return
        name, line = self._current, self._lines[self._current]
        self._current = None
        seconds = line.ended - self._ended
        self._ended = line.ended
        self._seconds += seconds
        self._print_line(name, line, f"{seconds:.2f}")
        if line.duplicates:
            self._console.print(f"  skipped, content taken in before: {line.duplicates}")
        for color, sentences in (("red", line.failed), ("yellow", line.warned)):
            for check, sentence in sentences.items():
                self._console.print(
                    f"  [{color}]{check}[/]: {escape(sentence)}", highlight=False, soft_wrap=True
                )

    def _print_line(self, name: str, line: _Line, seconds: str) -> None:
        style = "red" if line.failed else "green" if line.audited else "dim"
        rows = "-" if line.rows is None else f"{line.rows:,}"
        checks = f"{line.checks - len(line.failed) - len(line.warned)}/{line.checks}"
        text = (
            f"[{style}]{name:26}[/] {rows:>12} rows {seconds:>8} s  checks {checks:5} {line.state}"
            if self._console.width >= _WIDE
            else f"[{style}]{name}[/]\n  {rows} rows, {seconds} s, checks {checks}, {line.state}"
        )
        self._console.print(text, highlight=False)

    def _retry(self, event: dg.DagsterEvent) -> None:
        retry = event.step_retry_data
        cause = retry.error.cause if retry.error else None
        message = cause.message.partition(": ")[2].strip() if cause else ""  # after its class
        again = f"Trying again in {retry.seconds_to_wait:.0f} s."
        self._say(f"{event.step_key}: {message} {again}", "yellow")

    def _fail(self, event: dg.DagsterEvent) -> None:
        error = event.step_failure_data.error
        cause = error.cause if error and error.cause else error
        self._steps_failed = True
        if cause is None or cause.cls_name == "DagsterAssetCheckFailedError":
            return  # the table's line says it
        failure = event.step_failure_data.user_failure_data
        message = failure.description if failure and failure.description else cause.message
        if cause.cls_name in {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}:
            self.interrupted = True  # reported when the run is over
            self.when_interrupted()
            return
        self._say(f"{event.step_key}: {message.strip()}", "red")

    def _fail_outside(self, event: dg.DagsterEvent) -> None:
        """Say why a run failed before its first step, or between two."""
        error = event.job_failure_data.error
        while error and error.cause:
            error = error.cause
        if error is None or self._steps_failed:
            return
        if error.cls_name in {"DagsterExecutionInterruptedError", "KeyboardInterrupt"}:
            self.interrupted = True
        elif error.cls_name in _SENTENCES:
            self._say(error.message.partition(": ")[2].strip(), "red")

    def _say(self, sentence: str, style: str) -> None:
        tell(self._console, sentence, style)

    def summarize(self, tables: set[str], run_id: str) -> None:
        """Say which tables were not run, what failed, and how long it all took."""
        for name in sorted(tables - set(self._lines)):
            self._console.print(f"{name:26} not run", style="dim", highlight=False)
        if failed := [
            f"{check} of {name}" for name, line in self._lines.items() for check in line.failed
        ]:
            self._console.print(f"[red]Failed: {', '.join(failed)}.")
        if warned := [
            f"{check} of {name}" for name, line in self._lines.items() for check in line.warned
        ]:
            self._console.print(f"[yellow]Warned: {', '.join(warned)}.")
        total = time.perf_counter() - BEGAN
        self._console.print(
            f"{total:.2f} s, {total - self._seconds:.2f} s of it to start and to keep the history; "
            f"run {run_id}.",
            highlight=False,
        )


def _number(value: dg.MetadataValue | None) -> Any:
    return None if value is None else value.value

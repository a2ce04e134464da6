"""A made-up history of two experiments: what the tests of the run record ask about."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from experiment_pipeline.reporting import run_record
from experiment_pipeline.tracking.database.recording import RunRecord, record_rows

FIRST_DAY = datetime(2026, 2, 2, 6, 0, tzinfo=UTC)
FAILED = "lower bound of roc_auc at least 0.65: 0.5700, FAIL"
PASSED = "every gate passed; condition: constant_column: year has 1 value"
KEYS = ("linear__C=0.1", "linear__C=1.0", "lightgbm__7f3a9c2e")


def configuration_rows(best: float) -> list[run_record.RecordRow]:
    """Three configurations, of which two are ranked and one failed."""
    second = best - 0.05
    ranked = run_record.ConfigurationRow(
        key=KEYS[2],
        algorithm="lightgbm",
        hyperparameters={"num_leaves": 31, "learning_rate": 0.05},
        status="trained",
        rank=1,
        rung=1.0,
        reused=False,
        test_score=best,
        test_low=best - 0.02,
        test_high=best + 0.02,
        difference_to_best=0.0,
        in_tie_group=True,
        train_score=best + 0.05,
        fit_cpu_seconds=2.5,
        fit_wall_seconds=2.6,
        model_bytes=120_000,
        fingerprint="f" * 64,
    )
    linear = {"C": 0.1, "penalty": "l2"}
    return [
        replace(ranked, rounds=140, reason="chosen", is_chosen=True),
        replace(
            ranked,
            key=KEYS[0],
            algorithm="linear",
            hyperparameters=linear,
            rank=2,
            reused=True,
            test_score=second,
            test_low=second - 0.02,
            test_high=second + 0.02,
            difference_to_best=second - best,
            in_tie_group=False,
            fit_cpu_seconds=0.2,
            fit_wall_seconds=0.2,
            fingerprint="e" * 64,
        ),
        run_record.ConfigurationRow(
            key=KEYS[1],
            algorithm="linear",
            hyperparameters=linear | {"C": 1.0},
            status="failed",
            reason="ValueError: no such solver",
        ),
    ]


def run_rows(
    number: int, *, status: str = "accepted", best: float = 0.70
) -> list[run_record.RecordRow]:
    """Everything of a run; every second has other data, every third other code."""
    started = FIRST_DAY + timedelta(days=number)
    rows: list[run_record.RecordRow] = [
        run_record.RunFacts(
            status=status,  # type: ignore[arg-type]
            triggered_by="schedule" if number % 2 else "command line",
            trigger_name="flight_delay_schedule" if number % 2 else None,
            started_at=started,
            ended_at=started + timedelta(seconds=40),
            seen_at=started + timedelta(seconds=40),
            stage="exported_model",
            task="binary",
            target="delayed",
            metric="roc_auc",
            greater_is_better=True,
            yaml_digest=f"yaml{number // 4}",
            schema_digest="schema0",
            code_commit=(f"{number // 3:x}" * 40)[:40],
            code_dirty=number % 5 == 0,
            package_version="0.1.0",
            python_version="3.11.2",
            libraries={"lightgbm": "4.7.0", "scikit-learn": "1.9.1"},
            data_url="data/flights.csv",
            data_digest=f"data{number // 2}",
            data_modified_at=started - timedelta(hours=5),
            data_rows=10_000 + number,
            data_columns=12,
            rejected_rows=3,
            verdict="go with conditions",
            declared=3,
            trained=2,
            stopped_early=0,
            failed=1,
            not_started=0,
            reused=1,
            chosen=KEYS[2],
            choice_reason="the best on test",
            tie_group=1,
            test_score=best,
            test_low=best - 0.02,
            test_high=best + 0.02,
            test_baseline=0.5,
            validation_score=best - 0.01,
            validation_low=best - 0.03,
            validation_high=best + 0.01,
            validation_baseline=0.5,
            looks=number + 1,
            overlap=1.0,
            decision=PASSED if status == "accepted" else FAILED,
            version=f"v{number + 1:04d}" if status == "accepted" else None,
            version_is_new=True if status == "accepted" else None,
            price_per_hour=0.36,
        ),
        *(
            run_record.SetRow(
                set_name=name, rows=rows, columns=12, digest=f"{name}{number // 2}"
            )
            for name, rows in {"train": 6000, "test": 2000, "validation": 2000}.items()
        ),
        finding_row(number=1.0, threshold=1.0, advice="exclude it"),
        *configuration_rows(best),
        run_record.ScoreRow(
            set_name="validation",
            metric="roc_auc",
            estimate=best - 0.01,
            low=best - 0.03,
            high=best + 0.01,
            baseline=0.5,
            greater_is_better=True,
        ),
        run_record.GateRow(
            number=1,
            metric="roc_auc",
            rule="lower bound of roc_auc at least 0.65",
            value=best - 0.03,
            limit_value=0.65,
            outcome="PASS" if status == "accepted" else "FAIL",
        ),
        run_record.AuditRow(
            column_name="sex", group_name="F", measure="precision", value=0.6, rows=40
        ),
        run_record.EvidenceRow(kind="unknown", what="Drift is not measured."),
        run_record.DataIssueRow(
            code="Rejected rows: day: is missing",
            rule="day: is missing",
            rows=12,
            share=0.01,
            cost="",
            since=FIRST_DAY,
            since_run="00000002",
        ),
        run_record.ReportRow(
            name="leaderboard",
            place=f"artifacts/flight_delay/leaderboard/{number}.html",
        ),
        run_record.FileRow(
            digest=f"yaml{number // 4}",
            content=f"target: delayed\nseed: {number // 4}\n",
        ),
        run_record.FileRow(digest="schema0", content="columns: {}\n"),
    ]
    return rows


def write_history(experiment: str = "flight_delay", runs: int = 4) -> list[str]:
    """Write accepted runs, then a rejected one; return their ids, oldest first."""
    ids = [f"{number:08x}-{experiment}" for number in range(runs)]
    for number, run_id in enumerate(ids):
        accepted = number < runs - 1
        record = RunRecord(experiment, run_id)
        best = 0.70 + number / 100 if accepted else 0.60
        record.record(
            run_rows(number, status="accepted" if accepted else "rejected", best=best)
        )
        record.add_cost(36.0, 50.0 + number, 300_000_000)
        if accepted:
            version = version_row(
                f"v{number + 1:04d}",
                run_id=run_id,
                created_at=FIRST_DAY + timedelta(days=number, seconds=38),
                place=f"artifacts/{experiment}/registry/v{number + 1:04d}",
                headline=f"roc_auc {best - 0.01:.3f} on validation",
            )
            record_rows([version], experiment)
    return ids


def write_run(
    run_id: str,
    *rows: run_record.RecordRow,
    experiment: str = "flight_delay",
    **facts: Any,
) -> RunRecord:
    """Write a run of the first day, unless it is told when, and rows of it."""
    record = RunRecord(experiment, run_id)
    record.record([run_record.RunFacts(**{"started_at": FIRST_DAY} | facts), *rows])
    return record


def write_watch(experiment: str = "flight_delay") -> None:
    """Write that a version has predicted, and was watched."""
    predicted = run_record.PredictionRow(
        "v0001", "2026-02-04T06:00:00+00:00", 900, 1, ("no drift",)
    )
    watched = run_record.WatchRow(
        version="v0001",
        at="2026-02-05T06:00:00+00:00",
        metric="roc_auc",
        rows=900,
        days=3,
        score=0.68,
        low=0.65,
        high=0.71,
        promise=0.69,
        promise_low=0.67,
        promise_high=0.71,
        baseline=0.5,
        evidence=0.9,
        below=False,
        since=None,
        recent=None,
    )
    record_rows([predicted, watched], experiment)


def finding_row(**facts: Any) -> run_record.FindingRow:
    """A column with one value."""
    defaults = {
        "code": "constant_column",
        "title": "Columns with one value",
        "severity": "warn",
        "column_names": ("year",),
        "evidence": "year has 1 value",
        "advice": "",
    }
    return run_record.FindingRow(**defaults | facts)


def version_row(version: str, **facts: Any) -> run_record.VersionRow:
    """A version of the first day."""
    defaults = {
        "created_at": FIRST_DAY,
        "place": "p",
        "configuration": KEYS[2],
        "headline": "h",
        "fingerprint": "f" * 64,
    }
    return run_record.VersionRow(version=version, **defaults | facts)

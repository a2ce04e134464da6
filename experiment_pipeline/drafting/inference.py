"""A first experiment on an unknown table: what can be inferred, why, and what only people know."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from experiment_pipeline.drafting import Wishes, decisions
from experiment_pipeline.drafting.columns import (
    ColumnPlan,
    plan_columns,
    read_completely,
    with_days,
)
from experiment_pipeline.drafting.search import Proposal, Shape, propose_search
from experiment_pipeline.errors import UnusableTable, did_you_mean, listed
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of

# The rejection limit that a spec has by default, and what may be rejected beyond the rows
# that lack a target.
USUAL_LIMIT = 0.05
ROOM = 0.02
# Below it a test set chooses by luck: of 400 rows it has 80.
SMALL_TABLE = 2_000


@dataclass(frozen=True)
class Draft:
    """An experiment as inferred.

    Attributes:
        target, task, positive_class, metric, split, search: as in the spec, with reasons.
        excluded: column → reason.
        prepared: columns that are changed before validation, with what is done and why.
        id_columns: columns that decide a row's set.
        max_rejected: the limit on rejected rows, where the usual one would be passed.
        hints: what only people can decide, a sentence each.
        evaluation: what the choice rests on, where it is not the test set.
        seconds: of the budget; None: it has none.
    """

    target: str
    task: decisions.Decision
    positive_class: decisions.Decision | None
    metric: decisions.Decision
    split: decisions.Decision
    excluded: Mapping[str, str]
    prepared: tuple[ColumnPlan, ...]
    id_columns: tuple[str, ...]
    max_rejected: decisions.Decision | None
    hints: tuple[str, ...]
    search: tuple[Proposal, ...]
    evaluation: decisions.Decision | None
    seconds: float | None = None

    @property
    def preparation(self) -> dict[str, dict[str, Any]]:
        """`spec.preparation`: setting → column → value."""
        settings: dict[str, dict[str, Any]] = {}
        for plan in self.prepared:
            for setting, value in plan.preparation.items():
                settings.setdefault(setting, {})[plan.name] = value
        return settings

    @property
    def full_split(self) -> dict[str, Any]:
        """`spec.split`."""
        ids = {"id_columns": list(self.id_columns)} if self.id_columns else {}
        return {**self.split.value, **ids}

    def attributes(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of this draft's YAML, for `spec_from`; `data` as it is to be written."""
        keys: dict[str, Any] = {
            "data": dict(data),
            "target": self.target,
            "task": self.task.value,
            "exclude": dict(self.excluded),
            "preparation": self.preparation,
            "split": self.full_split,
            "search": [dict(proposal.entry) for proposal in self.search],
            "metric": self.metric.value,
        }
        if self.positive_class is not None:
            keys["positive_class"] = self.positive_class.value
        if self.evaluation is not None:
            keys["evaluation"] = self.evaluation.value
        if self.seconds is not None:
            keys["budget"] = {"seconds": self.seconds}
        if self.max_rejected is not None:
            keys["validation"] = {"max_rejected_fraction": self.max_rejected.value}
        return keys


def infer(raw: pd.DataFrame, wishes: Wishes, rows: int | None = None) -> Draft:
    """Draft an experiment.

    Args:
        raw: the table, or a sample of its rows, numbered as in the table.
        wishes: what the user has decided.
        rows: of the table; None: `raw` is all of it.

    Raises:
        UnusableTable: a column that does not exist, a target that cannot be learnt, or a
            decision that only the user can make; the fix names the option.
    """
    _check_names(raw, wishes)
    plans = plan_columns(raw)
    target_plan = plans.pop(wishes.target)
    target = _as_prepared(raw[wishes.target], target_plan)
    task = decisions.infer_task(target, wishes.task)
    positive, share = _positive_class(target, task, wishes)
    split = decisions.infer_split(raw, plans, wishes.split, wishes.split_column)
    if split.value["by"] != "time":
        # Under a split by time every later set holds days that training has not seen.
        plans = {name: with_days(plan) for name, plan in plans.items()}
    ids = tuple(wishes.id_column) or tuple(n for n, p in plans.items() if p.identifies_rows)[:1]
    excluded = {
        **{name: plan.why for name, plan in plans.items() if plan.excluded},
        **dict.fromkeys(wishes.exclude, "excluded on the command line"),
    }
    excluded.pop(split.value.get("column"), None)
    prepared = [target_plan] if target_plan.preparation and kind_of(target) in NUMERIC else []
    split_column = split.value.get("column")
    prepared += [
        plan
        for name, plan in plans.items()
        if plan.preparation and (name not in excluded or name == split_column)
    ]
    metric = decisions.infer_metric(task.value, wishes.metric, share)
    features = plans.keys() - excluded.keys() - {*ids, split_column}
    shape = Shape(
        *(task.value, metric.value, len(raw) if rows is None else rows, len(features)),
        classes=1 if task.value == "regression" else target.nunique(),
        texts=sum(kind_of(raw[name]) in TEXTS for name in features),
        many_texts=sum(plans[name].many_texts for name in features),
        seconds=wishes.seconds,
    )
    return Draft(
        target=wishes.target,
        task=task,
        positive_class=positive,
        metric=metric,
        split=split,
        excluded=excluded,
        prepared=tuple(prepared),
        id_columns=ids,
        max_rejected=_rejection_limit(target),
        hints=decisions.split_hints(plans, split.value),
        search=propose_search(shape),
        evaluation=_evaluation(len(raw)),
        seconds=wishes.seconds,
    )


def _check_names(raw: pd.DataFrame, wishes: Wishes) -> None:
    if not wishes.target:
        raise UnusableTable(
            "--target",
            f"is missing: the column to predict; the table has {listed(raw.columns)}",
            "add --target and one of these",
        )
    for option, name in [
        ("--target", wishes.target),
        *(("--exclude", name) for name in wishes.exclude),
        *(("--id-column", name) for name in wishes.id_column),
    ]:
        if name not in raw.columns:
            known = did_you_mean(name, raw.columns)
            raise UnusableTable(f"{option} {name}", f"no such column; {known}", "correct the name")
        if option != "--target" and name == wishes.target:
            raise UnusableTable(f"{option} {name}", "it is the target", "drop the option")


def _positive_class(
    target: pd.Series, task: decisions.Decision, wishes: Wishes
) -> tuple[decisions.Decision | None, float | None]:
    """The class that a binary task predicts, and its share of the rows."""
    if task.value != "binary":
        if wishes.positive_class is not None:
            raise UnusableTable(
                f"--positive-class {wishes.positive_class}",
                f"has no effect on task {task.value} ({task.why})",
                "drop it, or add --task binary",
            )
        return None, None
    positive = decisions.infer_positive_class(target, wishes.positive_class)
    return positive, float((target == positive.value).sum() / target.count())


def _as_prepared(target: pd.Series, plan: ColumnPlan) -> pd.Series:
    """The target as the stages will see it: numbers and dates written as text are read."""
    settings = {name: value for name, value in plan.preparation.items() if name != "calendar"}
    if settings.get("types") not in ("number", "datetime"):
        return target
    prepared = read_completely(target, settings)
    return target if prepared is None else prepared


def _rejection_limit(target: pd.Series) -> decisions.Decision | None:
    """Rows without a target are rejected; a limit that they pass would stop every run."""
    missing = float(target.isna().mean())
    if missing <= USUAL_LIMIT - ROOM:
        return None
    limit = min(1.0, math.ceil(round((missing + ROOM) * 100, 6)) / 100)
    return decisions.Decision(limit, f"{missing:.1%} of the rows have no target and are rejected")


def _evaluation(rows: int) -> decisions.Decision | None:
    """Decide what the choice rests on; None: the test set, as everywhere."""
    if rows >= SMALL_TABLE:
        return None
    return decisions.Decision(
        "cross_validation",
        f"of {rows:,} rows a test set would choose by luck; below {SMALL_TABLE:,} each "
        "configuration is fitted on folds of the train and test rows and compared on what was left "
        "out. The validation set stays untouched",
    )

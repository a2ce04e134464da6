"""Several rows of one customer, patient or machine: a random split lets models recognise them.

A column names entities when its values repeat and its name says so (`patient_id`), or when
it is a text that fixes at least two other columns. The intraclass correlation of the target
(one-way analysis of variance; Shrout and Fleiss 1979, ICC(1)) says how much rows of an entity
are alike. Excluded columns count too: models recognise an entity by its other features.
"""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from experiment_pipeline.columns.kinds import NUMERIC, TEXTS, kind_of
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, shown, some_of
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "repeated_entities",
    "Entities with several rows",
    "If the model will meet entities it has not seen, keep the rows of one entity in one set.",
)
_NAME = re.compile(
    r"(?:^|[_\W])(?:id|ids|key|nr|no)$|[a-z](?:Id|ID|Key|Nr|No)$|uuid$|guid$|num$|nbr$"
    r"|^(?:id|user|customer|client|patient|subject|person|account|member|device|machine"
    r"|vehicle|household|student|employee|session|store|sensor|engine)(?:$|[_\W]id$)",
)
_FEWEST_ENTITIES = 20
_FEWEST_FIXED = 2
_ROWS_FOR_FIXED = 20_000
_COLUMNS_FOR_FIXED = 100


@dataclass(frozen=True)
class Entity:
    """A column that names entities, and how alike the target is within one (-1 to 1)."""

    column: str
    distinct: int
    rows_each: float
    likeness: float


def check(subject: Subject) -> Finding:
    """Find columns that name repeated entities; a condition where the split ignores them."""
    if subject.target.problem:
        return RULE.not_applicable(f"Nothing to compare: {subject.target.problem}.")
    if subject.spec.split.by == "group":
        return RULE.not_applicable(f"The split keeps {shown(subject.spec.split.column)} together.")
    limit = subject.threshold(RULE.code)
    entities = sorted(
        (entity for column in _candidates(subject) if (entity := _entity(subject, column, limit))),
        key=lambda entity: -entity.likeness,
    )
    if not entities:
        return RULE.not_found("No column names entities that repeat.", threshold=limit)
    alike = entities[0].likeness >= limit
    random = subject.spec.split.by == "random"
    return RULE.found(
        "condition" if alike and random else "note",
        _evidence(entities),
        columns=[entity.column for entity in entities],
        number=entities[0].likeness,
        threshold=limit,
        fix={"split": {"by": "group", "column": entities[0].column}} if random else None,
    )


def is_named_like_an_id(column: str) -> bool:
    """Whether a column's name says that it names something: patient_id, tailnum, orderNo."""
    return bool(_NAME.search(column))


def _evidence(entities: list[Entity]) -> str:
    each = some_of(
        [
            f"{shown(e.column)} ({e.distinct:,} entities, {e.rows_each:.3g} rows each, "
            f"intraclass correlation of the target {e.likeness:.2f})"
            for e in entities
        ],
        most=3,
    )
    return f"Values repeat in {each}."


def _candidates(subject: Subject) -> list[str]:
    """Text and whole-number columns with 20 or more values of two or more rows on average."""
    split_column = getattr(subject.spec.split, "column", None)
    names = [c for c in subject.frame.columns if c not in {subject.spec.target, split_column}]
    return [
        name for name in names if _repeats(subject.frame[name], named=is_named_like_an_id(name))
    ]


def _repeats(column: pd.Series, *, named: bool) -> bool:
    kind = kind_of(column)
    if kind not in TEXTS and not (named and kind in NUMERIC):
        return False
    if kind in NUMERIC and not _whole(column):
        return False
    return _FEWEST_ENTITIES <= column.nunique() <= column.notna().sum() / 2


def _whole(column: pd.Series) -> bool:
    known = column.dropna().to_numpy(dtype=np.float64)
    return bool(np.all(known == np.trunc(known)))


def _entity(subject: Subject, column: str, limit: float) -> Entity | None:
    rows = subject.target.rows
    codes = pd.factorize(subject.frame[column].iloc[rows])[0]
    known = codes >= 0
    likeness = _intraclass_correlation(codes[known], _numeric_target(subject)[known])
    named = is_named_like_an_id(column)
    if not named and (likeness < limit or _fixed_columns(subject, column) < _FEWEST_FIXED):
        return None
    distinct = int(subject.frame[column].nunique())
    rows_each = float(subject.frame[column].notna().sum() / distinct)
    return Entity(column, distinct, rows_each, likeness)


def _numeric_target(subject: Subject) -> np.ndarray:
    """The target as a number (n,); of several classes, whether it is the most frequent."""
    y = subject.target.y
    if subject.spec.task != "multiclass":
        return y.astype(np.float64)
    return np.asarray(y == np.bincount(y.astype(np.int64)).argmax(), dtype=np.float64)


def _intraclass_correlation(codes: np.ndarray, y: np.ndarray) -> float:
    sizes = np.bincount(codes)
    sizes, groups, rows = sizes[sizes > 0], int((sizes > 0).sum()), len(y)
    if groups < 2 or rows <= groups or np.ptp(y) == 0:
        return 0.0
    means = np.bincount(codes, weights=y)[np.bincount(codes) > 0] / sizes
    between = float(np.sum(sizes * (means - y.mean()) ** 2)) / (groups - 1)
    within = float(np.sum((y - y.mean()) ** 2) - (groups - 1) * between) / (rows - groups)
    usual_size = (rows - float(np.sum(sizes**2)) / rows) / (groups - 1)
    spread = between + (usual_size - 1) * within
    return (between - within) / spread if spread > 0 else 0.0


def _fixed_columns(subject: Subject, column: str) -> int:
    """How many other varying features have one value per entity, on at most 20,000 rows."""
    rows = subject.sample(np.arange(len(subject.frame)), _ROWS_FOR_FIXED)
    sample = subject.frame.iloc[rows]
    codes = pd.factorize(sample[column])[0]
    fixed = 0
    for other in subject.features[:_COLUMNS_FOR_FIXED]:
        values = pd.factorize(sample[other])[0]
        if other != column and values.max(initial=0) >= 2:
            pairs = np.unique(codes.astype(np.int64) * (len(rows) + 1) + values + 1)
            fixed += len(pairs) == len(np.unique(codes))
    return fixed

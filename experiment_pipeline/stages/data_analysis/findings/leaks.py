"""Features that leak the target, also by missing values.

Whether they are known in time the user decides.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    TargetRule,
    Threshold,
    described,
)
from experiment_pipeline.stages.data_analysis.findings.arithmetic import (
    exact_combination,
    exact_pair,
)
from experiment_pipeline.stages.data_analysis.findings.made_of_target import (
    MadeOfTarget,
)
from experiment_pipeline.stages.data_analysis.findings.one_class import (
    RevealedClass,
    classes_revealed,
    not_looked_for,
)
from experiment_pipeline.stages.data_analysis.findings.probe import NoProbe, run_probe
from experiment_pipeline.stages.data_analysis.skill import (
    CODES_OF_CLASS,
    MOST_ROWS,
    NAMES,
    Association,
)
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of

_MOST_COMPARED = 5_000
# Least share of the target's order that a copy keeps, and steps that show it.
_LEAST_IN_ORDER, _FEWEST_STEPS = 0.35, 60
# Least rank correlation of a copy with the target.
_LEAST_RISE = 0.9
# Least correlation with the rows' numbers of what counts them: days with weekends off.
_LEAST_EVEN = 0.9999
# Least share of each class that is recognised, beyond guessing: Youden's J for two
# classes.
_LEAST_RECOGNISED = 0.7
_FEWEST_ROWS = 50
# A number may tell apart what rows belong to: fewest values, fewest rows of each on
# average, largest share of the rows with one.
_FEWEST_VALUES, _ROWS_OF_A_VALUE, _LARGEST_VALUE = 20, 1.5, 0.1
# Names of an event and of the time until it, as tables of survival data have them: of
# 1,760 public tables, 47 pairs of such columns have the skill, all of them rightly.
_EVENT = re.compile(
    "death|dead|died|alive|event|status|stat$|relapse|recur|censor|^cens|fail",
    re.IGNORECASE,
)
_TIME_UNTIL = re.compile(
    r"time\d?$|^t(?:start|stop)?$|^stop$|^(?:os|pfs|dfs|rfs)$|days$|surv|follow.?up"
    "|^durat",
    re.IGNORECASE,
)
_LEAST_SKILL_OF_A_TIME = 0.3


class LeakSuspect(TargetRule):
    """Features that leak the target: alone, with noise, one class of it, or by
    arithmetic of two or more.

    It blocks where they equal the target, and where a class is certainly revealed.
    """

    code = "leak_suspect"
    title = "Features that leak the target"
    advice = (
        "Exclude what is not known before the prediction; else accept it with the "
        "reason."
    )
    excluded = "known only after the outcome"
    threshold = Threshold(0.9, 0, 1, "skill of a one-feature model, found from it")
    blocks = Threshold(0.99, 0, 1, "skill of a one-feature model, blocks from it")

    def examine(self, subject: Subject) -> Finding:
        if not subject.associations:
            return self.not_applicable("There is no number or text feature.")
        limit = self.limit(subject)
        blocks = self.limit(subject, severe=True)
        leaks = list(_leaks(subject, limit, blocks))
        columns = list(dict.fromkeys(name for leak in leaks for name in leak.columns))
        evidence = " ".join(leak.evidence for leak in leaks)
        skill = max(leak.skill for leak in leaks)
        if caveat := not_looked_for(subject):
            evidence += f" {caveat}"
        if not columns:
            return self.not_found(evidence, skill, limit)
        if skill >= blocks:
            return self.found("blocks", evidence, skill, blocks, columns)
        return self.found("condition", evidence, skill, limit, columns)


@dataclass(frozen=True)
class _Leak:
    """Columns that leak the target, if any, and what was measured."""

    columns: Sequence[str]
    evidence: str
    skill: float = 0.0  # of what follows from them; 0: unknown


def _on_new_values(subject: Subject, limit: float) -> list[Association]:
    """The associations, of repeated numbers from the limit on with values not seen.

    A number that each county has in all its rows tells them apart; it does not leak.
    """
    rows = subject.sample(subject.target.rows, MOST_ROWS)
    # Fewer are rather codes of the classes.
    fewest = max(_FEWEST_VALUES, CODES_OF_CLASS * subject.target.n_classes + 1)
    associations = []
    for association in subject.associations:
        measured = association
        if association.skill >= limit and association.column in subject.numbers:
            column = subject.frame[[association.column]].iloc[rows]
            values = pd.factorize(column[association.column])[0]
            if _may_tell_apart(values[values >= 0], fewest):
                # A missing value is each row's own.
                values = np.where(values < 0, -1 - np.arange(len(rows)), values)
                (unseen,) = subject.cross_fit(rows, 2, values).associations(column)
                measured = replace(unseen, way="for values that it has not seen")
        associations.append(measured)
    return sorted(associations, key=lambda a: (-a.skill, a.column))


def _may_tell_apart(values: np.ndarray, fewest: int) -> bool:
    """Whether codes (n,) may be of what several rows belong to."""
    rows_per_value = np.bincount(values)
    return bool(
        fewest <= len(rows_per_value) <= len(values) / _ROWS_OF_A_VALUE
        and rows_per_value.max() <= _LARGEST_VALUE * len(values)
    )


def _by_skill(
    subject: Subject, associations: Sequence[Association], limit: float
) -> _Leak:
    """The features that predict the target alone, if any, else the strongest."""
    suspects = [a for a in associations if a.skill >= limit]
    strongest = {a.column: a.words for a in suspects or associations[:1]}
    rows = min(len(subject.target.rows), MOST_ROWS)
    scale = f"as {NAMES[subject.spec.task]} on {rows:,} rows"
    words = f"Skill by itself, {scale}: {described(strongest)}."
    return _Leak([a.column for a in suspects], words, associations[0].skill)


def _leaks(subject: Subject, limit: float, blocks: float) -> Iterator[_Leak]:
    """Skill alone, near copies, columns that reveal one class, times until an event,
    and arithmetic.
    """
    associations = _on_new_values(subject, limit)
    by_skill = _by_skill(subject, associations, limit)
    columns = by_skill.columns
    yield by_skill
    equal = [a.column for a in associations if a.skill >= blocks]
    copies = _near_copies(subject, equal)
    if copies:
        shares = {column: numbers.share(part) for column, part in copies.items()}
        words = f"Keeps the target's classes or order: {described(shares)}."
        yield _Leak(list(copies), words, max(copies.values()))
    revealed = classes_revealed(subject, {*columns, *copies})
    if revealed:
        yield _revealing(revealed)
    if times := _times_until(subject, associations):
        yield _known_afterwards(times, subject.spec.target)
    combination = exact_combination(subject) or exact_pair(subject, {*equal, *copies})
    if combination is not None:
        yield _Leak(combination.columns, f"{combination.words}.", skill=1.0)


def _revealing(revealed: Mapping[str, RevealedClass]) -> _Leak:
    rows = {column: leak.words for column, leak in revealed.items()}
    certain = any(leak.is_certain for leak in revealed.values())
    words = f"Reveals one class: {described(rows)}."
    return _Leak(list(revealed), words, skill=float(certain))


def _times_until(
    subject: Subject, associations: Sequence[Association]
) -> dict[str, str]:
    """Features named like the time until an event, which the target is named like, and
    that tell whether it came → their skill in words.

    Who has no event is followed for longer.
    """
    if subject.spec.task != "binary" or not _EVENT.search(subject.spec.target):
        return {}
    return {
        association.column: association.words
        for association in associations
        if association.skill >= _LEAST_SKILL_OF_A_TIME
        and association.column in subject.calculable
        and _TIME_UNTIL.search(association.column)
        and subject.numbers[association.column].lowest.value >= 0
    }


def _known_afterwards(times: Mapping[str, str], target: str) -> _Leak:
    words = (
        f"Named like the time until {target}, or until the last look at a row, which "
        f"nobody knows before: {described(times)}."
    )
    return _Leak(list(times), words)


def _near_copies(subject: Subject, equal: Sequence[str]) -> dict[str, float]:
    """Features, but for equal ones, that are the target in most rows, by other names or
    on another scale → share of it that they keep.
    """
    rows = subject.sample(subject.target.rows, _MOST_COMPARED)
    if len(rows) < _FEWEST_ROWS:
        return {}
    y = subject.target.of(rows)
    features = [column for column in subject.features if column not in equal]
    if subject.spec.task == "regression":
        return _copies_of_number(subject, features, rows, y)
    copies = _copies_of_class(subject.frame[features].iloc[rows], y.astype(np.int64))
    if not copies:
        return {}
    # Only those that predict better than all other features together.
    probe = run_probe(subject, [*equal, *copies])
    if isinstance(probe, NoProbe):
        return copies
    return {column: share for column, share in copies.items() if probe.skill < share}


def _copies_of_class(table: pd.DataFrame, y: np.ndarray) -> dict[str, float]:
    copies = {}
    for name, column in table.items():
        if kind_of(column) in NUMERIC | TEXTS:
            levels = pd.factorize(column, use_na_sentinel=False)[0]
            share = _recognised(levels, y)
            if share >= _LEAST_RECOGNISED:
                copies[str(name)] = share
    return copies


def _copies_of_number(
    subject: Subject, features: Sequence[str], rows: np.ndarray, y: np.ndarray
) -> dict[str, float]:
    order = subject.generator().permutation(len(y))
    table = subject.frame.iloc[rows[order]]
    ranks = pd.Series(y[order]).rank()
    # What rises with time is in the order of all else that does.
    if _keeping_order(table[subject.ordering_columns], ranks):
        return {}
    numeric = [column for column in features if column in subject.numbers]
    copies = _keeping_order(table[numeric], ranks)
    return {} if any(_counts_rows(table[column]) for column in copies) else copies


def _keeping_order(table: pd.DataFrame, ranks: pd.Series) -> dict[str, float]:
    """Columns that keep the order of the target, its ranks (n,) → share that each
    keeps.
    """
    shares = {str(name): _in_order(column, ranks) for name, column in table.items()}
    return {name: share for name, share in shares.items() if share >= _LEAST_IN_ORDER}


def _counts_rows(column: pd.Series) -> bool:
    """Whether a number moves evenly along the rows as delivered, as a time does.

    That the target moves along them says less: many a file is sorted by it.
    """
    return abs(column.corr(column.index.to_series())) >= _LEAST_EVEN


def _in_order(column: pd.Series, ranks: pd.Series) -> float:
    """Share of the target's order, its ranks (n,), that a column keeps, from 0 to 1; 0
    also where it has few values.

    From each value to the next the target of one row rises or falls: a copy decides
    which, but of a number of R² .98 the noise, larger than such a step. A few large
    targets, which decide R², count no more than others.
    """
    places = pd.factorize(column, sort=True)[0]
    rows = np.unique(places, return_index=True)[1]
    steps = np.diff(ranks.to_numpy()[rows[places[rows] >= 0]])
    steps = np.sign(steps[steps != 0])
    if len(steps) < _FEWEST_STEPS:
        return 0.0
    # A target that rises and falls back, again and again, mostly rises.
    if not abs(ranks.corr(pd.Series(column.to_numpy()).rank())) >= _LEAST_RISE:
        return 0.0
    # Rows with one value, or none, are in no order.
    within = ranks - ranks.groupby(places).transform("mean")
    return float(abs(steps.mean()) * (1 - within.var() / ranks.var()))


def _recognised(levels: np.ndarray, y: np.ndarray) -> float:
    """Mean share of each class that is in a level of its own, from 0, guessing, to 1.

    0 also where levels and classes do not match.
    """
    n_classes, n_levels = int(y.max()) + 1, int(levels.max()) + 1
    if not n_classes <= n_levels <= n_classes + 1:
        return 0.0
    counts = np.zeros((n_classes, n_levels))
    np.add.at(counts, (y, levels), 1)
    recall = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(np.unique(recall.argmax(axis=1))) < n_classes:
        return 0.0
    mean_recall = recall.max(axis=1).mean()
    return float((n_classes * mean_recall - 1) / (n_classes - 1))


class TellingMissingValues(TargetRule):
    """Missing values that leak the target: the rows that miss one have one outcome."""

    code = "telling_missing_values"
    title = "Missing values that leak the target"
    advice = "Exclude them if they are missing because of the outcome."
    excluded = "missing because of the outcome"
    threshold = Threshold(
        0.95, 0.5, 1, "skill of one prediction for these rows, found from it"
    )
    _fewest_rows = 20
    # Chance of so many rows of one class, if values were missing at random.
    _largest_chance = 1e-4

    def examine(self, subject: Subject) -> Finding:
        target = subject.target
        limit = self.limit(subject)
        skills = []
        telling: dict[str, tuple[int, str]] = {}  # column → rows and words
        for column, facts in subject.facts.items():
            missing = subject.frame[column].isna().to_numpy()[target.rows]
            rows = int(np.count_nonzero(missing))
            if facts.missing and self._fewest_rows <= rows < len(missing):
                skill, words = self._shared_outcome(subject, missing)
                skills.append(skill)
                if skill >= limit:
                    telling[column] = rows, words
        if not skills:
            fewest = f"{self._fewest_rows} or more rows"
            return self.not_applicable(f"No feature is missing in {fewest}.")
        best = max(skills)
        if not telling:
            agree = f"agree on the target by at most {numbers.share(best)}"
            return self.not_found(f"Rows that miss a value {agree}.", best, limit)
        by_rows = dict(sorted(telling.items(), key=lambda pair: -pair[1][0]))
        words = {c: f"{rows:,} rows, {shared}" for c, (rows, shared) in by_rows.items()}
        evidence = f"Missing where the target is the same: {described(words)}."
        return self.found("condition", evidence, best, limit, [*words])

    def _shared_outcome(
        self, subject: Subject, missing: np.ndarray
    ) -> tuple[float, str]:
        """Skill of one constant prediction for the rows that miss a value, in words."""
        target = subject.target
        y, elsewhere = target.y[missing], target.y[~missing]
        if subject.spec.task == "regression":
            skill = 1 - float(np.var(y) / np.var(target.y))
            return skill, f"target {y.mean():.4g} ± {y.std():.2g}"
        commonest = int(np.bincount(y).argmax())
        share = float(np.mean(y == commonest))
        usual = float(np.mean(target.y == commonest))
        skill = 0.0
        largest_chance = math.log(self._largest_chance)
        if usual < 1 and len(y) * math.log(usual) < largest_chance:
            skill = max((share - usual) / (1 - usual), 0.0)
        name = numbers.shown((target.classes or ())[commonest])
        share_elsewhere = numbers.share(float(np.mean(elsewhere == commonest)))
        return (
            skill,
            f"{numbers.share(share)} of them {name}, {share_elsewhere} elsewhere",
        )


RULES = (LeakSuspect(), MadeOfTarget(), TellingMissingValues())

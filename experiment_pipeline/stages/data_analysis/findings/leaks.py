"""Features that leak the target, also by missing values.

Whether they are known in time the user decides.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    TargetRule,
    Threshold,
    described,
)
from experiment_pipeline.stages.data_analysis.findings.made_of_target import (
    MadeOfTarget,
)
from experiment_pipeline.stages.data_analysis.findings.probe import NoProbe, run_probe
from experiment_pipeline.stages.data_analysis.skill import MOST_ROWS, NAMES
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.kinds import NUMERIC, TEXTS, kind_of, numbers_of

_MOST_COMPARED = 5_000
# Least share of the rows in which a number equals the target up to a linear relation.
_FEWEST_EQUAL = 0.5
# Least share of each class that is recognised, beyond guessing: Youden's J for two
# classes.
_LEAST_RECOGNISED = 0.7
_PAIRS, _ROUNDING = 500, 1e-6
# A target with a more frequent value than this agrees with other columns by chance.
_COMMONEST = 0.1
_FEWEST_ROWS, _MOST_COLUMNS = 50, 100
# A residual of this share of the target's spread is rounding, not noise.
_EXACT = 1e-6


class LeakSuspect(TargetRule):
    """Features that leak the target: alone, with noise, or as a sum or product."""

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
        associations = subject.associations
        if not associations:
            return self.not_applicable("There is no number or text feature.")
        limit, blocks = self.limit(subject), self.limit(subject, severe=True)
        skill = associations[0].skill
        suspects = [a for a in associations if a.skill >= limit]
        columns = [suspect.column for suspect in suspects]
        strongest = {a.column: a.words for a in suspects or associations[:1]}
        rows = min(len(subject.target.rows), MOST_ROWS)
        scale = f"as {NAMES[subject.spec.task]} on {rows:,} rows"
        evidence = f"Skill by itself, {scale}: {described(strongest)}."
        if copies := _near_copies(subject, columns):
            columns += copies
            shares = {column: numbers.share(copies[column]) for column in copies}
            evidence += f" Equal to the target except for noise: {described(shares)}."
        if combination := _exact_combination(subject):
            combined, formula = combination
            columns += [column for column in combined if column not in columns]
            evidence += f" {formula} equals the target in all rows read."
            skill = 1.0
        if not columns:
            return self.not_found(evidence, skill, limit)
        if skill >= blocks:
            return self.found("blocks", evidence, skill, blocks, columns)
        return self.found("condition", evidence, skill, limit, columns)


def _near_copies(subject: Subject, suspects: Sequence[str]) -> dict[str, float]:
    """Further features that equal the target in most rows → share that agrees."""
    rows = subject.sample(subject.target.rows, _MOST_COMPARED)
    if len(rows) < _FEWEST_ROWS:
        return {}
    y = subject.target.of(rows)
    table = subject.frame.iloc[rows]
    unsuspected = [c for c in subject.features if c not in suspects]
    if subject.spec.task == "regression":
        return _copies_of_number(subject, table[unsuspected], y)
    copies = {}
    for column in unsuspected:
        if kind_of(table[column]) in NUMERIC | TEXTS:
            levels = pd.factorize(table[column], use_na_sentinel=False)[0]
            share = _recognised(levels, y.astype(np.int64))
            if share >= _LEAST_RECOGNISED:
                copies[column] = share
    if not copies:
        return {}
    # Only those that predict better than all other features together.
    probe = run_probe(subject, [*suspects, *copies])
    if isinstance(probe, NoProbe):
        return copies
    return {column: share for column, share in copies.items() if probe.skill < share}


def _copies_of_number(
    subject: Subject, table: pd.DataFrame, y: np.ndarray
) -> dict[str, float]:
    if np.unique(y, return_counts=True)[1].max() > _COMMONEST * len(y):
        return {}
    shares = {
        column: _share_on_a_line(numbers_of(table[column]), y, subject.generator())
        for column in table.columns.intersection(list(subject.calculable), sort=False)
    }
    return {column: share for column, share in shares.items() if share >= _FEWEST_EQUAL}


def _share_on_a_line(
    x: np.ndarray, y: np.ndarray, generator: np.random.Generator
) -> float:
    """Share of the rows on the line through most; pairs of rows vote for its slope."""
    finite = np.flatnonzero(np.isfinite(x))
    if finite.size < _FEWEST_ROWS:
        return 0.0
    first, second = generator.choice(finite, (2, _PAIRS))
    apart = y[first] != y[second]
    if not apart.any():
        return 0.0
    slopes = (x[first] - x[second])[apart] / (y[first] - y[second])[apart]
    slope = float(np.median(slopes))
    if slope == 0 or np.mean(np.isclose(slopes, slope, rtol=1e-3)) < _FEWEST_EQUAL**2:
        return 0.0
    offsets = x[finite] - slope * y[finite]
    near = np.abs(offsets - np.median(offsets)) <= _ROUNDING * abs(slope) * np.std(y)
    return float(near.sum() / len(x))


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


# How columns may combine to the target: linear on this scale, a term with a weight
# other than 1, and the sign between terms.
_FORMULAS: tuple[tuple[Callable[[np.ndarray], np.ndarray], str, str], ...] = (
    (np.asarray, "{weight:.4g} · {column}", " + "),
    (np.log, "{column}^{weight:.4g}", " · "),
)


def _exact_combination(subject: Subject) -> tuple[list[str], str] | None:
    """Complete number features whose sum or product is the target, and the formula."""
    if subject.spec.task != "regression":
        return None
    rows = subject.sample(subject.target.rows, _MOST_COMPARED)
    y = subject.target.of(rows)
    columns = {}
    for column in list(subject.calculable)[:_MOST_COLUMNS]:
        values = numbers_of(subject.frame[column].iloc[rows])
        if np.isfinite(values).all():
            columns[column] = values
    if len(rows) < 2 * len(columns) + 10 or np.ptp(y) == 0:
        return None
    for scale, weighted, sign in _FORMULAS:
        weights = _exact_weights(columns, y, scale)
        terms = []
        for column, weight in weights.items():
            name = numbers.shown(column)
            term = weighted.format(column=name, weight=weight)
            terms.append(name if np.isclose(weight, 1) else term)
        if terms:
            return list(weights), sign.join(terms).replace("+ -", "- ")
    return None


def _exact_weights(
    columns: dict[str, np.ndarray],
    y: np.ndarray,
    scale: Callable[[np.ndarray], np.ndarray],
) -> dict[str, float]:
    """Weights of two or more columns if a fit on every other row reproduces all rows.

    Only columns that are finite on the scale take part.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        y = scale(y)
        scaled = {column: scale(values) for column, values in columns.items()}
    scaled = {c: values for c, values in scaled.items() if np.isfinite(values).all()}
    if len(scaled) < 2 or not np.isfinite(y).all():
        return {}
    values = np.column_stack(list(scaled.values()))
    centre, spread = values.mean(axis=0), values.std(axis=0)
    usable = spread > 1e-9 * (1 + np.abs(centre))
    standardized = (values[:, usable] - centre[usable]) / spread[usable]
    design = np.column_stack([standardized, np.ones(len(y))])
    solution = np.linalg.lstsq(design[::2], y[::2], rcond=1e-10)[0]
    if np.max(np.abs(design @ solution - y)) > _EXACT * np.ptp(y):
        return {}
    weights = np.zeros(values.shape[1])
    weights[usable] = solution[:-1] / spread[usable]
    weights[np.abs(weights) * spread < 1e-5 * y.std()] = 0
    used = {c: float(w) for c, w in zip(scaled, weights, strict=True) if w}
    return used if len(used) > 1 else {}


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

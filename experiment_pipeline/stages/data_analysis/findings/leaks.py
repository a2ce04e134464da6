"""Features that leak the target, also by missing values. The user decides which are
known in time.
"""

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, Threshold
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


class LeakSuspect(Rule):
    """Features that leak the target: alone, with noise, or as a sum or product of
    several.
    """

    code, title = "leak_suspect", "Features that leak the target"
    advice = "Exclude what is not known before the prediction; else accept it with the reason."
    excluded = "known only after the outcome"
    threshold = Threshold(0.9, 0, 1, "skill of a one-feature model, found from it")
    blocks = Threshold(0.99, 0, 1, "skill of a one-feature model, blocks from it")

    def check(self, subject: Subject) -> Finding:
        if subject.target.problem:
            return self.not_applicable(f"Nothing to predict: {subject.target.problem}.")
        if not subject.associations:
            return self.not_applicable("There is no number or text feature.")
        limit, blocks = self.limit(subject), self.limit(subject, severe=True)
        best, regression = (
            subject.associations[0].skill,
            subject.spec.task == "regression",
        )
        suspects = [a for a in subject.associations if a.skill >= limit]
        columns = [suspect.column for suspect in suspects]
        each = [
            f"{numbers.shown(a.column)} ({numbers.share(a.skill)}{a.way and f', {a.way}'})"
            for a in suspects or subject.associations[:1]
        ]
        read = min(len(subject.target.rows), MOST_ROWS)
        sentences = [
            f"Skill by itself, as {NAMES[subject.spec.task]} on {read:,} rows: {numbers.some_of(each)}."
        ]
        copies = {c: share for c, share in _near_copies(subject) if c not in columns}
        if copies and not regression:
            # For classes, only those that predict better than all other features
            # together.
            others = run_probe(subject, [*columns, *copies])
            if not isinstance(others, NoProbe):
                copies = {
                    c: share for c, share in copies.items() if others.skill < share
                }
        if copies:
            each = [
                f"{numbers.shown(c)} ({numbers.share(s)})" for c, s in copies.items()
            ]
            sentences.append(
                f"Equal to the target except for noise: {numbers.some_of(each)}."
            )
            columns += copies
        if regression and (combination := _exact_combination(subject)):
            used, formula = combination
            best = 1.0
            columns += [column for column in used if column not in columns]
            sentences.append(f"{formula} equals the target in all rows read.")
        severe = best >= blocks
        return self.found(
            ("blocks" if severe else "condition") if columns else None,
            " ".join(sentences),
            best,
            blocks if severe and columns else limit,
            columns,
        )


def _near_copies(subject: Subject) -> Iterator[tuple[str, float]]:
    """Yield features that equal the target in most of up to 5,000 rows, with the share
    that agrees.
    """
    rows = subject.sample(subject.target.rows, _MOST_COMPARED)
    y = subject.target.of(rows)
    if len(rows) < _FEWEST_ROWS:
        return
    if subject.spec.task == "regression":
        if np.unique(y, return_counts=True)[1].max() <= _COMMONEST * len(y):
            for column in subject.calculable:
                share = _equal(numbers_of(subject.frame[column].iloc[rows]), y, subject)
                if share >= _FEWEST_EQUAL:
                    yield column, share
        return
    for column in subject.features:
        values = subject.frame[column].iloc[rows]
        if kind_of(values) in NUMERIC | TEXTS:
            share = _recognised(
                pd.factorize(values, use_na_sentinel=False)[0], y.astype(np.int64)
            )
            if share >= _LEAST_RECOGNISED:
                yield column, share


def _equal(x: np.ndarray, y: np.ndarray, subject: Subject) -> float:
    """Share of the rows on the line through most of them; pairs of rows vote for its
    slope.
    """
    known = np.flatnonzero(np.isfinite(x))
    if known.size < _FEWEST_ROWS:
        return 0.0
    first, second = subject.generator().choice(known, (2, _PAIRS))
    apart = y[first] != y[second]
    slopes = (x[first] - x[second])[apart] / (y[first] - y[second])[apart]
    slope = float(np.median(slopes)) if slopes.size else 0.0
    if slope == 0 or np.mean(np.isclose(slopes, slope, rtol=1e-3)) < _FEWEST_EQUAL**2:
        return 0.0
    offsets = x[known] - slope * y[known]
    near = np.abs(offsets - np.median(offsets)) <= _ROUNDING * abs(slope) * np.std(y)
    return float(near.sum() / len(x))


def _recognised(levels: np.ndarray, y: np.ndarray) -> float:
    """Mean share of each class that is in the class's own level, 0 … 1; 0: guessing, or
    levels do not match.
    """
    classes = int(y.max()) + 1
    if not classes <= levels.max() + 1 <= classes + 1:
        return 0.0
    counts = np.zeros((classes, levels.max() + 1))
    np.add.at(counts, (y, levels), 1)
    recall = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(np.unique(recall.argmax(axis=1))) < classes:
        return 0.0
    return float((classes * recall.max(axis=1).mean() - 1) / (classes - 1))


def _exact_combination(subject: Subject) -> tuple[list[str], str] | None:
    """Find two or more complete number features whose sum or product is the target; the
    formula.
    """
    rows = subject.sample(subject.target.rows, _MOST_COMPARED)
    y = subject.target.of(rows)
    data = {
        column: numbers_of(subject.frame[column].iloc[rows])
        for column in list(subject.calculable)[:_MOST_COLUMNS]
    }
    data = {column: x for column, x in data.items() if np.isfinite(x).all()}
    if len(data) < 2 or len(rows) < 2 * len(data) + 10 or np.ptp(y) == 0:
        return None

    def terms(weights: dict[str, float], times: str) -> list[str]:
        named = ((numbers.shown(column), weight) for column, weight in weights.items())
        return [c if np.isclose(w, 1) else times.format(c=c, w=w) for c, w in named]

    if weights := _exact_weights(data, y):
        return list(weights), " + ".join(terms(weights, "{w:.4g} · {c}")).replace(
            "+ -", "- "
        )
    positive = {column: np.log(x) for column, x in data.items() if x.min() > 0}
    if (
        len(positive) > 1
        and y.min() > 0
        and (weights := _exact_weights(positive, np.log(y)))
    ):
        return list(weights), " · ".join(terms(weights, "{c}^{w:.4g}"))
    return None


def _exact_weights(data: dict[str, np.ndarray], y: np.ndarray) -> dict[str, float]:
    """Weights of two or more columns if the fit on every other row reproduces
    all rows.
    """
    values = np.column_stack(list(data.values()))
    centre, scale = values.mean(axis=0), values.std(axis=0)
    usable = scale > 1e-9 * (1 + np.abs(centre))
    design = (values[:, usable] - centre[usable]) / scale[usable]
    design = np.column_stack([design, np.ones(len(y))])
    solution = np.linalg.lstsq(design[::2], y[::2], rcond=1e-10)[0]
    if np.max(np.abs(design @ solution - y)) > _EXACT * np.ptp(y):
        return {}
    weights = np.zeros(values.shape[1])
    weights[usable] = solution[:-1] / scale[usable]
    weights[np.abs(weights) * scale < 1e-5 * y.std()] = 0
    found = {c: float(w) for c, w in zip(data, weights, strict=True) if w}
    return found if len(found) > 1 else {}


class TellingMissingValues(Rule):
    """Missing values that leak the target: the few rows that miss one have the same
    outcome.
    """

    code, title = "telling_missing_values", "Missing values that leak the target"
    advice = "Exclude them if they are missing because of the outcome."
    excluded = "missing because of the outcome"
    threshold = Threshold(
        0.95, 0.5, 1, "skill of one prediction for these rows, found from it"
    )
    _fewest_rows = 20
    # Chance of so many rows of one class, if values were missing at random.
    _largest_chance = 1e-4

    def check(self, subject: Subject) -> Finding:
        if subject.target.problem:
            return self.not_applicable(f"Nothing to predict: {subject.target.problem}.")
        rows, skills, words = {}, {}, {}
        for column, facts in subject.facts.items():
            missing = subject.frame[column].isna().to_numpy()[subject.target.rows]
            y = subject.target.y[missing]
            if facts.missing and self._fewest_rows <= len(y) < len(missing):
                rows[column] = len(y)
                skills[column], words[column] = self._shared_outcome(subject, missing)
        if not rows:
            return self.not_applicable(
                f"No feature is missing in {self._fewest_rows} or more rows."
            )
        limit, best = self.limit(subject), max(skills.values())
        columns = sorted(
            (c for c in rows if skills[c] >= limit), key=lambda c: -rows[c]
        )
        each = [f"{numbers.shown(c)} ({rows[c]:,} rows, {words[c]})" for c in columns]
        evidence = (
            f"Rows that miss a value agree on the target by at most {numbers.share(best)}."
            if not columns
            else f"Missing where the target is the same: {numbers.some_of(each)}."
        )
        return self.found(
            "condition" if columns else None, evidence, best, limit, columns
        )

    def _shared_outcome(
        self, subject: Subject, missing: np.ndarray
    ) -> tuple[float, str]:
        """Skill of one constant prediction for the rows that miss a value, and a
        description.
        """
        y, others = subject.target.y[missing], subject.target.y[~missing]
        if subject.spec.task == "regression":
            skill = 1 - float(np.var(y) / np.var(subject.target.y))
            return skill, f"target {y.mean():.4g} ± {y.std():.2g}"
        commonest = int(np.bincount(y).argmax())
        share, usual = (
            float(np.mean(y == commonest)),
            float(np.mean(subject.target.y == commonest)),
        )
        surprising = usual < 1 and len(y) * math.log(usual) < math.log(
            self._largest_chance
        )
        name = numbers.shown((subject.target.classes or ())[commonest])
        skill = max((share - usual) / (1 - usual), 0.0) if surprising else 0.0
        elsewhere = numbers.share(float(np.mean(others == commonest)))
        return skill, f"{numbers.share(share)} of them {name}, {elsewhere} elsewhere"


RULES = (LeakSuspect(), MadeOfTarget(), TellingMissingValues())

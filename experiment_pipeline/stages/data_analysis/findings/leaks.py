"""Features that give the target away, or are made of it. People decide: some are known in time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.copies import NearCopy, exact_combination, near_copies
from experiment_pipeline.stages.data_analysis.finding import (
    Finding,
    Rule,
    Threshold,
    exclude,
    shown,
    some_of,
)
from experiment_pipeline.stages.data_analysis.probe import NoProbe, run_probe
from experiment_pipeline.stages.data_analysis.skill import MOST_ROWS, NAMES, Association
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.stages.data_analysis.target_means import FromTarget, target_means
from experiment_pipeline.stages.data_analysis.target_windows import target_windows


class LeakSuspect(Rule):
    """Features that give the target away: alone, with noise, or as a sum or product of several.

    Measured by a small model on one feature (`skill.py`), by agreement with the target and, for
    numbers, by an exact fit (`copies.py`). Columns that are known only after the outcome look like
    this; so does a really good predictor, which is why people decide.
    """

    code = "leak_suspect"
    title = "Features that give the target away"
    advice = (
        "Is each of these columns known before the prediction is made? Exclude what is not; if "
        "all are, write the reason under analysis: accept: leak_suspect."
    )
    threshold = Threshold(0.9, 0, 1, "skill of a one-feature model, found from it")
    blocks = Threshold(0.99, 0, 1, "skill of a one-feature model, blocks from it")

    def check(self, subject: Subject) -> Finding:
        """Compare the best single feature with two thresholds; look for copies and sums."""
        if subject.target.problem:
            return self.not_applicable(f"Nothing to predict: {subject.target.problem}.")
        if not subject.associations:
            return self.not_applicable("There is no number or text feature.")
        limit, blocks = self.limit(subject), self.severe_limit(subject)
        best = subject.associations[0].skill
        suspects = [a for a in subject.associations if a.skill >= limit]
        columns = [suspect.column for suspect in suspects]
        sentences = [self._alone(subject, suspects or subject.associations[:1])]
        if copies := self._copies(subject, columns):
            columns += [copy.column for copy in copies]
            each = some_of([f"{shown(copy.column)} ({copy.words})" for copy in copies])
            sentences.append(f"The target with noise, it seems: {each}.")
        combination = exact_combination(subject) if subject.spec.task == "regression" else None
        if combination:
            best = 1.0
            columns += [column for column in combination.columns if column not in columns]
            sentences.append(
                f"{combination.formula} equals the target in all {combination.rows:,} rows read."
            )
        if not columns:
            return self.not_found(" ".join(sentences), number=best, threshold=limit)
        return self.found(
            "blocks" if best >= blocks else "condition",
            " ".join(sentences),
            columns=columns,
            number=best,
            threshold=blocks if best >= blocks else limit,
            fix=exclude(columns, "known only after the outcome"),
        )

    @staticmethod
    def _copies(subject: Subject, suspects: Sequence[str]) -> list[NearCopy]:
        """Copies with noise that are no suspects yet.

        Those of classes only where everything else together predicts less: an honest flag that
        says so much stands among others that say something too.
        """
        copies = [copy for copy in near_copies(subject) if copy.column not in suspects]
        if not copies or subject.spec.task == "regression":
            return copies
        others = run_probe(subject, [*suspects, *(copy.column for copy in copies)])
        return [c for c in copies if isinstance(others, NoProbe) or others.skill < c.share]

    @staticmethod
    def _alone(subject: Subject, strongest: Sequence[Association]) -> str:
        read = min(len(subject.target.rows), MOST_ROWS)
        sampled = " sampled" if read < len(subject.target.rows) else ""
        ways = [f", {a.way}" if a.way else "" for a in strongest]
        each = some_of(
            [
                f"{shown(a.column)} ({numbers.share(a.skill)}{way})"
                for a, way in zip(strongest, ways, strict=True)
            ]
        )
        return f"Skill alone, as {NAMES[subject.spec.task]} on {read:,}{sampled} rows: {each}."


class MadeOfTarget(Rule):
    """Features that are computed from the target of their own row, or of one after it.

    A rolling mean that includes the day itself, target encoding over all rows, a running total:
    alone they may predict little, and a model that unravels them is perfect and useless. Their
    arithmetic is checked, not their skill.
    """

    code = "made_of_target"
    title = "Features made of the target"
    advice = (
        "Is the target known when the value is computed? If not, compute the column from earlier "
        "rows only (or leave encoding to search.features), or exclude it; if it is, write the "
        "reason under analysis: accept: made_of_target."
    )
    # A mean of more rows than this gives little of each away.
    _few_rows = 20

    def check(self, subject: Subject) -> Finding:
        """Find such columns; blocks where one gives a noticeable part of its own row away."""
        if subject.target.problem:
            return self.not_applicable(f"Nothing to predict: {subject.target.problem}.")
        if not subject.numbers:
            return self.not_applicable("There is no number feature.")
        found: dict[str, FromTarget] = {}
        for one in (*target_windows(subject), *target_means(subject)):
            found.setdefault(one.column, one)
        if not found:
            return self.not_found("No number feature is a window or a mean over the target.")
        worst = sorted(found.values(), key=lambda one: -one.own_weight)
        columns = [one.column for one in worst]
        each = some_of([f"{shown(one.column)} is {one.words}" for one in worst])
        return self.found(
            "blocks" if worst[0].own_weight * self._few_rows >= 1 else "condition",
            f"{numbers.counted(len(columns), 'feature')} computed from the target: {each}.",
            columns=columns,
            fix=exclude(columns, "computed from the target"),
        )


class TellingMissingValues(Rule):
    """Missing values that tell the target: in all rows that miss a value the outcome is the same.

    A plane that is looked up by its tail number is missing where the flight was cancelled. Few
    rows are concerned, so the column predicts little on the whole and is no leak suspect; for
    these rows the answer is given away all the same.
    """

    code = "telling_missing_values"
    title = "Missing values that tell the target"
    advice = (
        "Ask when these values become known. If they are missing because of the outcome, exclude "
        "the columns."
    )
    threshold = Threshold(
        0.95, 0.5, 1, "skill of saying the same of all rows that miss the value, found from it"
    )
    _fewest_rows = 20
    # Chance that so many rows of one class are missing together, if missing meant nothing.
    _largest_chance = 1e-4

    @dataclass(frozen=True)
    class Told:
        """What the rows that miss a value have in common, and how well it describes them."""

        rows: int
        skill: float
        words: str

    def check(self, subject: Subject) -> Finding:
        """Compare how much the rows that miss a value agree on the target with the threshold."""
        if subject.target.problem:
            return self.not_applicable(f"Nothing to predict: {subject.target.problem}.")
        incomplete = [column for column, facts in subject.facts.items() if facts.missing]
        told = {c: t for c in incomplete if (t := self._told(subject, c))}
        if not told:
            reason = f"No feature is missing in {self._fewest_rows} or more rows."
            return self.not_applicable(reason)
        limit = self.limit(subject)
        columns = sorted((c for c in told if told[c].skill >= limit), key=lambda c: -told[c].rows)
        best = max(each.skill for each in told.values())
        if not columns:
            return self.not_found(
                f"Rows that miss a value agree on the target by {numbers.share(best)} at most.",
                number=best,
                threshold=limit,
            )
        each = some_of([f"{shown(c)} ({told[c].words})" for c in columns])
        counted = numbers.counted(len(columns), "feature")
        return self.found(
            "condition",
            f"{counted} missing where the target is the same: {each}.",
            columns=columns,
            number=best,
            threshold=limit,
            fix=exclude(columns, "missing because of the outcome"),
        )

    def _told(self, subject: Subject, column: str) -> Told | None:
        """None when too few visible rows miss the value."""
        missing = subject.frame[column].isna().to_numpy()[subject.target.rows]
        y = subject.target.y[missing]
        if len(y) < self._fewest_rows or len(y) == len(missing):
            return None
        if subject.spec.task == "regression":
            skill = 1 - float(np.var(y) / np.var(subject.target.y))
            words = f"{len(y):,} rows, target {y.mean():.4g} ± {y.std():.2g}"
            return self.Told(len(y), skill, words)
        return self._told_class(subject, y)

    def _told_class(self, subject: Subject, y: np.ndarray) -> Told:
        """Share of the errors avoided by saying the most frequent class of these rows."""
        commonest = int(np.bincount(y).argmax())
        share, usual = float(np.mean(y == commonest)), float(np.mean(subject.target.y == commonest))
        surprising = usual < 1 and len(y) * math.log(usual) < math.log(self._largest_chance)
        name = shown((subject.target.classes or ())[commonest])
        skill = max((share - usual) / (1 - usual), 0.0) if surprising else 0.0
        words = (
            f"{len(y):,} rows, {numbers.share(share)} of them {name}, "
            f"{numbers.share(usual)} elsewhere"
        )
        return self.Told(len(y), skill, words)


RULES = (LeakSuspect(), MadeOfTarget(), TellingMissingValues())

"""The configurations that were scored on test rows, in whichever run or exploration.

    <root>/<experiment>/test_scores/
      <time>-<rows>-<random>.json      the scores of one ranking
      contributions/<digest>.npy       what each group of rows adds to them

Who explores often and keeps the best uses the test rows up: the best of many scores is
optimistic. So the intervals of a leaderboard hold for all configurations together that
were ever scored by its metric on its rows (Berk, Brown, Buja, Zhang and Zhao 2013).
Rows are the same if their numbers and targets are, whatever the features; the name of
the experiment does not matter.
"""

import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from experiment_pipeline.errors import EntryCorrupt
from experiment_pipeline.statistics.comparisons import Drawn, simultaneous_reach
from experiment_pipeline.statistics.interval import LEVEL, quantile
from experiment_pipeline.storage.records import Journal, Journals, NamedByDigest, now
from experiment_pipeline.table.digests import sha256

_RULE = "is not what a ranking of configurations wrote"
_FIX = "Nothing: it is passed over."


@dataclass(frozen=True)
class RankingNote:
    """One ranking of configurations on test rows."""

    at: str  # when, ISO 8601 in UTC, with microseconds
    rows: str  # sha256 in hex of the targets and groups of the test rows
    metric: str
    scores: Mapping[str, float]  # fingerprint of a trained model → its score
    contributions: str  # sha256 in hex of the file


@dataclass(frozen=True, eq=False)
class EarlierScores:
    """E configurations that were scored on some rows before."""

    rankings: int  # by how many rankings
    scores: np.ndarray  # (E,)
    contributions: np.ndarray  # (G, E) of each group of rows to a score

    @property
    def configurations(self) -> int:
        """Their number E."""
        return len(self.scores)

    def beside(self, contributions: np.ndarray) -> np.ndarray:
        """Return contributions (G, C) with those of the earlier ones as more columns,
        (G, C + E).
        """
        return np.column_stack([contributions, self.contributions])

    def widening(self, contributions: np.ndarray, drawn: Drawn) -> float:
        """Return how many times as wide intervals of C scores are if they hold for the
        earlier ones as well; these groups contribute (G, C).
        """
        if not self.configurations:
            return 1.0
        alone = simultaneous_reach(contributions, drawn) or single_reach(contributions)
        together = simultaneous_reach(self.beside(contributions), drawn)
        return max(together / alone, 1.0)


NOTHING_EARLIER = EarlierScores(0, np.empty(0), np.empty((0, 0)))


def single_reach(contributions: np.ndarray) -> float:
    """Return how many standard errors an interval for one score reaches."""
    return quantile(max(len(contributions) - 1, 1), LEVEL)


@dataclass(frozen=True)
class ComparedRows:
    """The test rows of a leaderboard, and the metric by which it ranks."""

    ledger: "ScoreLedger"
    digest: str
    metric: str

    def enter(
        self, scores: Mapping[str, float], contributions: np.ndarray
    ) -> EarlierScores:
        """Enter a ranking, fingerprint → score with contributions (G, C), unless all of
        it is known; return what else was scored before.
        """
        known: dict[str, float] = {}
        columns: list[np.ndarray] = []
        rankings = 0
        for note, stored in self.ledger.rankings(self.digest, self.metric):
            others = [
                (place, name)
                for place, name in enumerate(note.scores)
                if name not in known and name not in scores
            ]
            columns += [stored[:, place] for place, _ in others]
            known |= note.scores
            rankings += bool(others)
        if not known.keys() >= scores.keys():
            self._write(scores, contributions)
        if not columns:
            return NOTHING_EARLIER
        values = [score for name, score in known.items() if name not in scores]
        contributed = np.column_stack(columns).astype(float)
        return EarlierScores(rankings, np.array(values), contributed)

    def rankings_until(self, fingerprints: Collection[str]) -> int:
        """Return how many rankings there were when all of these models were scored."""
        notes = [note for _, note in self.ledger.notes_on(self.digest, self.metric)]
        unscored = set(fingerprints)
        count = 0
        for note in sorted(notes, key=lambda note: note.at):
            if not unscored:
                break
            unscored -= note.scores.keys()
            count += 1
        return count

    def _write(self, scores: Mapping[str, float], contributions: np.ndarray) -> None:
        content = io.BytesIO()
        np.save(content, contributions.astype("float32"), allow_pickle=False)
        digest = self.ledger.contributions.put(content.getvalue())
        note = RankingNote(now(), self.digest, self.metric, scores, digest)
        self.ledger.notes.append(note, self.digest)


class ScoreLedger(Journals):
    """The rankings of one experiment; those of others are read as well."""

    FOLDER = "test_scores"

    def on(self, y: pd.Series, groups: np.ndarray, metric: str) -> ComparedRows:
        """Return test rows with encoded targets by row number (n,), and the codes of
        their groups (n,), which must not depend on features.
        """
        table = pd.DataFrame({"y": y, "group": np.asarray(groups)}, index=y.index)
        in_order = table.sort_index(kind="stable")
        parts = [in_order.index, in_order["y"], in_order["group"]]
        content = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
        return ComparedRows(self, sha256(content), metric)

    def rankings(
        self, rows: str, metric: str
    ) -> Iterator[tuple[RankingNote, np.ndarray]]:
        """Yield the rankings of these rows in all experiments, each with the
        contributions (G, C) to its scores; a damaged one is passed over.
        """
        for ledger, note in self.notes_on(rows, metric):
            try:
                content = ledger.contributions.read(note.contributions)
            except EntryCorrupt:
                continue
            yield note, np.load(io.BytesIO(content), allow_pickle=False)

    def notes_on(self, rows: str, metric: str) -> Iterator[tuple[Self, RankingNote]]:
        """Yield the notes on rankings of these rows, each with its ledger."""
        for ledger in self.of_all():
            for note in ledger.notes.notes(rows).values():
                if isinstance(note, EntryCorrupt):
                    continue
                if (note.rows, note.metric) == (rows, metric):
                    yield ledger, note

    @property
    def notes(self) -> Journal[RankingNote]:
        """One note for each ranking."""
        return Journal(self.folder, RankingNote, _RULE, _FIX)

    @property
    def contributions(self) -> NamedByDigest:
        """The files of contributions that notes refer to."""
        return NamedByDigest(self.folder / "contributions", "npy", _RULE, _FIX)

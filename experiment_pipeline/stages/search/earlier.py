"""What earlier runs searched: a rerun of the same table and search concludes the same.

<root>/<experiment>/search/<fingerprint>/
    results.parquet    a row per configuration, as of `SearchResults`
    result.json        the seconds of the budget

So it does not matter what the clock of the earlier run left unstarted. Only a larger
budget goes on, or a configuration that somebody asks for by its key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.stages.registry import STAGES
from experiment_pipeline.stages.search.budget import lacks_seconds
from experiment_pipeline.stages.search.conclusions import (
    STOPPED_EARLY,
    TRAINED,
    Conclusion,
    SearchResults,
    concluded,
)
from experiment_pipeline.stages.search.configurations import Configuration
from experiment_pipeline.stages.search.fingerprints import fingerprint
from experiment_pipeline.stages.search.results import ModelStore
from experiment_pipeline.stages.search.scoring import scored_as_asked
from experiment_pipeline.stages.search.training_sets import TrainingSets
from experiment_pipeline.storage.entries import Entries
from experiment_pipeline.storage.files import storage_root
from experiment_pipeline.storage.records import fingerprint_of
from experiment_pipeline.storage.run_code import source_digests
from experiment_pipeline.storage.tables import from_parquet, to_parquet

_RESULTS = "results.parquet"


@dataclass(frozen=True)
class SearchBudget:
    """The seconds that a search had."""

    seconds: float | None  # None: no limit

    def covers(self, seconds: float | None) -> bool:
        """Whether a search with so many seconds has no more of them."""
        if self.seconds is None:
            return True
        return seconds is not None and seconds <= self.seconds


@dataclass(frozen=True)
class EarlierSearches:
    """The searches of one experiment, by `search_fingerprint`."""

    entries: Entries[SearchBudget]

    @classmethod
    def of(cls, experiment: str) -> "EarlierSearches":
        """Return those under the storage root."""
        return cls(Entries(storage_root(), experiment, "search", SearchBudget))

    def find(
        self, fingerprint: str, seconds: float | None, warn: Callable[[str], object]
    ) -> SearchResults | None:
        """Return the results of the search, unless it had fewer seconds than these."""
        entry = self.entries.intact(fingerprint, warn)
        if entry is None or not entry.record.covers(seconds):
            return None
        return from_parquet(entry.files[_RESULTS], SearchResults)

    def keep(
        self, fingerprint: str, seconds: float | None, results: SearchResults
    ) -> None:
        """Keep the results of a search in place of those with fewer seconds."""
        self.entries.discard(fingerprint)
        contents = {_RESULTS: to_parquet(results)}
        self.entries.put(fingerprint, contents, SearchBudget(seconds))


def search_fingerprint(
    declared: Sequence[Configuration], sets: TrainingSets, spec: ExperimentSpec
) -> str:
    """Return the digest of all that decides a search, its seconds aside.

    Gates and the number of workers are no part of it.
    """
    metric_is_own = ":" in spec.metric
    return fingerprint_of(
        configurations=[
            [entrant.key, entrant.named, fingerprint(entrant, sets, spec)]
            for entrant in declared
        ],
        metric=spec.metric,
        metric_source=source_digests([spec.metric] if metric_is_own else []),
        halving=spec.model_dump(mode="json", include={"halving"}),
        budget=spec.budget.model_dump(mode="json", exclude={"seconds"}),
        seed=spec.seed,
        version=STAGES["search"].version,
    )


@dataclass(frozen=True)
class EarlierSearch:
    """How an earlier run concluded a search."""

    conclusions: Sequence[Conclusion]
    results: SearchResults  # of the earlier run

    @property
    def in_words(self) -> str:
        """A line for the log."""
        text = "an earlier run searched the same on this table: nothing is fitted again"
        left_out = [end for end in self.conclusions if lacks_seconds(end.reason)]
        if left_out:
            count = numbers.counted(len(left_out), "configuration")
            text += f"; {count} had no time, raise budget.seconds to go on"
        return text


def concluded_again(
    results: SearchResults,
    declared: Sequence[Configuration],
    sets: TrainingSets,
    spec: ExperimentSpec,
    store: ModelStore,
) -> EarlierSearch | None:
    """Conclude as an earlier search did; None: some of its models are not stored.

    A configuration that was trained on all rows since then, because somebody asked for
    it, counts as trained.
    """
    prints = {entrant.key: fingerprint(entrant, sets, spec) for entrant in declared}
    in_full = scored_as_asked(store, [*prints.values()], sets, spec)
    has_model = results.rows["status"].isin([TRAINED, STOPPED_EARLY])
    needed = set(results.rows.loc[has_model, "fingerprint"])
    stored = store.results(needed - in_full.keys()) | in_full
    if not needed <= stored.keys():
        return None
    conclusions = list[Conclusion]()
    for conclusion in concluded(results, stored):
        full_result = in_full.get(prints[conclusion.key])
        if full_result is None:
            has_result = conclusion.result is not None
            conclusions.append(replace(conclusion, reused=has_result))
            continue
        before = [step for step in conclusion.path if step.fraction < 1]
        result = replace(full_result, key=conclusion.key)
        conclusions.append(Conclusion.trained(result, reused=True, before=before))
    return EarlierSearch(conclusions, results)

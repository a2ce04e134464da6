"""The search space as an ordered list of configurations, and the key of each."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, product

import numpy as np

from experiment_pipeline import errors
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import (
    ExperimentSpec,
    Features,
    Range,
    Scalar,
    Search,
    notation,
)
from experiment_pipeline.spec.algorithms import ALGORITHMS, ENSEMBLE
from experiment_pipeline.table.digests import sha256

# Longer keys are cut in the middle where Dagster shows them, and two may then look the
# same.
MAX_KEY_LENGTH = 40
MAX_CONFIGURATIONS = 100_000
# Random draws end after so many repetitions in a row: the space holds (almost) nothing
# new.
MAX_REPETITIONS = 1_000
SIGNIFICANT_DIGITS = 4
# Of a digest in a key: among 1,000 configurations, two share 8 digits in one of 8,600
# searches.
_DIGITS = 8
# Of scikit-learn's forests: 1 is a count, 1.0 a share.
_COUNT_OR_SHARE = frozenset(
    {"max_features", "max_samples", "min_samples_leaf", "min_samples_split"}
)
_FOREIGN = re.compile(r"[^A-Za-z0-9_.-]|\.{2,}")


@dataclass(frozen=True)
class Configuration:
    """One algorithm with one full set of hyperparameters, under a unique key."""

    key: str
    algorithm: str  # a built-in algorithm's name, or an import path
    features: Features  # how categories reach the model
    hyperparameters: Mapping[str, Scalar]  # all that the YAML gives, sorted by name
    named: bool = False  # whether the YAML gives the key
    note: str = ""  # why it is tried

    @property
    def in_words(self) -> str:
        """`lightgbm (learning_rate 0.05, num_leaves 31)`, or `ensemble`."""
        if self.algorithm == ENSEMBLE:
            return "ensemble"
        name = _class_name(self.algorithm)
        return f"{name} ({self.settings})" if self.declared_settings else name

    @property
    def settings(self) -> str:
        """`features target, num_leaves 31`, or `defaults`."""
        return numbers.settings(self.declared_settings) or "defaults"

    @property
    def import_paths(self) -> tuple[str, ...]:
        """The algorithm, and the import paths in hyperparameters."""
        return (self.algorithm, *notation.paths_in(self.hyperparameters))

    @property
    def declared_settings(self) -> dict[str, Scalar]:
        """Name → value, and the encoder if it is not the default."""
        if self.features == default_features(self.algorithm):
            return dict(self.hyperparameters)
        return {"features": self.features, **self.hyperparameters}


@dataclass(frozen=True)
class _Unkeyed:
    algorithm: str
    features: Features
    hyperparameters: dict[str, Scalar]
    searched: frozenset[str]
    name: str | None
    note: str

    @property
    def identity(self) -> str:
        """Equal for two drafts of the same configuration: 1 is 1.0, where it means the
        same.
        """
        values = {name: self._plain(name) for name in self.hyperparameters}
        return json.dumps([self.algorithm, self.features, values], sort_keys=True)

    def _plain(self, name: str) -> Scalar:
        value = self.hyperparameters[name]
        means_the_same = name not in _COUNT_OR_SHARE and self.algorithm in ALGORITHMS
        if means_the_same and isinstance(value, float) and value % 1 == 0:
            return int(value)
        return value

    @property
    def nameable(self) -> dict[str, Scalar]:
        """What can stand in a key: the hyperparameters, and the encoder."""
        return {"features": self.features, **self.hyperparameters}


@dataclass(frozen=True)
class _Declared:
    """The entries of a search, equal if they are written alike: 1 may not be 1.0."""

    text: str
    entries: tuple[Search, ...] = field(compare=False)


def configurations(spec: ExperimentSpec) -> tuple[Configuration, ...]:
    """Return the distinct ones; InvalidExperiment: too many, or a name twice."""
    text = spec.model_dump_json(include={"search"})
    return _configurations(_Declared(text, spec.search))


@lru_cache(maxsize=8)  # a run asks for them ten times
def _configurations(declared: _Declared) -> tuple[Configuration, ...]:
    distinct = dict[str, _Unkeyed]()
    for entry in declared.entries:
        for draft in _drafts(entry):
            distinct.setdefault(draft.identity, draft)
    _check_size("the search", len(distinct))
    algorithms = [entry.algorithm for entry in declared.entries]
    drafts = sorted(
        distinct.values(), key=lambda draft: algorithms.index(draft.algorithm)
    )
    keys = _keys(drafts)
    for key, count in Counter(keys).items():
        if count > 1:
            raise errors.InvalidExperiment(
                f"name {key}", rule="two entries use it", fix="rename one"
            )
    return tuple(
        Configuration(
            key,
            draft.algorithm,
            draft.features,
            draft.hyperparameters,
            named=bool(draft.name),
            note=draft.note,
        )
        for key, draft in zip(keys, drafts, strict=True)
    )


def search_notes(spec: ExperimentSpec) -> tuple[str, ...]:
    """Return a sentence for each search entry that yields less than it declares."""
    notes = list[str]()
    declared = set[str]()
    for number, entry in enumerate(spec.search):
        place = f"search.{number} ({entry.algorithm})"
        identities = [draft.identity for draft in _drafts(entry)]
        if entry.draws is not None and len(identities) < entry.draws:
            notes.append(
                f"{place}: only {len(identities)} of {entry.draws} draws differ; "
                f"{MAX_REPETITIONS} more in a row brought nothing new"
            )
        new = set(identities) - declared
        if repeated := len(identities) - len(new):
            again = numbers.counted(repeated, "configuration")
            notes.append(f"{place}: {again} declared before, counted once")
        declared |= new
    return tuple(notes)


def default_features(algorithm: str) -> Features:
    """Return the encoder that suits an algorithm, or most, for an import path."""
    return ALGORITHMS[algorithm].features if algorithm in ALGORITHMS else "onehot"


def _check_size(culprit: str, size: int) -> None:
    if size > MAX_CONFIGURATIONS:
        raise errors.InvalidExperiment(
            culprit,
            rule=f"{size:,} configurations, more than the {MAX_CONFIGURATIONS:,} "
            "allowed",
            fix="search fewer values, or write method: random with draws",
        )


def _drafts(entry: Search) -> Iterator[_Unkeyed]:
    fixed = {
        name: value
        for name, value in entry.hyperparameters.items()
        if not isinstance(value, Range | tuple)
    }
    encoders = entry.encoders or (default_features(entry.algorithm),)
    varied = {"features"} if len(encoders) > 1 else set()
    for choice, encoder in _choices(entry, encoders):
        yield _Unkeyed(
            entry.algorithm,
            encoder,
            dict(sorted({**fixed, **choice}.items())),
            frozenset(varied | choice.keys()),
            entry.name,
            entry.note,
        )


def _choices(
    entry: Search, encoders: Sequence[Features]
) -> Iterable[tuple[Mapping[str, Scalar], Features]]:
    """The searched values and the encoder of each configuration."""
    if entry.method == "random":
        return _random_choices(entry, encoders)
    if entry.configurations:
        return product(entry.configurations, encoders)
    lists = {
        name: values
        for name, values in entry.searched.items()
        if isinstance(values, tuple)
    }
    size = math.prod(map(len, lists.values()))
    _check_size(f"the grid of {entry.algorithm}", size)
    combinations = product(*lists.values())
    grid = (dict(zip(lists, values, strict=True)) for values in combinations)
    return product(grid, encoders)


def _random_choices(
    entry: Search, encoders: Sequence[Features]
) -> Iterator[tuple[dict[str, Scalar], Features]]:
    """Yield distinct draws: more draws from the same seed begin with the same ones.

    Encoders have a generator of their own, so a list of them does not change the other
    draws.
    """
    generator = np.random.default_rng(entry.seed)
    of_encoders = np.random.default_rng([entry.seed, len(encoders)])
    spaces = sorted(entry.searched.items())
    distinct = set[str]()
    repetitions = 0
    while len(distinct) < (entry.draws or 0) and repetitions < MAX_REPETITIONS:
        drawn = {name: _draw(generator, space) for name, space in spaces}
        encoder = encoders[int(of_encoders.integers(len(encoders)))]
        identity = json.dumps([drawn, encoder])
        if identity in distinct:
            repetitions += 1
            continue
        repetitions = 0
        distinct.add(identity)
        yield drawn, encoder


def _draw(generator: np.random.Generator, space: Range | tuple[Scalar, ...]) -> Scalar:
    if isinstance(space, tuple):
        return space[int(generator.integers(len(space)))]
    low, high = space.low, space.high
    if space.integer and space.scale == "linear":
        return int(generator.integers(int(low), int(high), endpoint=True))
    if space.integer:
        # Each whole number gets the logarithmic width of [n, n + 1).
        drawn = math.exp(generator.uniform(math.log(low), math.log(high + 1)))
        return int(min(max(math.floor(drawn), low), high))
    if space.scale == "log":
        drawn = math.exp(generator.uniform(math.log(low), math.log(high)))
    else:
        drawn = generator.uniform(low, high)
    # Rounded before training, so that the key is exact; rounding may leave the range.
    return float(min(max(float(f"{drawn:.{SIGNIFICANT_DIGITS}g}"), low), high))


def _keys(drafts: Sequence[_Unkeyed]) -> list[str]:
    """Name them; where names coincide, add values that differ, in the end digests."""
    heads = _heads(drafts)
    keys = [_key(draft, heads, draft.searched) for draft in drafts]
    for places in _collisions(keys):
        differing = _differing([drafts[place] for place in places])
        for place in places:
            shown = drafts[place].searched | differing
            keys[place] = _key(drafts[place], heads, shown)
    for digits in (_DIGITS, 2 * _DIGITS):
        for place in chain.from_iterable(_collisions(keys)):
            draft = drafts[place]
            keys[place] = draft.name or _marked(draft, heads, digits)
    return keys


def _heads(drafts: Sequence[_Unkeyed]) -> dict[str, str]:
    """Algorithm → its class, or the import path where two share a class name."""
    names = {draft.algorithm: _class_name(draft.algorithm) for draft in drafts}
    counts = Counter(names.values())
    return {
        algorithm: _escaped(algorithm if counts[name] > 1 else name)
        for algorithm, name in names.items()
    }


def _class_name(algorithm: str) -> str:
    return algorithm.rpartition(".")[2]


def _key(draft: _Unkeyed, heads: Mapping[str, str], names: frozenset[str]) -> str:
    """The key that shows these values; a digest where it would be too long."""
    if draft.name:
        return draft.name
    values = draft.nameable
    shown = sorted(names & values.keys())
    parts = [f"{_escaped(name)}={_text(values[name])}" for name in shown]
    key = "__".join([heads[draft.algorithm], *parts])
    if len(key) > MAX_KEY_LENGTH or key == ENSEMBLE:
        return _marked(draft, heads, _DIGITS)
    return key


def _marked(draft: _Unkeyed, heads: Mapping[str, str], digits: int) -> str:
    digest = sha256(draft.identity.encode())[:digits]
    return f"{heads[draft.algorithm][: MAX_KEY_LENGTH - 2 - digits]}__{digest}"


def _differing(drafts: Sequence[_Unkeyed]) -> frozenset[str]:
    """The names of values in which drafts differ."""
    texts = [
        {name: repr(value) for name, value in draft.nameable.items()}
        for draft in drafts
    ]
    names = frozenset[str]().union(*texts)
    return frozenset(
        name for name in names if len({values.get(name) for values in texts}) > 1
    )


def _collisions(keys: Sequence[str]) -> list[list[int]]:
    places = dict[str, list[int]]()
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return [shared for shared in places.values() if len(shared) > 1]


def _text(value: Scalar) -> str:
    if isinstance(value, float):
        # The plus sign is outside the alphabet; 1e20 means the same as 1e+20.
        return _escaped(repr(value).replace("e+", "e"))
    return _escaped(str(value))


def _escaped(text: str) -> str:
    """Replace what is outside the alphabet, and runs of dots: a range for Dagster."""
    return _FOREIGN.sub("-", text)

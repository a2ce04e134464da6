"""The search space as an ordered list of configurations, and the key of each."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, product

import numpy as np

from experiment_pipeline import errors
from experiment_pipeline.reporting import numbers
from experiment_pipeline.spec import ExperimentSpec, Features, Range, Scalar, Search
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


@dataclass(frozen=True)
class Configuration:
    """One algorithm with one full set of hyperparameters; its key is unique in the
    experiment.
    """

    key: str
    algorithm: str  # a built-in algorithm's name, or an import path
    features: Features  # how categories reach the model
    hyperparameters: Mapping[str, Scalar]  # all that the YAML gives, sorted by name
    named: bool = False  # whether the YAML gives the key
    note: str = ""  # why it is tried

    @property
    def in_words(self) -> str:
        """`lightgbm (learning_rate 0.05, num_leaves 31)`; an ensemble's text leaves out
        its members.
        """
        if self.algorithm == ENSEMBLE:
            return "ensemble"
        name = self.algorithm.rpartition(".")[2]
        return f"{name} ({self.settings})" if self.declared_settings else name

    @property
    def settings(self) -> str:
        """`learning_rate 0.05, num_leaves 31`, or `defaults`; an encoder that is not
        the default comes first.
        """
        return numbers.settings(self.declared_settings) or "defaults"

    @property
    def declared_settings(self) -> dict[str, Scalar]:
        """Name → value of the hyperparameters, and of the encoder if it is not the
        algorithm's default.
        """
        own = self.features == default_features(self.algorithm)
        return {**({} if own else {"features": self.features}), **self.hyperparameters}


@dataclass(frozen=True)
class _Unnamed:
    algorithm: str
    features: Features
    hyperparameters: dict[str, Scalar]
    searched: frozenset[str]
    name: str | None
    note: str

    @property
    def identity(self) -> str:
        """Equal for two drafts of the same configuration."""
        return json.dumps(
            [self.algorithm, self.features, self.hyperparameters], sort_keys=True
        )

    @property
    def nameable(self) -> dict[str, Scalar]:
        """What can stand in a key: the hyperparameters, and the encoder."""
        return {"features": self.features, **self.hyperparameters}


def configurations(spec: ExperimentSpec) -> tuple[Configuration, ...]:
    """Return each distinct configuration, by algorithm; InvalidExperiment: too many, or
    a name twice.
    """
    algorithms = [entry.algorithm for entry in spec.search]
    first = dict[str, _Unnamed]()
    for draft in chain.from_iterable(map(_drafts, spec.search)):
        first.setdefault(draft.identity, draft)
    _check_size("the search", len(first))
    drafts = sorted(first.values(), key=lambda draft: algorithms.index(draft.algorithm))
    keys = _keys(drafts)
    if twice := [key for key, count in Counter(keys).items() if count > 1]:
        raise errors.InvalidExperiment(
            f"name {twice[0]}", "two entries use it", "rename one"
        )
    return tuple(
        Configuration(
            key, it.algorithm, it.features, it.hyperparameters, bool(it.name), it.note
        )
        for key, it in zip(keys, drafts, strict=True)
    )


def search_notes(spec: ExperimentSpec) -> tuple[str, ...]:
    """Return a sentence for each search entry that yields less than it declares."""
    notes, seen = [], set[str]()
    for number, entry in enumerate(spec.search):
        place = f"search.{number} ({entry.algorithm})"
        identities = [draft.identity for draft in _drafts(entry)]
        if entry.draws is not None and len(identities) < entry.draws:
            notes.append(
                f"{place}: only {len(identities)} of {entry.draws} draws differ; "
                f"{MAX_REPETITIONS} more in a row brought nothing new"
            )
        new = set(identities) - seen
        if repeated := len(identities) - len(new):
            again = numbers.counted(repeated, "configuration")
            notes.append(f"{place}: {again} declared before, counted once")
        seen |= new
    return tuple(notes)


def default_features(algorithm: str) -> Features:
    """Return the encoder that suits an algorithm; for an import path, the one that
    suits most.
    """
    return ALGORITHMS[algorithm].features if algorithm in ALGORITHMS else "onehot"


def _check_size(culprit: str, size: int) -> None:
    if size > MAX_CONFIGURATIONS:
        rule = f"{size:,} configurations, more than the {MAX_CONFIGURATIONS:,} allowed"
        fix = "search fewer values, or write method: random with draws"
        raise errors.InvalidExperiment(culprit, rule, fix)


def _drafts(entry: Search) -> Iterator[_Unnamed]:
    fixed = {
        k: v
        for k, v in entry.hyperparameters.items()
        if not isinstance(v, Range | tuple)
    }
    encoders = entry.encoders or (default_features(entry.algorithm),)
    varied = frozenset({"features"} if len(encoders) > 1 else ())
    if entry.method == "random":
        pairs = _random_choices(entry, encoders)
    elif entry.configurations:
        pairs = product(entry.configurations, encoders)
    else:
        lists = {k: v for k, v in entry.searched.items() if isinstance(v, tuple)}
        _check_size(
            f"the grid of {entry.algorithm}", math.prod(map(len, lists.values()))
        )
        grid = (
            dict(zip(lists, values, strict=True)) for values in product(*lists.values())
        )
        pairs = product(grid, encoders)
    for chosen, encoder in pairs:
        full = dict(sorted({**fixed, **chosen}.items()))
        what = entry.algorithm, encoder, full, varied | frozenset(chosen)
        yield _Unnamed(*what, entry.name, entry.note)


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
    seen, repetitions = set[str](), 0
    while len(seen) < (entry.draws or 0) and repetitions < MAX_REPETITIONS:
        drawn = {name: _draw(generator, space) for name, space in spaces}
        encoder = encoders[int(of_encoders.integers(len(encoders)))]
        identity = json.dumps([drawn, encoder])
        repetitions = repetitions + 1 if identity in seen else 0
        if not repetitions:
            seen.add(identity)
            yield drawn, encoder


def _draw(generator: np.random.Generator, space: Range | tuple[Scalar, ...]) -> Scalar:
    if isinstance(space, tuple):
        return space[int(generator.integers(len(space)))]
    if space.integer and space.scale == "linear":
        return int(generator.integers(int(space.low), int(space.high), endpoint=True))
    if space.integer:
        # Each whole number gets the logarithmic width of [n, n + 1).
        drawn = math.exp(
            generator.uniform(math.log(space.low), math.log(space.high + 1))
        )
        return int(min(max(math.floor(drawn), space.low), space.high))
    if space.scale == "log":
        value = math.exp(generator.uniform(math.log(space.low), math.log(space.high)))
    else:
        value = float(generator.uniform(space.low, space.high))
    # Rounded before training, so that the key is exact; rounding may leave the range.
    return float(
        min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), space.low), space.high)
    )


def _keys(drafts: Sequence[_Unnamed]) -> list[str]:
    """Name configurations; where names coincide, add values that differ, in the end
    digests.
    """
    # The class of an import path, or the path where two share a class name.
    short = {one.algorithm: one.algorithm.rpartition(".")[2] for one in drafts}
    shared = Counter(short.values())
    heads = [
        one.algorithm if shared[short[one.algorithm]] > 1 else short[one.algorithm]
        for one in drafts
    ]

    def marked(i: int, digits: int) -> str:
        digest = sha256(drafts[i].identity.encode())[:digits]
        return f"{_escaped(heads[i])[: MAX_KEY_LENGTH - 2 - digits]}__{digest}"

    def named(i: int, names: frozenset[str]) -> str:
        if name := drafts[i].name:
            return name
        values = drafts[i].nameable
        parts = [
            f"{_escaped(name)}={_text(values[name])}"
            for name in sorted(names & values.keys())
        ]
        key = "__".join([_escaped(heads[i]), *parts])
        is_name = len(key) <= MAX_KEY_LENGTH and key != ENSEMBLE
        return key if is_name else marked(i, _DIGITS)

    absent = object()
    keys = [named(i, draft.searched) for i, draft in enumerate(drafts)]
    for same in _collisions(keys):
        values = [drafts[i].nameable for i in same]
        names = frozenset[str]().union(*values)
        differing = frozenset(
            n for n in names if len({repr(v.get(n, absent)) for v in values}) > 1
        )
        for i in same:
            keys[i] = named(i, drafts[i].searched | differing)
    for digits in (_DIGITS, 2 * _DIGITS):
        for i in chain.from_iterable(_collisions(keys)):
            keys[i] = drafts[i].name or marked(i, digits)
    return keys


def _collisions(keys: Sequence[str]) -> list[list[int]]:
    places: dict[str, list[int]] = {}
    for i, key in enumerate(keys):
        places.setdefault(key, []).append(i)
    return [same for same in places.values() if len(same) > 1]


def _text(value: Scalar) -> str:
    # The plus sign is outside the alphabet; 1e20 means the same as 1e+20.
    return _escaped(
        repr(value).replace("e+", "e") if isinstance(value, float) else str(value)
    )


def _escaped(text: str) -> str:
    """Replace characters outside the alphabet, and runs of dots, which Dagster reads as
    a range.
    """
    return re.sub(r"[^A-Za-z0-9_.-]|\.{2,}", "-", text)

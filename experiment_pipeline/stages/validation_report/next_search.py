"""What to try next when a gate failed: the reasons, and a `search:` that follows from them.

Why it is not good enough is found in `shortfall.py`. The new search keeps what was fixed,
goes on beyond the edges, moves towards more or less flexible models as the fit demands, and
draws with a new seed. In: spec, leaderboard, report. Out: a `NextSearch` whose YAML is valid.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from experiment_pipeline.spec import ExperimentSpec, Range, Scalar, Search
from experiment_pipeline.spec.algorithms import ALGORITHMS, Direction
from experiment_pipeline.stages.leaderboard.board import Leaderboard
from experiment_pipeline.stages.leaderboard.edges import SearchEdge, is_share, rounded
from experiment_pipeline.stages.search.configurations import (
    Configuration,
    configurations,
    default_features,
)
from experiment_pipeline.stages.search.learners import space
from experiment_pipeline.stages.validation_report.report import ValidationReport
from experiment_pipeline.stages.validation_report.shortfall import (
    Evidence,
    Reason,
    families,
    reasons,
)
from experiment_pipeline.storage.records import yaml_bytes

# Algorithms that are worth searching without being asked for.
FAMILIES = tuple(name for name, one in ALGORITHMS.items() if one.classifier.spaces)
_DRAWS, _DRAWS_OF_NEW_FAMILY = 40, 20


@dataclass(frozen=True)
class NextSearch:
    """Why the gate failed, the surest reason first, and a `search:` for the experiment's YAML."""

    reasons: tuple[Reason, ...]
    yaml: str


_DIRECTIONS: dict[str, Direction] = {"overfit": "stiffer", "underfit": "more_flexible"}


def next_search(
    spec: ExperimentSpec,
    board: Leaderboard,
    report: ValidationReport,
    evidence: Evidence | None = None,
) -> NextSearch:
    """Return why the choice is not good enough, and the next search to try."""
    found = reasons(spec, board, report, evidence or Evidence())
    asked = [_DIRECTIONS[reason.code] for reason in found if reason.code in _DIRECTIONS]
    direction = asked[0] if asked else "as_is"
    chosen = next(one for one in configurations(spec) if one.key == board.single)
    seed = (max(entry.seed for entry in spec.search) + 1) % 2**31
    searches = list(_around(spec, chosen, board.edges, direction, seed))
    if not searches or any(reason.code == "one_family" for reason in found):
        others = [name for name in FAMILIES if name not in families(spec)] or FAMILIES
        searches += [
            _random(name, _DRAWS_OF_NEW_FAMILY, seed, space(name, spec.task, "as_is"))
            for name in others
        ]
    written = [search.model_dump(mode="json", exclude_unset=True) for search in searches]
    return NextSearch(found, yaml_bytes({"search": written}).decode())


def _around(
    spec: ExperimentSpec,
    chosen: Configuration,
    edges: Iterable[SearchEdge],
    direction: Direction,
    seed: int,
) -> Iterator[Search]:
    """The chosen algorithm again, if it has anything to search."""
    declared = _searched(spec, chosen.algorithm)
    given = chosen.hyperparameters
    new = space(chosen.algorithm, spec.task, direction, given)
    # What the YAML fixed stays fixed, unless the fit asks for other models.
    values: dict[str, Any] = {
        name: value
        for name, value in given.items()
        if name not in declared and (direction == "as_is" or name not in new)
    }
    values |= {name: near for name, near in new.items() if name not in values}
    for name in declared.keys() & given.keys() - new.keys():
        values[name] = _near(name, given[name], declared[name])
    values |= {edge.hyperparameter: _beyond(edge) for edge in edges}
    if any(isinstance(value, Range | tuple) for value in values.values()):
        yield _random(chosen.algorithm, _DRAWS, seed, values, chosen.features)


def _random(
    algorithm: str,
    draws: int,
    seed: int,
    hyperparameters: Mapping[str, Any],
    features: str | None = None,
) -> Search:
    fields = {"algorithm": algorithm, "method": "random", "draws": draws, "seed": seed}
    encoder = {} if features in {None, default_features(algorithm)} else {"features": features}
    ordered = dict(sorted(hyperparameters.items()))
    return Search.model_validate(fields | encoder | {"hyperparameters": ordered})


def _searched(spec: ExperimentSpec, algorithm: str) -> dict[str, Range | tuple[Scalar, ...]]:
    """What was searched of an algorithm, explicit configurations included."""
    declared: dict[str, Range | tuple[Scalar, ...]] = {}
    for entry in spec.search:
        if entry.algorithm == algorithm:
            declared |= entry.searched
            names = dict.fromkeys(name for one in entry.configurations for name in one)
            for name in names:
                values = [one[name] for one in entry.configurations if name in one]
                declared[name] = tuple(dict.fromkeys(values))
    return declared


def _near(name: str, value: Scalar, declared: Range | tuple[Scalar, ...]) -> Any:
    """Half to twice a positive number; anything else is searched as before."""
    if isinstance(value, bool | str) or value is None or value <= 0:
        return declared
    integer = isinstance(value, int)
    low, high = rounded(value / 2, integer=integer), rounded(value * 2, integer=integer)
    if integer:
        low, high = max(low, 1), max(high, 2)
    elif is_share(name):
        high = min(high, 1.0)
    return Range(low=low, high=high, scale="log")


def _beyond(edge: SearchEdge) -> Range:
    """From the middle of what was searched to beyond its end."""
    positive = min(edge.low, edge.wider) > 0
    middle = math.sqrt(edge.low * edge.high) if positive else (edge.low + edge.high) / 2
    ends = sorted([rounded(middle, integer=isinstance(edge.wider, int)), edge.wider])
    return Range(low=ends[0], high=ends[1], scale="log" if positive else "linear")

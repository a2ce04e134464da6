"""The keys of the spec that each stage reads, and that its fingerprint therefore covers.

A stage is given `spec.part(KEYS)`. A set, a validated table or a search result also carries what
earlier stages decided, by its digest.
"""

from collections.abc import Mapping

Keys = tuple[str, ...]

_QUESTION: Keys = ("target", "task", "positive_class", "sample_weight")
_SCORING: Keys = (*_QUESTION, "metric", "acceptance", "seed")
_ROLES: Keys = (*_QUESTION, "split", "preparation", "exclude")
_SEARCHED: Keys = ("split", "search", "evaluation")
# One fit of one configuration, wherever it runs.
FITTING: Keys = (*_SCORING, "seeds", "calibrate")

READS: Mapping[str, Keys] = {
    "raw_data": ("data",),
    "data_analysis": (*_ROLES, "validation", "analysis", "metric", "acceptance", "seed"),
    "validated_data": (*_ROLES, "validation"),
    "split_sets": _ROLES,
    "search": (*FITTING, *_SEARCHED, "halving", "budget", "workers", "engine"),
    "leaderboard": (*_SCORING, *_SEARCHED, "choice", "ensemble"),
    "validation_report": (
        *(*FITTING, *_SEARCHED, "preparation"),
        *("not_worse_than_champion", "costs", "export"),
    ),
}

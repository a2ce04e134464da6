"""What people see of the export: which version it is, where it lies, and its card.

In: a published version. Out: an outcome.
"""

from experiment_pipeline.reporting.outcome import Check, Markdown, Outcome, Place
from experiment_pipeline.storage.registry import PublishedVersion

_PROVEN = "a fresh process without this package predicts the same, bit for bit"
_PROVEN_BEFORE = "proven when this version was published"


def outcome(published: PublishedVersion, configuration: str, committed: str, card: str) -> Outcome:
    """The champion under its version number.

    Args:
        published: the version.
        configuration: the partition key of the chosen configuration.
        committed: what was done in the YAML's repository; empty where it names none.
        card: Markdown.
    """
    said = "is the champion already" if published.reused else "published"
    damaged = published.damaged
    return Outcome(
        version=published.identity,
        notes=[f"{published.version} {said}: {published.path}{committed}"],
        warnings=[f"the version before is damaged: {damaged}"] if damaged else [],
        facts={
            "version": published.version,
            "path": Place(published.path),
            "reused": published.reused,
            "configuration": configuration,
            "repository": committed or "none named in the YAML",
            "card": Markdown(card),
        },
        checks=[
            Check(
                "predictions_survive_reload",
                passed=True,
                means=_PROVEN_BEFORE if published.reused else _PROVEN,
            )
        ],
    )

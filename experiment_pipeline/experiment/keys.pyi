# Keys of defs.yaml as typed arguments, for editors. Made from the spec, not by hand:
# `python -m experiment_pipeline_tests.experiment.keys_stub`

from collections.abc import Callable
from typing import Any, Literal, TypedDict

class Keys(TypedDict, total=False):
    task: Literal["binary", "multiclass", "regression"]
    """What is predicted"""
    positive_class: bool | int | float | str | None
    """Binary: the class that counts as positive"""
    label: dict[str, Any] | None
    """How long the target takes to be known; rows without label yet are set aside"""
    sample_weight: str | None
    """Column with a positive weight per row; not a feature"""
    incumbent: str | None
    """Column with the answers of the rule in use today: classes, probabilities or
    numbers; not a feature
    """
    exclude: dict[str, Any] | list[Any]
    """Column → the reason it is not a feature; also for the parts of a date"""
    monotone: dict[str, Any]
    """Numeric feature → how the prediction (binary: the probability of the positive
    class) may go when it rises, all else equal
    """
    preparation: dict[str, Any]
    """What happens to each row before validation; travels with the exported model."""
    features: dict[str, Any] | str | Callable[..., Any] | None
    """Your transformer: module:name"""
    analysis: dict[str, Any]
    """Settings of the data analysis, whose rules define the codes and thresholds."""
    validation: dict[str, Any]
    """How rows are checked against the schema, beyond what schema.yaml itself decides.
    """
    split: dict[str, Any] | str
    """How rows are divided into the three sets"""
    search: list[Any] | str
    """The algorithms to try"""
    metric: str | Callable[..., Any]
    """What ranks the configurations"""
    evaluation: dict[str, Any] | Literal["test_set", "cross_validation"] | None
    """test_set, or cross_validation of train and test rows: for small tables"""
    seeds: int | None
    """Fits per configuration, by other seeds, to tell its lead from chance"""
    calibrate: Literal["sigmoid", "off", False] | None
    """Of probabilities; unset: reweighted classes, and the chosen multiclass model"""
    halving: dict[str, Any] | bool | Literal["on", "off"] | None
    """off, or shares of the train rows for fewer and fewer configurations"""
    budget: dict[str, Any]
    """Limits of a search, checked between fits; configurations that did not start are
    listed.
    """
    seed: int
    """For all random draws: fits, resamples"""
    engine: dict[str, Any] | None
    """Unset: as EXPERIMENT_PIPELINE_DASK says, else threads here"""
    choice: Literal["best_score", "smallest_in_tie_group"]
    """Or the smallest configuration that is tied with the best"""
    ensemble: dict[str, Any] | bool | Literal["on", "off"] | None
    """off, or the largest number of configurations in the average"""
    acceptance: list[Any]
    """Limits that must hold, in addition to the gate against the baseline"""
    baseline: bool
    """off: the model need not be significantly better than the baseline"""
    not_worse_than_champion: dict[str, Any] | bool | Literal["on", "off"] | None
    """off, or how much worse than the champion and the best so far a model may be"""
    coverage: float | None
    """A gate: intervals or sets cover this share of rows"""
    costs: dict[str, Any] | None
    """Binary: costs of wrong decisions; the exported threshold minimizes them"""
    audit: dict[str, Any] | list[Any] | None
    """Columns whose groups are compared on the validation set, or with limits"""
    export: dict[str, Any]
    """How an accepted model is refitted, and where it is exported to."""
    approval: Literal["none", "required"]
    """required: a version becomes champion only after approval"""
    record: dict[str, Any]
    """Statements that only people can make about a model; decision record, card and
    manifest show them.
    """
    schedule: str
    """Cron expression; stopped until you start it"""
    price_per_hour: float | None
    """Price of an hour of this machine"""
    owners: list[Any]
    """Email addresses or team:name"""
    tags: dict[str, Any]
    """Name → value, on every asset"""
    run_tags: dict[str, Any]
    """Name → value, on every run, such as dagster-k8s/config"""
    freshness: dict[str, Any] | None
    """Largest age of leaderboard and exported model; unset: no limit"""
    retention: dict[str, Any] | None
    """Runs whose files `clean` keeps; unset: all"""
    publish: dict[str, Any] | Literal["sql"] | None
    """sql: rows of the last run for dashboards; unset: nowhere"""
    watch: dict[str, Any] | None
    """Compares later labels with the promise; unset: not watched"""
    lab: dict[str, Any]
    """What agents may spend in `experiment-pipeline lab`"""
    mlflow: dict[str, Any] | None
    """Where runs are copied to; unset: nothing goes to MLflow"""

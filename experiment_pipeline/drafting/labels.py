"""Propose `label` where recent rows of a drafted experiment seem to have none yet."""

import yaml

from experiment_pipeline.drafting.inference import Decision
from experiment_pipeline.spec import ExperimentSpec, RandomSplit
from experiment_pipeline.stages.data_analysis.findings.labels import LabelsNotInYet
from experiment_pipeline.stages.data_analysis.subject import Subject
from experiment_pipeline.table.features import feature_columns
from experiment_pipeline.table.membership import assign_sets
from experiment_pipeline.table.preparation import PreparedTable

_MOST_ROWS = 50_000


def late_labels(prepared: PreparedTable, spec: ExperimentSpec) -> Decision | None:
    """Return the value of `label`, and why; None: all labels seem to be in.

    Whatever the split, targets of a random fifth of the rows are not read: those of
    the latest rows are what is asked for.
    """
    random = spec.model_copy(update={"split": RandomSplit()})
    frame = prepared.frame
    if len(frame) > _MOST_ROWS:
        frame = frame.sample(_MOST_ROWS, random_state=spec.seed)
    features = feature_columns(frame, random)
    sets = assign_sets(frame, random, features).astype("str")
    subject = Subject(frame, sets, tuple(features), random)
    finding = LabelsNotInYet().check(subject)
    if finding.outcome != "found" or finding.yaml is None:
        return None
    label = yaml.safe_load(finding.yaml)["label"]
    return Decision(label, finding.evidence.removesuffix("."))

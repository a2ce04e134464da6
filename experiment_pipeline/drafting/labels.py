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

    Targets of the validation set are not read; under a split by time those of a random
    fifth of the rows instead, as the latest ones are what is asked for. `prepared` has
    the set of each row.
    """
    frame, sets = prepared.frame, prepared.sets
    if len(frame) > _MOST_ROWS:
        frame = frame.sample(_MOST_ROWS, random_state=spec.seed)
        sets = sets[frame.index]
    features = feature_columns(frame, spec)
    if spec.split.by == "time":
        spec = spec.model_copy(update={"split": RandomSplit()})
        sets = assign_sets(frame, spec, features)
    subject = Subject(frame, sets.astype("str"), tuple(features), spec)
    finding = LabelsNotInYet().check(subject)
    if finding.outcome != "found" or finding.yaml is None:
        return None
    label = yaml.safe_load(finding.yaml)["label"]
    return Decision(label, finding.evidence.removesuffix("."))

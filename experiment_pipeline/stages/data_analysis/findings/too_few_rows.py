"""Too few rows for the number of columns, or too few for any conclusion."""

from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, count
from experiment_pipeline.stages.data_analysis.subject import Subject

RULE = Rule(
    "too_few_rows",
    "Too few rows for the columns",
    "Deliver more rows, exclude columns that cannot matter, or prefer strongly regularised "
    "models; expect wide intervals.",
)


def check(subject: Subject) -> Finding:
    """Compare rows with a minimum, and train rows per feature with the threshold."""
    rows, features = len(subject.frame), max(len(subject.features), 1)
    train = len(subject.positions("train"))
    per_feature, limit = train / features, subject.threshold(RULE.code)
    fewest = subject.threshold(f"{RULE.code}_blocks")
    evidence = (
        f"{count(rows, 'row')}, {train:,} of them in the train set, for "
        f"{count(features, 'feature')}: {per_feature:.3g} train rows per feature."
    )
    if rows < fewest:
        return RULE.found("blocks", evidence, number=rows, threshold=fewest)
    if per_feature < limit:
        return RULE.found("condition", evidence, number=per_feature, threshold=limit)
    return RULE.not_found(evidence, number=per_feature, threshold=limit)

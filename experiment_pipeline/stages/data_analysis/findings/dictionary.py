"""Rules about what only people know of the columns, as schema.yaml says it."""

from experiment_pipeline.reporting import numbers
from experiment_pipeline.stages.data_analysis.finding import Finding, Rule, described
from experiment_pipeline.stages.data_analysis.subject import Subject


class KnownTooLate(Rule):
    """Features whose values are known only after the prediction: no score can show
    that they leak.
    """

    code = "known_too_late"
    title = "Features that are known only after the prediction"
    advice = (
        "Exclude them: the model would be fitted on what it will not have. Else "
        "correct `known` in schema.yaml."
    )
    excluded = "known only after the prediction"

    def check(self, subject: Subject) -> Finding:
        if not subject.dictionary.says_when:
            return self.not_applicable(
                "schema.yaml says of no column when it is known."
            )
        late = {
            column: meaning.when_late
            for column, meaning in subject.meanings.items()
            if meaning.when_late
        }
        unknown = ""
        if subject.spec.preparation.function is not None:
            unknown = " What preparation.function makes of late columns is not known."
        if not late:
            evidence = "No feature is known later than the prediction, says schema.yaml"
            return self.not_found(f"{evidence}.{unknown}", 0, 1)
        count = numbers.counted(len(late), "feature")
        evidence = f"{count} come too late, says schema.yaml: {described(late)}"
        return self.found("blocks", f"{evidence}.{unknown}", len(late), 1, [*late])


class SensitiveFeatures(Rule):
    """Features that are personal data, or by which nobody may be treated worse."""

    code = "sensitive_features"
    title = "Features that are personal or protected"
    advice = (
        "Decide whether the model needs them, and on what legal ground; compare the "
        "groups of a protected one by audit."
    )

    def check(self, subject: Subject) -> Finding:
        sensitive = {
            column: meaning.sensitive
            for column, meaning in subject.meanings.items()
            if meaning.sensitive
        }
        if not sensitive:
            return self.not_found("schema.yaml calls no feature personal or protected.")
        count = numbers.counted(len(sensitive), "feature")
        evidence = f"{count}, says schema.yaml: {described(sensitive)}."
        return self.found("note", evidence, len(sensitive), 1, [*sensitive])


RULES = (KnownTooLate(), SensitiveFeatures())

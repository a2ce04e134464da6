"""A table → the files of a drafted experiment, and what the command says about them.

Reads the table, infers (`drafting/inference`), tries the draft up to the split. Decides nothing and
writes nothing. In: where the table is, and what the user has decided. Out: texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from experiment_pipeline.drafting.inference import Draft, Wishes, infer
from experiment_pipeline.drafting.target import Decision
from experiment_pipeline.drafting.text import defs_yaml, summary
from experiment_pipeline.drafting.trial import Trial, try_out
from experiment_pipeline.spec import Data, ExperimentSpec
from experiment_pipeline.spec.errors import explain, invalid, spec_from
from experiment_pipeline.stages.raw_data.sources import read_source
from experiment_pipeline.stages.raw_data.table import parse


@dataclass(frozen=True)
class Drafted:
    """File name → text, and what was inferred and why."""

    files: Mapping[str, str]
    summary: str


def draft_experiment(
    name: str, data: Mapping[str, Any], written_url: str, wishes: Wishes
) -> Drafted:
    """Draft an experiment on a table.

    Args:
        name: of the experiment.
        data: `spec.Data` as given, with the URL as seen from the working directory.
        written_url: the same URL, as it is to stand in the YAML.
        wishes: what the user has decided.

    Raises:
        ExperimentPipelineError: the table cannot be read, or a decision is wrong or missing.
    """
    source = _checked(data)
    table = parse(read_source(source), source)
    written = {**data, "url": written_url}

    def tried(draft: Draft) -> tuple[Draft, ExperimentSpec, Trial]:
        spec = spec_from(name, draft.attributes(written), lambda _: "the draft")
        return draft, spec, try_out(table.frame, spec)

    draft, spec, trial = tried(infer(table.frame, wishes))
    nobody_asked = wishes.split is None and wishes.split_column is None
    if trial.problem and nobody_asked and draft.split.value["by"] == "time":
        draft, spec, trial = tried(_at_random(draft, trial.problem))
    return Drafted(
        {"schema.yaml": trial.schema_text, "defs.yaml": defs_yaml(name, draft, table, written)},
        summary(name, draft, table, spec, trial),
    )


def _at_random(draft: Draft, problem: str) -> Draft:
    """The draft of a series that cannot be split by time, and what that costs."""
    culprit = problem.splitlines()[0]
    why = (
        f"the rows are a series in {draft.split.value['column']}, but by time a run would stop "
        f"({culprit}). At random each row is judged by a model that knows its neighbours: scores "
        "flatter"
    )
    return replace(draft, split=Decision({"by": "random"}, why))


def _checked(data: Mapping[str, Any]) -> Data:
    try:
        return Data.model_validate(data)
    except ValidationError as error:
        raise invalid(explain(error, Data), lambda place: f"--{place[0]}") from None

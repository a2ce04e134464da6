"""A table → the files of a drafted experiment, and what the command says about them.

Reads the table, infers (`core/inference`), tries the draft up to the split. Decides nothing and
writes nothing. In: where the table is, and what the user has decided. Out: texts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from experiment_pipeline.components.draft_text import defs_yaml, summary
from experiment_pipeline.core.inference import Wishes, infer
from experiment_pipeline.core.inference.trial import try_out
from experiment_pipeline.core.raw_data import parse
from experiment_pipeline.core.spec import Data
from experiment_pipeline.core.spec_errors import spec_from
from experiment_pipeline.storage.sources import read_source


@dataclass(frozen=True)
class Drafted:
    """File name → text, and what was inferred and why."""

    files: Mapping[str, str]
    summary: str


def draft_experiment(name: str, data_url: str, written_url: str, wishes: Wishes) -> Drafted:
    """Draft an experiment on a table.

    Args:
        name: of the experiment.
        data_url: the table, as seen from the working directory.
        written_url: the same, as it is to stand in the YAML.
        wishes: what the user has decided.

    Raises:
        ExperimentPipelineError: the table cannot be read, or a decision is wrong or missing.
    """
    data = Data.model_validate({"url": data_url})
    table = parse(read_source(data), data)
    draft = infer(table.frame, wishes)
    spec = spec_from(name, draft.attributes(written_url), lambda _: "the draft")
    trial = try_out(table.frame, spec)
    return Drafted(
        {"schema.yaml": trial.schema_text, "defs.yaml": defs_yaml(name, draft, table, written_url)},
        summary(name, draft, table, spec, trial),
    )

"""A package of files as a model that predicts, without a registry."""

from experiment_pipeline.prediction.files import Model
from experiment_pipeline.prediction.rows import Reading, Signature, example_rows
from experiment_pipeline.storage import persistence
from experiment_pipeline.storage.registry import ModelPackage
from experiment_pipeline.table.schema import load_schema


def loaded(package: ModelPackage, schema: str = "") -> Model:
    """The model of these files, by another schema if one is given."""
    files = package.files
    signature = Signature.from_bytes(files["signature.json"], "here")
    return Model(
        "here",
        persistence.from_bytes(files["model.skops"]),
        Reading.from_bytes(files["preparation.yaml"], "here"),
        load_schema(schema or files["schema.yaml"].decode()),
        signature,
        example_rows(files["input_example.json"], signature),
    )

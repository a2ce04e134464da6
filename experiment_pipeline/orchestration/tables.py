"""The IO manager of all experiments: each asset's table as one Parquet file.

The table of `<experiment>/<stage>` is `<root>/<experiment>/tables/<stage>.parquet`.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from experiment_pipeline.errors import StorageError
from experiment_pipeline.orchestration.reporter import reported_to_the_user
from experiment_pipeline.storage.files import Location, storage_root
from experiment_pipeline.storage.tables import (
    asset_table,
    read_table,
    table_of,
    write_table,
)

if TYPE_CHECKING:
    from experiment_pipeline.stages.validated_data.issues import CheckedRows

# Key of the IO manager, named so that it clashes with no other resource of a project.
TABLES = "experiment_pipeline_tables"
# Assets that cannot be the input of another one: the reason, and what to use instead.
_WITHOUT_VALUE = {
    "data_analysis": (
        "has a report and no value",
        "Call `experiment_pipeline.findings`.",
    ),
    "trained_model": (
        "cannot be loaded: it is many stored models",
        "Depend on exported_model.",
    ),
}


class StageValue:
    """Marks what a stage takes: the table as the type that its function declares."""


dg.make_python_type_usable_as_dagster_type(
    StageValue,
    dg.DagsterType(lambda _context, _value: True, "StageValue", typing_type=StageValue),
)


class TablesIOManager(dg.UPathIOManager):
    """Stores the table that an asset returns, at a path that is the same in every run.

    An asset that takes the exported model as input gets the champion.
    """

    extension = ".parquet"

    def __init__(self, base_path: Location) -> None:
        super().__init__(base_path)
        # What the data analysis hands on to the validation of the same run: Dagster
        # makes one IO manager for all steps of a run.
        self.checked: dict[tuple[str, str], CheckedRows] = {}

    def get_asset_relative_path(
        self, context: dg.InputContext | dg.OutputContext
    ) -> Location:
        """`<experiment>/tables/<stage>` for the key `<experiment>/<stage>`."""
        return Location(asset_table(*context.asset_key.path))

    def make_directory(self, path: Location) -> None:
        """Do nothing: writing a file makes its folder."""

    def dump_to_path(self, context: dg.OutputContext, obj: Any, path: Location) -> None:  # noqa: ARG002
        """Write the table that an asset returned, with its metadata."""
        with reported_to_the_user():
            write_table(path, obj)

    def load_from_path(self, context: dg.InputContext, path: Location) -> Any:
        """Read a table; for a stage, as the type that its function declares."""
        *_, experiment, stage = ("", *context.asset_key.path)
        with reported_to_the_user():
            if stage == "exported_model":
                # Loads scikit-learn.
                from experiment_pipeline.prediction.files import champion

                trusted = context.definition_metadata.get("trusted", ())
                return champion(experiment, trusted)
            if stage in _WITHOUT_VALUE:
                reason, advice = _WITHOUT_VALUE[stage]
                raise StorageError("/".join(context.asset_key.path), reason, advice)
            if context.dagster_type.typing_type is not StageValue:
                return read_table(path)
            from experiment_pipeline.experiment.flow import VALUE_TYPES

            return read_table(path, VALUE_TYPES[stage])

    def get_metadata(self, context: dg.OutputContext, obj: Any) -> dict[str, Any]:  # noqa: ARG002
        """Rows and columns; Dagster adds the path."""
        rows, columns = table_of(obj).shape
        return {"dagster/row_count": rows, "columns": columns}


@dg.io_manager(description="Tables as Parquet files, on a disk or in a bucket.")
def tables_io_manager(_context: dg.InitResourceContext) -> TablesIOManager:
    """The IO manager; the storage root is looked up when a run starts."""
    return TablesIOManager(storage_root())

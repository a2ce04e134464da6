"""The first tables: runs, what belongs to them, the texts of the YAML files, versions."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "boolean": sa.Boolean(),
    "integer": sa.BigInteger(),
    "number": sa.Double(),
    "moment": sa.DateTime(timezone=True),
    "json": sa.JSON(),
}
# Table → its columns as `name:type`; "!" is never null, "*" is part of the key.
_TABLES = {
    "files": """
        digest:text* content:text!
    """,
    "runs": """
        experiment:text* run_id:text* status:text triggered_by:text trigger_name:text
        started_at:moment ended_at:moment seen_at:moment process:json stage:text task:text
        target:text metric:text greater_is_better:boolean yaml_digest:text
        schema_digest:text settings:json code_commit:text code_dirty:boolean
        package_version:text python_version:text libraries:json data_url:text
        data_digest:text data_modified_at:moment data_rows:integer data_columns:integer
        rejected_rows:integer rejection_reasons:json verdict:text declared:integer trained:integer
        stopped_early:integer failed:integer not_started:integer reused:integer
        chosen:text choice_reason:text evaluation:text tie_group:integer test_score:number test_low:number
        test_high:number test_baseline:number validation_score:number
        validation_low:number validation_high:number validation_baseline:number
        looks:integer overlap:number decision:text version:text version_is_new:boolean
        error_type:text error:text fix:text cpu_seconds:number wall_seconds:number
        peak_memory_bytes:integer price_per_hour:number cost:number mlflow_run_id:text
    """,
    "versions": """
        experiment:text* version:text* run_id:text created_at:moment! place:text!
        configuration:text! headline:text! fingerprint:text! approval_required:boolean
        approved_by:text approved_at:moment approval_comment:text
    """,
    "configurations": """
        experiment:text* run_id:text* key:text* algorithm:text! hyperparameters:json!
        status:text! rank:integer is_chosen:boolean rung:number reused:boolean
        test_score:number test_low:number test_high:number difference_to_best:number
        difference_low:number difference_high:number in_tie_group:boolean
        train_score:number seed_mean:number seed_deviation:number calibration:text
        fit_cpu_seconds:number fit_wall_seconds:number
        predict_microseconds_per_row:number model_bytes:integer rounds:integer
        worker:text attempts:integer queue_seconds:number read_seconds:number
        fingerprint:text reason:text
    """,
    "findings": """
        experiment:text* run_id:text* code:text* title:text! severity:text!
        column_names:json! number:number threshold:number evidence:text! advice:text!
        accepted:text
    """,
    "gates": """
        experiment:text* run_id:text* number:integer* metric:text! rule:text! value:number
        limit_value:number outcome:text!
    """,
    "reports": """
        experiment:text* run_id:text* name:text* place:text!
    """,
    "scores": """
        experiment:text* run_id:text* set_name:text* metric:text* estimate:number
        low:number high:number baseline:number greater_is_better:boolean!
    """,
    "sets": """
        experiment:text* run_id:text* set_name:text* rows:integer! columns:integer!
        digest:text!
    """,
}


def upgrade() -> None:
    """Make the tables."""
    for name, columns in _TABLES.items():
        made = [_column(text) for text in columns.split()]
        of_a_run = name != "runs" and {"experiment", "run_id"} <= {
            c.name for c in made if c.primary_key
        }
        scope = ["experiment", "run_id"]
        whose = sa.ForeignKeyConstraint(scope, [f"runs.{one}" for one in scope], ondelete="CASCADE")
        constraints = [whose] if of_a_run else []
        # SQLite then keeps a run's rows side by side, in their own order, and the keys once.
        op.create_table(name, *made, *constraints, sqlite_with_rowid=not of_a_run)
    op.create_index("runs_by_start", "runs", ["experiment", "started_at"])
    op.create_index("runs_by_status", "runs", ["status"])


def downgrade() -> None:
    """Drop them."""
    for name in reversed(_TABLES):
        op.drop_table(name)


def _column(text: str) -> sa.Column[Any]:
    name, _, kind = text.partition(":")
    plain = kind.rstrip("!*")
    return sa.Column(name, _TYPES[plain], primary_key="*" in kind, nullable=kind == plain)

"""`analysis`: what the data analysis may be told."""

from pydantic import Field, field_validator

from experiment_pipeline.spec.base import Closed
from experiment_pipeline.spec.catalogue import check_codes, check_thresholds


class Analysis(Closed):
    """What the data analysis may be told."""

    accept: dict[str, str] = Field({}, description="Finding code → the reason it is accepted")
    thresholds: dict[str, float] = Field(
        {}, description="Finding code, or code_blocks → the number it is compared with"
    )
    report_rows: int = Field(
        100_000, ge=100, description="Rows the table report samples at the most"
    )

    @field_validator("accept")
    @classmethod
    def _codes_are_known(cls, value: dict[str, str]) -> dict[str, str]:
        check_codes(value)
        for code, reason in value.items():
            if not reason.strip():
                raise ValueError(f"accept.{code} gives no reason; write why it is accepted")
        return value

    @field_validator("thresholds")
    @classmethod
    def _thresholds_are_known(cls, value: dict[str, float]) -> dict[str, float]:
        check_thresholds(value)
        return value

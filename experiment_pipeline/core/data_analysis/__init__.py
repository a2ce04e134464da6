"""Data analysis: what is wrong with a table for this target, and whether to go on.

The public names, loaded when first used: `spec.py` needs the catalogue of codes without
pandas. Findings are one module each under `findings/`; the verdict's rules are in
`verdict.py`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiment_pipeline.core.data_analysis.analysis import DataAnalysis, analyse
    from experiment_pipeline.core.data_analysis.catalogue import CODES, THRESHOLDS
    from experiment_pipeline.core.data_analysis.finding import Finding
    from experiment_pipeline.core.data_analysis.probe import NoProbe, Probe
    from experiment_pipeline.core.data_analysis.report import report_html
    from experiment_pipeline.core.data_analysis.subject import Subject

_HOMES = {
    "CODES": "catalogue",
    "THRESHOLDS": "catalogue",
    "DataAnalysis": "analysis",
    "Finding": "finding",
    "NoProbe": "probe",
    "Probe": "probe",
    "Subject": "subject",
    "analyse": "analysis",
    "report_html": "report",
}
__all__ = [
    "CODES",
    "THRESHOLDS",
    "DataAnalysis",
    "Finding",
    "NoProbe",
    "Probe",
    "Subject",
    "analyse",
    "report_html",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

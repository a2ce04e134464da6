"""Asset check results from lists of problems in words."""

from collections.abc import Sequence

import dagster as dg


def problems_check(
    context: dg.AssetExecutionContext,
    name: str,
    problems: Sequence[str],
    asset_key: dg.AssetKey,
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    doubts: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> dg.AssetCheckResult:
    """Passed when there is no problem; otherwise each is logged, so that the console says it too.

    Doubts are for people to judge: they are logged as warnings. Notes are logged. Both are shown
    and fail nothing.
    """
    log = context.log.error if severity is dg.AssetCheckSeverity.ERROR else context.log.warning
    for problem in problems:
        log(f"{name}: {problem}")
    for doubt in doubts:
        context.log.warning(f"{name}: {doubt}")
    for note in notes:
        context.log.info(f"{name}: {note}")
    return dg.AssetCheckResult(
        check_name=name,
        asset_key=asset_key,
        passed=not problems,
        severity=severity,
        description="\n".join([*(problems or ["no problem found"]), *doubts, *notes]),
    )

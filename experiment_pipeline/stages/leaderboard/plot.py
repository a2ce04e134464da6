"""The picture of a leaderboard. In: its rows. Out: a `Drawing`; nothing is computed."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiment_pipeline.reporting import drawing, numbers
from experiment_pipeline.reporting.drawing import Drawing, Palette

_MOST_BARS = 20


def leaderboard_plot(rows: pd.DataFrame, metric: str, baseline: float, where: str) -> Drawing:
    """Return a picture of the first configurations with their intervals.

    Args:
        rows: of the leaderboard.
        metric: that ranks.
        baseline: score of predicting without features.
        where: the scores are from, in words.
    """
    top = rows[rows["rank"].notna()].head(_MOST_BARS)
    best = numbers.score(float(top["test_score"].iloc[0])) if len(top) else "undefined"
    return Drawing(
        "Scores",
        f"The {len(top)} best configurations with their intervals; the best has {metric} {best} "
        f"{where}, predicting without features {numbers.score(baseline)}.",
        lambda figure, palette: _leaderboard(figure, palette, top, metric, baseline),
        height=1 + 0.22 * len(top),
    )


def _leaderboard(
    figure: Figure, palette: Palette, top: pd.DataFrame, metric: str, baseline: float
) -> None:
    axes, places = figure.subplots(), np.arange(len(top))
    colours = [palette.series[0] if tied else palette.muted for tied in top["in_tie_group"]]
    axes.hlines(places, top["low"], top["high"], colors=colours, linewidth=2)
    axes.scatter(top["test_score"], places, color=colours, s=24, zorder=3)
    names = zip(top["rank"], top["key"], strict=True)
    axes.set_yticks(places, [f"{rank}  {drawing.plain(key)}" for rank, key in names])
    axes.invert_yaxis()
    axes.set_xlabel(f"{metric}, 95 % interval; blue: tied with the best")
    # A baseline far away would press the intervals together.
    left, right = axes.get_xlim()
    if left - (right - left) <= baseline <= right + (right - left):
        axes.axvline(baseline, color=palette.bad, linestyle="--", linewidth=1, label="baseline")
        axes.legend(loc="best")

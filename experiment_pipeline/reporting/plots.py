"""Pictures of a judgement, drawn by scikit-learn's Display classes: PNG bytes, each small.

Every picture is a `Figure` of its own, never pyplot's: threads do not meet, nothing stays
open. In: predictions, importances, a leaderboard's rows. Out: title → PNG. Names from the
data are shown as they are: no mathematics in `$`, no letter that the font lacks.
"""

import io
import textwrap
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import (
    ConfusionMatrixDisplay,
    PrecisionRecallDisplay,
    PredictionErrorDisplay,
    RocCurveDisplay,
)

from experiment_pipeline.reporting import drawing, numbers
from experiment_pipeline.reporting.drawing import Drawing, Palette
from experiment_pipeline.statistics.importance import Effort
from experiment_pipeline.statistics.scores import SetPrediction

_DPI = 80
_LONGEST_NAME = 40
_MOST_CURVE_ROWS = 100_000
_MOST_POINTS = 1_500
# Beyond, curves and cells cannot be told apart.
_MOST_CURVES = 6
_MOST_CELLS = 12
_MOST_BARS = 20
_CHARACTERS_PER_INCH = 11
_MOST_SIDE_BY_SIDE = 30
_BLUE, _GREY, _RED = "#2b6cb0", "#8a94a3", "#b3261e"


def validation_plots(
    predicted: SetPrediction, classes: tuple | None, threshold: float = 0.5
) -> dict[str, bytes]:
    """Return the pictures of a model on the validation set, title → PNG.

    Regression: predicted against actual, residuals. Classes: ROC, precision and recall,
    calibration (one curve per class, the most frequent ones), confusion at the threshold.

    Args:
        predicted: of the exported fit.
        classes: of the target; None for regression.
        threshold: binary: positive from this probability on.
    """
    thinned = predicted.rows(slice(None, None, -(-len(predicted.y) // _MOST_CURVE_ROWS)))
    if classes is None:
        return {
            "Predicted and actual": _drawn(_errors, thinned, "actual_vs_predicted"),
            "Residuals": _drawn(_errors, thinned, "residual_vs_predicted"),
        }
    names = [plain(label) for label in classes]
    pictures = {}
    if len(np.unique(thinned.y)) > 1:
        pictures["ROC curve"] = _drawn(_roc, thinned, names)
        pictures["Precision and recall"] = _drawn(_precision_recall, thinned, names)
    pictures["Calibration"] = _drawn(_calibration, thinned, names)
    pictures["Confusion"] = _drawn(_confusion, predicted, names, threshold)
    return pictures


def importance_plot(importance: pd.DataFrame, metric: str, effort: Effort) -> bytes:
    """Return a picture of what the score loses without each feature.

    Args:
        importance: as `importance.permutation_importance` gives it.
        metric: that it is in units of.
        effort: what it rests on.
    """
    top = importance.head(_MOST_BARS)
    return _drawn(_importance, top, metric, effort, height=1.2 + 0.22 * len(top))


def leaderboard_plot(rows: pd.DataFrame, metric: str, baseline: float) -> Drawing:
    """Return a picture of the first configurations with their intervals.

    Args:
        rows: of the leaderboard.
        metric: that ranks.
        baseline: score of predicting without features.
    """
    top = rows[rows["rank"].notna()].head(_MOST_BARS)
    best = numbers.score(float(top["test_score"].iloc[0])) if len(top) else "undefined"
    return Drawing(
        "Scores",
        f"The {len(top)} best configurations with their intervals; the best has {metric} {best} on "
        f"the test set, predicting without features {numbers.score(baseline)}.",
        lambda figure, palette: _leaderboard(figure, palette, top, metric, baseline),
        height=1 + 0.22 * len(top),
    )


def plain(name: object, longest: int = _LONGEST_NAME) -> str:
    """Return a name as matplotlib shows it literally, in one line that is not too long."""
    drawable, text = _drawable(), numbers.shown(name, longest)
    return "".join(c if ord(c) in drawable else "?" for c in text).replace("$", r"\$")


@lru_cache(maxsize=1)
def _drawable() -> frozenset[int]:
    font = font_manager.get_font(font_manager.findfont("DejaVu Sans"))
    return frozenset(font.get_charmap())


def _drawn(
    draw: Callable[..., None], *arguments: Any, width: float = 5.2, height: float = 4.2
) -> bytes:
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.subplots(), *arguments)
    buffer = io.BytesIO()
    # Without the version of matplotlib the same picture is the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _label_below(axes: Axes, text: str) -> None:
    """Write a long label under the whole picture: under axes beside long names it is cut off."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    width = int(figure.get_figwidth() * _CHARACTERS_PER_INCH)
    figure.supxlabel(textwrap.fill(text, width), fontsize="medium")


def _curves(predicted: SetPrediction, names: Sequence[str]) -> list[tuple[str, Any, Any]]:
    """One (name, is it this class, its probability) per class; binary: the positive one."""
    if predicted.prediction.ndim == 1:
        return [(names[1], predicted.y == 1, predicted.prediction)]
    frequent = np.argsort(-np.bincount(predicted.y.astype(np.int64)), kind="stable")[:_MOST_CURVES]
    one_class = [(names[k], predicted.y == k, predicted.prediction[:, k]) for k in frequent]
    return [curve for curve in one_class if curve[1].any()]


def _roc(axes: Axes, predicted: SetPrediction, names: Sequence[str]) -> None:
    for name, is_class, probability in _curves(predicted, names):
        RocCurveDisplay.from_predictions(is_class, probability, name=name, ax=axes)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="False positive rate", ylabel="True positive rate")


def _precision_recall(axes: Axes, predicted: SetPrediction, names: Sequence[str]) -> None:
    curves = _curves(predicted, names)
    for name, is_class, probability in curves:
        PrecisionRecallDisplay.from_predictions(
            is_class, probability, name=name, ax=axes, drop_intermediate=True
        )
    if len(curves) == 1:
        axes.axhline(float(np.mean(curves[0][1])), color=_GREY, linestyle="--", linewidth=1)
    axes.set(xlabel="Recall", ylabel="Precision")


def _calibration(axes: Axes, predicted: SetPrediction, names: Sequence[str]) -> None:
    for name, is_class, probability in _curves(predicted, names):
        CalibrationDisplay.from_predictions(
            is_class, probability, n_bins=10, strategy="quantile", name=name, ax=axes
        )
    axes.set(xlabel="Mean predicted probability", ylabel="Share that is of the class")


def _confusion(
    axes: Axes, predicted: SetPrediction, names: Sequence[str], threshold: float
) -> None:
    counts = np.bincount(predicted.y.astype(np.int64), minlength=len(names))
    labels = np.sort(np.argsort(-counts, kind="stable")[:_MOST_CELLS])
    shown = [names[label] for label in labels]
    side_by_side = len(labels) * max(map(len, shown)) <= _MOST_SIDE_BY_SIDE
    ConfusionMatrixDisplay.from_predictions(
        predicted.y,
        predicted.decided(threshold),
        labels=labels,
        display_labels=shown,
        ax=axes,
        cmap="Blues",
        colorbar=False,
        values_format="d",
        xticks_rotation="horizontal" if side_by_side else "vertical",
    )
    cut = "" if len(labels) == len(names) else f", the {len(labels)} most frequent classes"
    binary = (
        f" from a probability of {numbers.probability(threshold)}"
        if predicted.prediction.ndim == 1
        else ""
    )
    axes.set(xlabel=f"Predicted{binary}{cut}", ylabel="Actual")


def _errors(axes: Axes, predicted: SetPrediction, kind: str) -> None:
    PredictionErrorDisplay.from_predictions(
        predicted.y,
        predicted.prediction,
        kind=kind,
        subsample=_MOST_POINTS,
        random_state=0,
        ax=axes,
        scatter_kwargs={"s": 8, "alpha": 0.4, "color": _BLUE},
    )


def _importance(axes: Axes, top: pd.DataFrame, metric: str, effort: Effort) -> None:
    places = np.arange(len(top))
    axes.barh(places, top["drop"], xerr=top["deviation"], color=_BLUE, ecolor=_GREY)
    axes.set_yticks(places, [plain(name) for name in top["feature"]])
    axes.invert_yaxis()
    axes.axvline(0, color=_GREY, linewidth=1)
    times = "once" if effort.repeats == 1 else f"{effort.repeats} times"
    _label_below(axes, f"Loss of {metric} without it: {effort.rows:,} test rows, shuffled {times}")


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

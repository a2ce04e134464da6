"""Pictures: PNG, small, never pyplot's, and safe with any name."""

import io
import struct

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from matplotlib import _pylab_helpers

from experiment_pipeline.reporting import plots
from experiment_pipeline.statistics.importance import Effort
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline_tests.stages.leaderboard.board_examples import search_of, spec_of

LARGEST = 60_000
STRANGE = ("<b>no$x^$", "ye\ns `|` 漢字 \x00" + "long" * 30)


def _binary(n: int = 3_000) -> SetPrediction:
    generator = np.random.default_rng(0)
    y = (generator.random(n) < 0.3).astype(int)
    return SetPrediction(y, 1 / (1 + np.exp(1 - y - generator.normal(size=n))), np.arange(n))


def _several(classes: int, n: int = 3_000) -> SetPrediction:
    generator = np.random.default_rng(0)
    y = generator.integers(0, classes, n)
    prediction = generator.dirichlet(np.ones(classes), n) + 0.3 * np.eye(classes)[y]
    return SetPrediction(y, prediction / prediction.sum(axis=1, keepdims=True), np.arange(n))


def _check(pictures: dict[str, bytes], titles: list[str]) -> None:
    assert list(pictures) == titles
    for title, png in pictures.items():
        assert png.startswith(b"\x89PNG"), title
        assert len(png) < LARGEST, title
        width, height = struct.unpack(">II", png[16:24])
        assert 300 < width < 900, title
        assert 60 < height < 700, title
        pixels = mpl.image.imread(io.BytesIO(png))[..., :3]
        border = [pixels[:, :2], pixels[:, -2:], pixels[:2], pixels[-2:]]
        assert all((edge == 1).all() for edge in border), f"{title}: something is cut off"


def test_a_binary_model_gets_four_pictures_whatever_its_classes_are_called() -> None:
    """Dollars, tags, line breaks, missing glyphs and long names break nothing."""
    pictures = plots.validation_plots(_binary(), STRANGE, threshold=0.3)
    _check(pictures, ["ROC curve", "Precision and recall", "Calibration", "Confusion"])


@pytest.mark.parametrize("classes", [3, 30])
def test_several_classes_get_the_same_pictures(classes: int) -> None:
    """Many classes are cut to the frequent ones instead of growing the picture."""
    names = tuple(f"class {i}" for i in range(classes))
    pictures = plots.validation_plots(_several(classes), names)
    _check(pictures, ["ROC curve", "Precision and recall", "Calibration", "Confusion"])


def test_a_regression_gets_errors() -> None:
    """Predicted against actual, and residuals."""
    generator = np.random.default_rng(0)
    y = 1e6 * generator.normal(size=20_000)
    predicted = SetPrediction(y, 0.5 * y + 1e5 * generator.normal(size=20_000), np.arange(20_000))
    _check(plots.validation_plots(predicted, None), ["Predicted and actual", "Residuals"])


def test_one_class_alone_has_no_curves() -> None:
    """Curves need both classes; what can be drawn is drawn."""
    predicted = SetPrediction(np.zeros(50, dtype=int), np.full(50, 0.3), np.arange(50))
    _check(plots.validation_plots(predicted, (False, True)), ["Calibration", "Confusion"])


def test_importance_and_leaderboard_are_drawn() -> None:
    """The first twenty features and configurations, with their uncertainty."""
    importance = pd.DataFrame(
        {
            "feature": [f"$f_{i}_of_the_scheduled_departure" for i in range(40)],
            "drop": 0.1,
            "deviation": 0.01,
        }
    )
    board = search_of(spec_of(12), [1.0] * 12).rank()
    drawn = {
        "Importance": plots.importance_plot(importance, "balanced_accuracy", Effort(20_000, 5)),
    }
    _check(drawn, ["Importance"])
    assert "12 best configurations" in plots.leaderboard_plot(board.rows, "roc_auc", 0.5).alt


def test_pictures_are_the_same_bytes_each_time_and_leave_nothing_open() -> None:
    """No global figure, no changed setting, no version inside the file."""
    before = dict(mpl.rcParams)
    first, second = (plots.validation_plots(_binary(500), (0, 1)) for _ in range(2))
    assert first == second
    assert not _pylab_helpers.Gcf.figs
    assert dict(mpl.rcParams) == before


def test_plain_names_are_one_line_without_mathematics() -> None:
    """What matplotlib would interpret or cannot draw is replaced."""
    assert plots.plain("a $x$\nb") == r"a \$x\$ b"
    assert plots.plain("漢") == "?"
    assert len(plots.plain("x" * 99)) == 40
    assert plots.plain("") == "''"

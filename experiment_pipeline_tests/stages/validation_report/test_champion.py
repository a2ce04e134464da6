"""The champion is read whole and checked; a challenger is stopped when surely worse,
never for what cannot be told.
"""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from upath import UPath

from experiment_pipeline.errors import InvalidModel
from experiment_pipeline.intake.validation import Origin
from experiment_pipeline.prediction import champions
from experiment_pipeline.prediction.champions import (
    PublishedChampion,
    as_champion,
    find_champions,
    held_against,
)
from experiment_pipeline.prediction.files import Model
from experiment_pipeline.prediction.rows import Reading, Signature
from experiment_pipeline.reporting.document import render
from experiment_pipeline.spec import ExperimentSpec
from experiment_pipeline.spec.search import Export
from experiment_pipeline.stages.validation_report import gates
from experiment_pipeline.stages.validation_report.gates import (
    ChampionComparison,
    compare_with_champion,
)
from experiment_pipeline.stages.validation_report.page import build_document, outcome
from experiment_pipeline.stages.validation_report.referee import Case, challengers
from experiment_pipeline.stages.validation_report.shortfall import Evidence, reasons
from experiment_pipeline.statistics.scores import SetPrediction
from experiment_pipeline.storage.files import write_bytes
from experiment_pipeline.storage.registry import Approval, ModelPackage, Registry
from experiment_pipeline.table.clusters import FittedRows
from experiment_pipeline.table.schema import load_schema
from experiment_pipeline.table.table import on_map
from experiment_pipeline_tests import exported
from experiment_pipeline_tests.stages.leaderboard.board_examples import (
    search_of,
    spec_of,
)
from experiment_pipeline_tests.stages.validation_report.report_examples import (
    AT_HALF,
    judged,
    report_of,
    seen_through,
)

FEATURES = ["age", "income", "noise"]
Read = tuple[Model, FittedRows]


def rows_of(n: int, seed: int) -> pd.DataFrame:
    """Rows as delivered, with the target."""
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(generator.normal(size=(n, 3)), columns=FEATURES)
    chance = 1 / (1 + np.exp(-(frame["age"] + frame["income"])))
    return frame.assign(
        late=generator.random(n) < chance, id=[f"{seed}-{i}" for i in range(n)]
    )


def spec(**changes: Any) -> ExperimentSpec:
    """An experiment with ids."""
    ids = {"by": "random", "id_columns": ["id"]}
    return spec_of(**{"split": ids, "target": "late", **changes})


def model(rows: pd.DataFrame, features: list[str] = FEATURES) -> Any:
    """A model of some features."""
    return LogisticRegression().fit(rows[features], rows["late"])


def champion(
    rows: pd.DataFrame, features: list[str] = FEATURES, **changes: Any
) -> Read:
    """A model as it was exported, and the rows it was fitted on."""
    types = {name: str(rows[name].dtype) for name in features}
    fields = {"classes": (False, True), "positive_class": True, "threshold": 0.5}
    signature = Signature("binary", "late", types, ("id",), **(fields | changes))
    reading = Reading.of(
        spec(), Origin("", rows.dtypes.astype("str").to_dict(), "", ())
    )
    rules = load_schema("columns: {late: {}}")
    exported_model = Model(
        "v0001", model(rows, features), reading, rules, signature, rows
    )
    return exported_model, FittedRows.of(rows, spec(), features)


def version(read: Callable[[], Read], fingerprint: str = "c" * 64) -> Any:
    """A version that is read when asked for."""

    def is_made_of(asked: str, export: Export) -> bool:
        return asked == fingerprint and export == Export()

    named = {"version": "v0001", "role": "champion", "is_made_of": is_made_of}
    return SimpleNamespace(**named, read=lambda _=(): as_champion(*read()))


def compared(
    current: Read,
    validation: pd.DataFrame,
    challenger: Any,
    features: list[str] = FEATURES,
    experiment: ExperimentSpec | None = None,
    delivered: pd.DataFrame | None = None,
) -> ChampionComparison:
    """Hold a fitted model against a champion."""
    prediction = challenger.predict_proba(validation[features])[:, 1]
    on_validation = SetPrediction(
        validation["late"].to_numpy().astype(int),
        prediction,
        np.arange(len(validation)),
    )
    model = judged(
        experiment or spec(),
        on_validation,
        AT_HALF,
        delivered=validation if delivered is None else delivered,
    )
    return compare_with_champion(model, version(lambda: current))


VALIDATION, GOOD, BAD = rows_of(1_000, 9), rows_of(2_000, 1), ["age", "noise"]
BOARD = search_of(spec_of(), [1] * 4).rank()


def worse_one(experiment: ExperimentSpec | None = None) -> ChampionComparison:
    """A model that lacks a feature of the champion."""
    return compared(champion(GOOD), VALIDATION, model(GOOD, BAD), BAD, experiment)


def better_one(experiment: ExperimentSpec | None = None) -> ChampionComparison:
    """A model with a feature that the champion lacks."""
    return compared(champion(GOOD, BAD), VALIDATION, model(GOOD), FEATURES, experiment)


def equal_one(experiment: ExperimentSpec | None = None) -> ChampionComparison:
    """A model of as many other rows."""
    return compared(
        champion(GOOD), VALIDATION, model(rows_of(2_000, 2)), FEATURES, experiment
    )


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss", "f1"])
def test_a_worse_model_is_stopped_and_a_better_one_is_not(metric: str) -> None:
    """Whichever way the metric runs, unless it is tolerated; scores and difference are
    recorded.
    """
    worse, better = worse_one(spec(metric=metric)), better_one(spec(metric=metric))
    assert not worse.gate.passed
    assert (worse.gate.outcome, worse.scores.rows) == ("FAIL", 1_000)
    change = worse.scores.challenger - worse.scores.champion
    assert worse.scores.difference.estimate == pytest.approx(change)
    tolerant = spec(metric=metric, not_worse_than_champion={"tolerance": 0.5})
    assert worse_one(tolerant).gate.passed
    assert better.gate.passed
    assert better.scores.difference.estimate == pytest.approx(-change)


@pytest.mark.slow
def test_a_model_as_good_is_rarely_stopped_and_a_clearly_worse_one_mostly() -> None:
    """By simulation, the truth known from 10,000 rows: few false stops, most
    true ones.
    """
    false, true = [], []
    world = rows_of(10_000, 0)
    for seed in range(40):
        current, validation = (
            champion(rows_of(200, 2_000 + seed)),
            rows_of(1_000, 1_000 + seed),
        )
        for challenger in (model(rows_of(size, 3_000 + seed)) for size in (200, 20)):
            stopped = not compared(current, validation, challenger).gate.passed
            lost = -compared(current, world, challenger).scores.difference.estimate
            if lost <= 0:
                false.append(stopped)
            elif lost > 0.02:
                true.append(stopped)
    assert min(len(false), len(true)) >= 15
    assert np.mean(false) <= 0.1
    assert np.mean(true) >= 0.7


@pytest.mark.parametrize("metric", ["roc_auc", "log_loss"])
def test_a_champion_worse_than_chance_stops_the_run(metric: str) -> None:
    """Yes and no are swapped in the new rows: what has learnt that is better, and not
    accepted.
    """
    swapped = VALIDATION.assign(late=~VALIDATION["late"])
    challenger = model(rows_of(500, 2).assign(late=lambda rows: ~rows["late"]))
    found = compared(
        champion(rows_of(500, 1)), swapped, challenger, FEATURES, spec(metric=metric)
    )
    assert found.better
    assert (found.gate.outcome, found.scores.reversed.high < 0.3) == ("FAIL", True)
    (reason,) = reasons(spec_of(), BOARD, report_of(champions=(found,)), Evidence())[:1]
    assert (reason.code, "retire board v0001 --why" in reason.advice) == (
        "target_reversed",
        True,
    )


def test_numbers_and_classes_that_change_their_meaning_are_seen_and_drift_is_not() -> (
    None
):
    """The sign of a number, or two of four classes swapped; not a level that has
    doubled.
    """
    generator = np.random.default_rng(0)
    signal = generator.normal(size=400)
    number = SetPrediction(signal + generator.normal(size=400), signal, np.arange(400))
    codes = generator.integers(0, 4, 400)
    shares = np.eye(4)[codes] + generator.random((400, 4))
    classes = SetPrediction(
        codes, shares / shares.sum(axis=1, keepdims=True), np.arange(400)
    )

    def reversed_by(metric: str, seen: SetPrediction, y: np.ndarray) -> bool:
        other = replace(seen, y=y)
        return (
            gates.compare(metric, other, other, (0.5, 0.5), 0.95).reversed is not None
        )

    assert reversed_by("rmse", number, -number.y)
    assert reversed_by("log_loss", classes, np.array([1, 0, 2, 3])[codes])
    assert not reversed_by("rmse", number, 2 * number.y + 5)
    assert not reversed_by("log_loss", classes, np.where(codes == 3, 2, codes))
    # The forecast of a high quantile may be far from the mean: its ranks are compared.
    high = replace(number, prediction=number.prediction + 5)
    other = replace(high, prediction=high.prediction + generator.normal(size=400))
    assert not gates.compare("pinball_0.9", high, other, (0.5, 0.5), 0.95).far_above


def test_only_a_significantly_better_model_replaces_where_the_yaml_asks_for_it() -> (
    None
):
    """`replace: if_better`: an equal one, and one that cannot be compared, leave the
    champion.
    """
    strict = spec(not_worse_than_champion={"replace": "if_better"})
    equal = equal_one(strict)
    unknown = compared(champion(VALIDATION), VALIDATION, model(GOOD), FEATURES, strict)
    outcomes = [one.gate.outcome for one in (better_one(strict), equal, unknown)]
    assert outcomes == ["PASS", "FAIL", "FAIL"]
    assert "better_than_champion v0001" in equal.gate.rule
    said = reasons(spec_of(), BOARD, report_of(champions=(equal,)), Evidence())[0]
    assert "not significantly better than the champion v0001" in said.evidence
    assert "drop replace: if_better" in said.advice


def test_only_a_significantly_better_version_is_the_best_from_then_on(
    place: UPath,
) -> None:
    """One that passes as good leaves the best; one that cannot be compared any more is
    given up.
    """
    better, equal = better_one(), equal_one()
    best = replace(equal, version="v0000", role="best")
    gone = replace(best, scores=None, why_not_compared="a column is gone")
    cases = {(): None, (better,): None, (equal,): "v0001", (equal, best): "v0000"}
    cases |= {(better, best): "v0000", (equal, gone): "v0001", (better, gone): None}
    assert {case: gates.best_after(case) for case in cases} == cases
    registry = Registry(place, "flights")
    for number in range(2):
        package = exported.package(
            fingerprint=f"{number}" * 64, champions=(equal,) * number
        )
        registry.publish(package, lambda _: None)
    found = find_champions(registry)
    assert [(one.version, one.role) for one in found] == [
        ("v0002", "champion"),
        ("v0001", "best"),
    ]
    assert held_against(found, "e" * 64, Export()) == ["v0002", "v0001"]
    assert held_against(found, "1" * 64, Export()) == ["v0001"]
    registry.approve(
        Approval("v0001", "ada", "2026-02-03T04:05:06+00:00", "a leak"), "retired"
    )
    assert [one.version for one in find_champions(registry)] == ["v0002"]


def test_a_champion_far_above_an_honest_model_may_have_leaked() -> None:
    """It is said, with how to retire it; not of one that is better by a feature's
    worth.
    """

    def leaked(table: pd.DataFrame, strength: float) -> pd.DataFrame:
        luck = np.random.default_rng(len(table)).normal(size=len(table))
        return table.assign(leak=strength * table["late"] + luck)

    said = {}
    for strength, noise in itertools.product((0.5, 4.0), (1.0, 1e6)):
        old = champion(leaked(GOOD, strength), [*FEATURES, "leak"])
        worse = compared(old, leaked(VALIDATION, strength), model(GOOD))
        assert not worse.gate.passed
        report = report_of(champions=(worse,), exported=seen_through(noise, seed=1))
        found = reasons(spec_of(), BOARD, report, Evidence())
        advice = [one.advice for one in found if one.code == "champion_may_have_leaked"]
        refused = (
            outcome(report, "", {"validation_report": "r.html"}, "linear")
            .checks[0]
            .refusal
        )
        said[strength, noise] = [
            one.partition("retire board")[2] for one in (*advice, refused.fix)
        ]
    assert said[0.5, 1.0] == said[0.5, 1e6] == [""]
    assert all(" v0001 --why TEXT" in one for of in (1.0, 1e6) for one in said[4.0, of])
    assert [len(said[4.0, of]) for of in (1.0, 1e6)] == [2, 2]


def test_rows_that_the_champion_has_seen_are_left_out() -> None:
    """The comparison is on the others alone, and says how many were left out."""
    mixed = pd.concat([GOOD[:300], VALIDATION[:200]], ignore_index=True)
    found = compared(champion(GOOD), mixed, model(GOOD))
    assert (found.left_out, found.scores.rows) == (300, 200)
    assert (
        found.scores == compared(champion(GOOD), VALIDATION[:200], model(GOOD)).scores
    )


def test_the_champion_is_judged_on_rows_as_its_own_schema_makes_them() -> None:
    """A gap has the default of its schema, a column that is not delivered is added, and
    texts are read.
    """
    rules = "{age: {default: 0.5}, income: {dtype: float64, coerce: true}, noise: {default: 0.25}}"
    known, fitted = champion(GOOD)
    del known.reading.raw_types["noise"]  # it was trained on a table without it
    schema = load_schema(f"columns: {rules}\nadd_missing_columns: true")
    old = replace(known, schema=schema), fitted
    gone = VALIDATION.index % 3 == 0
    whole = VALIDATION.assign(age=VALIDATION["age"].mask(gone, 0.5), noise=0.25)
    delivered = whole.assign(
        age=whole["age"].mask(gone), income=whole["income"].astype("str")
    )
    found = compared(old, whole, model(GOOD), delivered=delivered.drop(columns="noise"))
    assert found.scores.difference.estimate == 0


def unreadable() -> Read:
    """A version that was changed."""
    raise InvalidModel("v0001/model.skops", "sha256 is another", "Export it again.")


UNTOLD = {
    "all rows seen": (
        lambda rows: champion(VALIDATION),
        "0 of the validation set's clusters",
    ),
    "no record": (
        lambda rows: (champion(rows)[0], FittedRows(("gone",), np.empty(0, np.uint64))),
        "may hold rows that the champion was fitted on",
    ),
    "another target": (
        lambda rows: champion(rows, classes=("a", "b")),
        "other classes",
    ),
    "other side": (lambda rows: champion(rows, positive_class=False), "other classes"),
    "a column is gone": (
        lambda rows: champion(rows.assign(gone=1.0), [*FEATURES, "gone"]),
        "the table lacks 1 of the 4 columns",
    ),
    "damaged": (lambda rows: unreadable(), "sha256 is another"),
}


@pytest.mark.parametrize("case", UNTOLD)
def test_what_cannot_be_told_is_said_and_blocks_nothing(case: str) -> None:
    """Each obstacle is named; the outcome is neither PASS nor FAIL."""
    make, why = UNTOLD[case]
    truth = VALIDATION["late"].to_numpy().astype(int)
    challenger = SetPrediction(truth, np.full(1_000, 0.5), np.arange(1_000))
    model = judged(spec(), challenger, delivered=VALIDATION)
    gate = compare_with_champion(model, version(lambda: make(GOOD))).gate
    assert (gate.outcome, gate.passed) == ("INCONCLUSIVE", True)
    assert why in gate.rule


def test_the_same_model_passes_without_a_comparison() -> None:
    """A rerun that finds the champion again is not held against itself; the mean of
    more fits is.
    """
    nothing = SetPrediction(np.zeros(1), np.zeros(1), np.zeros(1))
    same = version(unreadable, judged().result.fingerprint)
    found = compare_with_champion(judged(spec(), nothing), same)
    assert found.gate.outcome == "PASS"
    assert "it is this model" in found.gate.rule
    averaged = judged(spec(export={"fits": 5}), nothing)
    assert not compare_with_champion(averaged, same).same_model


def test_a_report_lists_the_gate_its_numbers_and_the_reason() -> None:
    """The champion's gate stands among the others, decides with them, and is
    explained.
    """
    worse = worse_one()
    report = report_of(champions=(worse,))
    assert not report.accepted
    assert report.failed_gates == (worse.gate,)
    text = render(build_document(report))
    assert (
        "not\\_worse\\_than\\_champion v0001" in text
        or "not_worse_than_champion v0001" in text
    )
    case = Case(judged(), report, "not computed", predict=len, most_features=0)
    *_, row = challengers(case)
    assert row.what.startswith("champion v0001 (0 rows that it was fitted or chosen on")
    assert row.difference == worse.scores.gain.estimate
    found = reasons(spec_of(), BOARD, report, Evidence())
    assert "worse_than_champion" in [reason.code for reason in found]
    assert not {"label_ceiling", "underfit"} & {reason.code for reason in found}
    assert report_of().accepted


def published(root: UPath, package: ModelPackage) -> PublishedChampion:
    """Publish a package and return it as the champion."""
    registry = Registry(root, "flights")
    registry.publish(package, lambda _: None)
    return find_champions(registry)[0]


def test_a_champion_comes_with_model_facts_and_rows(place: UPath) -> None:
    """Version, fingerprint, metrics, and a pipeline that predicts."""
    assert find_champions(Registry(place, "flights")) == []
    champion = published(place, exported.package())
    assert (champion.version, champion.fingerprint) == ("v0001", "f" * 64)
    assert champion.facts["looks"] == 2
    assert held_against([champion], "e" * 64, Export()) == ["v0001"]
    assert held_against([champion], "f" * 64, Export()) == []
    assert held_against([champion], "f" * 64, Export(fits=5)) == ["v0001"]
    model = champion.read()
    rows = exported.delivered(5)
    assert model.predict(rows, model.classes).shape == (5,)
    assert model.fitted.hashes.tolist() == exported.FITTED.hashes.tolist()
    assert model.positive_class == "yes"


def test_code_that_the_yaml_does_not_name_is_not_run(place: UPath) -> None:
    """A preparation's function is trusted because the experiment names it, not the
    version.
    """
    preparation = {**exported.make_spec().preparation.model_dump(exclude_unset=True)}
    preparation["function"] = "os:getcwd"
    champion = published(
        place, exported.package(spec=exported.make_spec(preparation=preparation))
    )
    with pytest.raises(
        InvalidModel, match="runs code that is not part of experiment-pipeline"
    ):
        champion.read()
    assert champion.read(["os:getcwd"]).target == "late"


def test_a_champion_that_predicts_otherwise_here_is_no_yardstick(place: UPath) -> None:
    """Other libraries may change what an old model says, or break it."""
    package = exported.package()
    other = replace(
        package, files={**package.files, "expected_predictions.json": b"{}"}
    )
    with pytest.raises(InvalidModel, match="its files are damaged"):
        published(place, other).read()
    said = json.loads(package.files["expected_predictions.json"])
    said["predict_proba"][0] = [0.123, 0.877]
    wrong = json.dumps(said).encode()
    changed = exported.package(fingerprint="e" * 64)
    changed = replace(
        changed, files={**changed.files, "expected_predictions.json": wrong}
    )
    with pytest.raises(InvalidModel, match="predictions here differ"):
        published(place, changed).read()


def test_a_damaged_champion_is_refused_and_is_no_known_model(place: UPath) -> None:
    """A changed file is named; a damaged manifest is nobody's fingerprint."""
    champion = published(place, exported.package())
    write_bytes(champion.exported.folder / "model.skops", b"other")
    with pytest.raises(InvalidModel, match=r"model\.skops"):
        champion.read()
    write_bytes(champion.exported.folder / "manifest.json", b"{")
    again = find_champions(Registry(place, "flights"))[0]
    assert again.fingerprint == ""
    with pytest.raises(InvalidModel, match="manifest"):
        again.read()


@pytest.mark.parametrize("size", [37, 1_000])
def test_it_predicts_in_parts_of_any_size(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison is that of all rows at once, also of a table that holds no cells
    itself.
    """
    current, challenger = champion(GOOD), model(rows_of(2_000, 2))
    at_once = compared(current, VALIDATION, challenger)
    monkeypatch.setattr(champions, "SLICE_ROWS", size)
    assert compared(current, VALIDATION, challenger) == at_once
    lazy = on_map(VALIDATION)
    assert compared(current, VALIDATION, challenger, delivered=lazy) == at_once

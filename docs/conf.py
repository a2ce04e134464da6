"""The documentation site: the pages of this folder, and references made from the code
at each build.
"""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(Path(__file__).parent))

from links import PLACEHOLDER  # noqa: E402

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]

project = "experiment_pipeline"
release = PROJECT["version"]
project_copyright = "the experiment_pipeline authors, Apache-2.0"

extensions = [
    "links",
    "made_from_code",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = "experiment_pipeline"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["llms.txt"]
# Without an owner the repository has no address: nothing links to it.
html_theme_options = (
    {}
    if f"/{PLACEHOLDER}/" in REPOSITORY
    else {"source_repository": REPOSITORY, "source_branch": "main"}
)

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# Notebooks are executed by a test; the pages show the outputs that they were saved
# with.
nb_execution_mode = "off"
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]

autodoc_typehints = "description"
autodoc_member_order = "bysource"
copybutton_exclude = ".linenos, .gp, .go"

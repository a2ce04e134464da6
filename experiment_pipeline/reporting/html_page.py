"""A `Document` as one HTML page that needs nothing else: styles and pictures are inside.

In: a document, pictures as PNG bytes. Out: HTML, in which jinja2 escapes every text.
"""

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from experiment_pipeline.reporting.markdown import Document

if TYPE_CHECKING:
    import jinja2

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ document.title }}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
         padding: 0 1rem; color: #1c2430; background: #fff; }
  h1 { font-size: 1.5rem; } h2 { margin-top: 2rem; font-size: 1.2rem; }
  .verdict { padding: .8rem 1rem; border-left: .5rem solid #5b6675; background: #f5f7fa;
             font-size: 1.1rem; }
  .passed { border-color: #1a7f4b; background: #e9f6ef; }
  .failed { border-color: #b3261e; background: #fbeae9; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  td, th { padding: .2rem 1rem .2rem 0; text-align: left; vertical-align: top;
           border-bottom: 1px solid #e6eaf0; }
  td { white-space: nowrap; } td.long { white-space: normal; min-width: 16rem; }
  pre { font: 13px/1.45 ui-monospace, monospace; background: #f5f7fa; padding: .6rem;
        overflow-x: auto; }
  .pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
  figure { margin: 0; } figcaption { font-weight: 600; }
</style>
</head>
<body>
<h1>{{ document.title }}</h1>
{% for section in document.sections %}
{% set first = loop.first %}
<h2>{{ section.title }}</h2>
{% for block in section.blocks %}
{% if block.header is defined %}
<div class="wide"><table>
<thead><tr>{% for cell in block.header %}<th>{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in block.rows %}
<tr>{% for cell in row %}<td{{ ' class="long"'|safe if cell|length > 40 }}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
{% elif block.items is defined %}
<ul>{% for item in block.items %}<li>{{ item }}</li>{% endfor %}</ul>
{% elif block.language is defined %}
<pre>{{ block.text }}</pre>
{% elif first and loop.first %}
<p class="verdict {{ {true: "passed", false: "failed"}.get(passed, "") }}">{{ block.text }}</p>
{% else %}
<p>{{ block.text }}</p>
{% endif %}
{% endfor %}
{% if loop.first and pictures %}
<h2>Pictures</h2>
<div class="pictures">
{% for title, data in pictures.items() %}
<figure><figcaption>{{ title }}</figcaption>
<img alt="{{ title }}" src="data:image/png;base64,{{ data }}"></figure>
{% endfor %}
</div>
{% endif %}
{% endfor %}
</body>
</html>
"""


def render_html(
    document: Document,
    pictures: Mapping[str, bytes] | None = None,
    *,
    passed: bool | None = None,
) -> str:
    """Return the page: title, the first section, the pictures, the other sections.

    Args:
        document: what to show; its first paragraph is the outcome in a sentence.
        pictures: title → PNG, in this order.
        passed: colours the first paragraph; None: there is nothing to pass.
    """
    encoded = {title: base64.b64encode(png).decode() for title, png in (pictures or {}).items()}
    return _template().render(document=document, pictures=encoded, passed=passed)


@lru_cache(maxsize=1)
def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(PAGE)

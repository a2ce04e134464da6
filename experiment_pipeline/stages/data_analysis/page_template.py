"""The template of the HTML report. jinja2 escapes every value; only skrub's part is `safe`."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Data analysis of {{ spec.name }}</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
         padding: 0 1rem; color: #1c2430; background: #fff; }
  h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { margin-top: 2rem; font-size: 1.2rem; }
  .verdict { padding: .8rem 1rem; border-left: .5rem solid; font-size: 1.15rem; }
  .go { border-color: #1a7f4b; background: #e9f6ef; }
  .conditions { border-color: #b7791f; background: #fdf5e3; }
  .no { border-color: #b3261e; background: #fbeae9; }
  .finding { border: 1px solid #d5dae1; border-radius: 4px; padding: .6rem 1rem; margin: .8rem 0; }
  .finding h3 { margin: 0; font-size: 1rem; } .finding p { margin: .4rem 0; }
  .tag { font-size: .8rem; padding: 0 .5rem; border-radius: 1rem; background: #e6eaf0; }
  .blocks { background: #f3c6c3; } .condition { background: #f6dfae; }
  code, pre { font: 13px/1.45 ui-monospace, monospace; }
  pre { background: #f5f7fa; padding: .6rem; overflow-x: auto; }
  table { border-collapse: collapse; } td, th { padding: .2rem .8rem .2rem 0; text-align: left;
          vertical-align: top; overflow-wrap: anywhere; }
  .quiet { color: #5b6675; }
</style>
</head>
<body>
<h1>Data analysis of {{ spec.name }}</h1>
<p class="quiet">Target <code>{{ spec.target }}</code>, task {{ spec.task }}, metric
{{ spec.metric }}, {{ "{:,}".format(analysis.rows) }} rows.</p>

{% set colour = {"go": "go", "no go": "no"}.get(analysis.verdict, "conditions") %}
<div class="verdict {{ colour }}"><strong>Verdict: {{ analysis.verdict }}</strong>
{% if analysis.reasons %}
<ul>{% for reason in analysis.reasons %}<li>{{ reason }}</li>{% endfor %}</ul>
{% endif %}
</div>
<p>{{ probe }}</p>

<h2>Findings</h2>
{% for finding in analysis.found %}
<div class="finding">
  <h3>{{ finding.title }} <span class="tag {{ finding.severity }}">{{ finding|weight }}</span></h3>
  <p class="quiet"><code>{{ finding.code }}</code> {{ finding|measured }}</p>
  <p>{{ finding.evidence }}</p>
  <p>{{ finding.advice }}</p>
  {% if finding.accepted is not none %}<p>Accepted: {{ finding.accepted }}</p>{% endif %}
  {% if finding.yaml %}<pre>{{ finding.yaml }}</pre>{% endif %}
</div>
{% else %}
<p>None.</p>
{% endfor %}

<details><summary>{{ others|length }} rules that found nothing or did not apply</summary>
<table>
{% for finding in others %}
<tr><td><code>{{ finding.code }}</code></td><td>{{ finding.outcome|replace("_", " ") }}</td>
<td>{{ finding.evidence }}</td></tr>
{% endfor %}
</table></details>

{% if associations %}
<h2>What predicts the target alone</h2>
<p class="quiet">Skill of a model on one feature, as {{ scale }}, on rows it was not fitted on;
the strongest {{ associations|length }} of {{ "{:,}".format(analysis.associations|length) }}.</p>
<table>
{% for association in associations %}
<tr><td><code>{{ association.column }}</code></td><td>{{ association.skill|percent }}</td></tr>
{% endfor %}
</table>
{% endif %}

<details><summary>How the verdict is made</summary>
<ol>{% for rule in rules %}<li>{{ rule }}</li>{% endfor %}</ol></details>

<h2>The table</h2>
<p class="quiet">{{ table_note }}</p>
{{ table|safe }}
</body>
</html>
"""

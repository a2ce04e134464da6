#!/usr/bin/env bash
# Run one experiment in CI: fails unless its run is accepted, and leaves report and record in a folder.
#
#     docs/ci/experiment.sh EXPERIMENT [FOLDER]
#
# FOLDER (default: reports) gets run.json, everything of the run for programs; decision_record.md and
# the pages. In GitHub's CI the record is the job's summary, too.
set -euo pipefail
experiment=$1
folder=${2:-reports}
module=${EXPERIMENT_PIPELINE_MODULE:-experiment_pipeline.definitions}

# That `dg launch` supersedes the command that it runs.
export PYTHONWARNINGS=${PYTHONWARNINGS:-ignore:Function::click.core}
mkdir -p "$folder"
started=$(date -u +%Y-%m-%dT%H:%M:%S)
failed=0
dagster job execute -m "$module" -j "$experiment" || failed=$?
# Not the last run there is: one that failed before it was recorded would pass as an old one.
experiment-pipeline show --experiment "$experiment" --since "$started" --json \
  --copy-reports "$folder" --fail-unless accepted > "$folder/run.json" || failed=$?

if [[ -n ${GITHUB_STEP_SUMMARY:-} && -f $folder/decision_record.md ]]; then
  cat "$folder/decision_record.md" >> "$GITHUB_STEP_SUMMARY"
fi
exit "$failed"

#!/usr/bin/env bash
# Bring this project to a few Debian machines by ssh, and start Dask and Dagster there as services.
#
#     docs/cluster/ssh/roll_out.sh CERTIFICATES SETTINGS HEAD WORKER...
#
# CERTIFICATES: a folder that make_certificates.sh has made. SETTINGS: settings.env.example, filled in.
# HEAD has the scheduler, Dagster's page and its daemon; each WORKER has one worker with a thread per
# core. All are hosts that you reach by ssh and where you may use sudo; the head may be a worker, too.
# Services restart: let no run be under way.
set -euo pipefail
certificates=$1 settings=$2 head=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../../.." && pwd)

# The same files and the same lock file everywhere: before the first fit, each worker's versions and
# the digest of this package there are compared with those of the run.
bring_project() {
  local host=$1
  ssh "$host" bash -euo pipefail << 'REMOTE'
sudo apt-get install -y --no-install-recommends git libgomp1 make python3-venv rsync > /dev/null
id experiments > /dev/null 2>&1 || sudo useradd --system --create-home experiments
sudo mkdir -p /opt/experiments /etc/dask-tls
sudo chown "$(id -un)" /opt/experiments
REMOTE
  # No key and no setting: what `bring_secret` brings, its user alone may read; ca.key stays here.
  rsync --archive --delete --exclude .venv --exclude artifacts --exclude .dagster_home \
    --exclude .bench --exclude '*.pem' --exclude '*.key' --exclude '*.env' \
    "$project/" "$host:/opt/experiments/"
  ssh "$host" bash -euo pipefail << 'REMOTE'
cd /opt/experiments
make --silent .venv/uv
.venv/bin/uv sync --quiet --frozen --inexact --no-dev --extra dask --extra postgres
REMOTE
}

# A file that the services' user alone may read; it travels by ssh and rests nowhere between.
bring_secret() {
  local host=$1 from=$2 to=$3
  # shellcheck disable=SC2029 # The path is of this script.
  ssh "$host" "sudo install -m 600 -o experiments /dev/stdin '$to'" < "$from"
}

bring_certificate() {
  local host=$1 role=$2
  bring_secret "$host" "$certificates/ca.pem" /etc/dask-tls/ca.pem
  bring_secret "$host" "$certificates/$role.pem" "/etc/dask-tls/$role.pem"
  bring_secret "$host" "$certificates/$role.key" "/etc/dask-tls/$role.key"
}

start() {
  local host=$1 service=$2
  # shellcheck disable=SC2029 # The name is of this script.
  ssh "$host" "sudo install -m 644 /opt/experiments/docs/cluster/ssh/$service.service /etc/systemd/system/ \
    && sudo systemctl daemon-reload && sudo systemctl enable --quiet $service \
    && sudo systemctl restart $service"
}

bring_project "$head"
bring_certificate "$head" scheduler
bring_certificate "$head" client
bring_secret "$head" "$settings" /etc/experiment_pipeline.env
ssh "$head" "sudo install -d -o experiments /var/lib/dagster && sudo install -m 644 \
  /opt/experiments/docs/cluster/ssh/dagster.yaml /var/lib/dagster/dagster.yaml"
for service in dask-scheduler dagster-webserver dagster-daemon; do
  start "$head" "$service"
done
for worker in "$@"; do
  if [[ $worker != "$head" ]]; then
    bring_project "$worker"
    # Workers need no storage and no database.
    bring_secret "$worker" <(grep ^EXPERIMENT_PIPELINE_DASK= "$settings") \
      /etc/experiment_pipeline.env
  fi
  bring_certificate "$worker" worker
  start "$worker" dask-worker
done

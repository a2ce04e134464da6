CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL, 
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE files (
    digest TEXT NOT NULL, 
    content TEXT NOT NULL, 
    PRIMARY KEY (digest)
);

CREATE TABLE runs (
    experiment TEXT NOT NULL, 
    run_id TEXT NOT NULL, 
    status TEXT, 
    triggered_by TEXT, 
    trigger_name TEXT, 
    started_at DATETIME, 
    ended_at DATETIME, 
    seen_at DATETIME, 
    process JSON, 
    stage TEXT, 
    task TEXT, 
    target TEXT, 
    metric TEXT, 
    greater_is_better BOOLEAN, 
    yaml_digest TEXT, 
    schema_digest TEXT, 
    settings JSON, 
    code_commit TEXT, 
    code_dirty BOOLEAN, 
    package_version TEXT, 
    python_version TEXT, 
    libraries JSON, 
    data_url TEXT, 
    data_digest TEXT, 
    data_modified_at DATETIME, 
    data_rows BIGINT, 
    data_columns BIGINT, 
    rejected_rows BIGINT, 
    rejection_reasons JSON, 
    verdict TEXT, 
    declared BIGINT, 
    trained BIGINT, 
    stopped_early BIGINT, 
    failed BIGINT, 
    not_started BIGINT, 
    reused BIGINT, 
    chosen TEXT, 
    choice_reason TEXT, 
    evaluation TEXT, 
    tie_group BIGINT, 
    test_score DOUBLE, 
    test_low DOUBLE, 
    test_high DOUBLE, 
    test_baseline DOUBLE, 
    validation_score DOUBLE, 
    validation_low DOUBLE, 
    validation_high DOUBLE, 
    validation_baseline DOUBLE, 
    looks BIGINT, 
    overlap DOUBLE, 
    decision TEXT, 
    version TEXT, 
    version_is_new BOOLEAN, 
    error_type TEXT, 
    error TEXT, 
    fix TEXT, 
    cpu_seconds DOUBLE, 
    wall_seconds DOUBLE, 
    peak_memory_bytes BIGINT, 
    price_per_hour DOUBLE, 
    cost DOUBLE, 
    mlflow_run_id TEXT, 
    PRIMARY KEY (experiment, run_id)
);

CREATE TABLE versions (
    experiment TEXT NOT NULL, 
    version TEXT NOT NULL, 
    run_id TEXT, 
    created_at DATETIME NOT NULL, 
    place TEXT NOT NULL, 
    configuration TEXT NOT NULL, 
    headline TEXT NOT NULL, 
    fingerprint TEXT NOT NULL, 
    approval_required BOOLEAN, 
    approved_by TEXT, 
    approved_at DATETIME, 
    approval_comment TEXT, 
    PRIMARY KEY (experiment, version)
);

CREATE TABLE configurations (
    experiment TEXT NOT NULL, 
    run_id TEXT NOT NULL, 
    "key" TEXT NOT NULL, 
    algorithm TEXT NOT NULL, 
    hyperparameters JSON NOT NULL, 
    status TEXT NOT NULL, 
    rank BIGINT, 
    is_chosen BOOLEAN, 
    rung DOUBLE, 
    reused BOOLEAN, 
    test_score DOUBLE, 
    test_low DOUBLE, 
    test_high DOUBLE, 
    difference_to_best DOUBLE, 
    difference_low DOUBLE, 
    difference_high DOUBLE, 
    in_tie_group BOOLEAN, 
    train_score DOUBLE, 
    seed_mean DOUBLE, 
    seed_deviation DOUBLE, 
    calibration TEXT, 
    fit_cpu_seconds DOUBLE, 
    fit_wall_seconds DOUBLE, 
    predict_microseconds_per_row DOUBLE, 
    model_bytes BIGINT, 
    rounds BIGINT, 
    worker TEXT, 
    attempts BIGINT, 
    queue_seconds DOUBLE, 
    read_seconds DOUBLE, 
    fingerprint TEXT, 
    reason TEXT, 
    PRIMARY KEY (experiment, run_id, "key"), 
    FOREIGN KEY(experiment, run_id) REFERENCES runs (experiment, run_id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE TABLE findings (
    experiment TEXT NOT NULL, 
    run_id TEXT NOT NULL, 
    code TEXT NOT NULL, 
    title TEXT NOT NULL, 
    severity TEXT NOT NULL, 
    column_names JSON NOT NULL, 
    number DOUBLE, 
    threshold DOUBLE, 
    evidence TEXT NOT NULL, 
    advice TEXT NOT NULL, 
    accepted TEXT, 
    PRIMARY KEY (experiment, run_id, code), 
    FOREIGN KEY(experiment, run_id) REFERENCES runs (experiment, run_id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE TABLE gates (
    experiment TEXT NOT NULL, 
    run_id TEXT NOT NULL, 
    number BIGINT NOT NULL, 
    metric TEXT NOT NULL, 
    rule TEXT NOT NULL, 
    value DOUBLE, 
    limit_value DOUBLE, 
    outcome TEXT NOT NULL, 
    PRIMARY KEY (experiment, run_id, number), 
    FOREIGN KEY(experiment, run_id) REFERENCES runs (experiment, run_id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE TABLE reports (
    experiment TEXT NOT NULL, 
    run_id TEXT NOT NULL, 
    name TEXT NOT NULL, 
    place TEXT NOT NULL, 
    PRIMARY KEY (experiment, run_id, name), 
    FOREIGN KEY(experiment, run_id) REFERENCES runs (experiment, run_id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE TABLE scores (
    experiment TEXT NOT NULL, 
    run_id TEXT NOT NULL, 
    set_name TEXT NOT NULL, 
    metric TEXT NOT NULL, 
    estimate DOUBLE, 
    low DOUBLE, 
    high DOUBLE, 
    baseline DOUBLE, 
    greater_is_better BOOLEAN NOT NULL, 
    PRIMARY KEY (experiment, run_id, set_name, metric), 
    FOREIGN KEY(experiment, run_id) REFERENCES runs (experiment, run_id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE TABLE sets (
    experiment TEXT NOT NULL, 
    run_id TEXT NOT NULL, 
    set_name TEXT NOT NULL, 
    rows BIGINT NOT NULL, 
    columns BIGINT NOT NULL, 
    digest TEXT NOT NULL, 
    PRIMARY KEY (experiment, run_id, set_name), 
    FOREIGN KEY(experiment, run_id) REFERENCES runs (experiment, run_id) ON DELETE CASCADE
)
 WITHOUT ROWID

;

CREATE INDEX runs_by_start ON runs (experiment, started_at);

CREATE INDEX runs_by_status ON runs (status);

INSERT INTO alembic_version VALUES ('0001');

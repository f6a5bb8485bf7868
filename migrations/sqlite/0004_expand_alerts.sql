-- Alerts of budgets and wallets, the webhooks that tell them, and jobs that one of many replicas does.

-- Shares of the limit as decimal texts, ascending.
ALTER TABLE budgets ADD COLUMN alert_at TEXT NOT NULL DEFAULT '[]';
CREATE INDEX budgets_alerting ON budgets (owner_id) WHERE alert_at <> '[]';
-- Balances in USD as decimal texts, descending.
ALTER TABLE tenants ADD COLUMN alert_below TEXT NOT NULL DEFAULT '[]';

-- What was told, once each. A budget's occasion is the first millisecond of its period, a wallet's the number of
-- the credit that had it above the level. Kept until some time after the occasion has ended.
CREATE TABLE alerts (
    id BLOB CONSTRAINT alerts_pk PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    kind TEXT NOT NULL,
    subject_id BLOB NOT NULL,
    occasion INTEGER NOT NULL,
    occasion_ends_at_ms INTEGER NOT NULL,
    threshold INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    CONSTRAINT alerts_once UNIQUE (kind, subject_id, occasion, threshold)
) STRICT;
CREATE INDEX alerts_ended ON alerts (occasion_ends_at_ms);

CREATE TABLE webhooks (
    id BLOB CONSTRAINT webhooks_pk PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT webhooks_name_unique UNIQUE,
    url TEXT NOT NULL,
    secret_ciphertext BLOB NOT NULL,
    -- NULL for events of all tenants.
    tenant_id BLOB CONSTRAINT webhooks_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    events TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    disabled_reason TEXT,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

-- One message on its way to one webhook. Whoever claims it moves `next_attempt_at_ms` behind the attempt's end.
CREATE TABLE webhook_deliveries (
    webhook_id BLOB NOT NULL
        CONSTRAINT webhook_deliveries_webhook_fk REFERENCES webhooks (id) ON DELETE CASCADE,
    message_id BLOB NOT NULL,
    event_type TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL
        CONSTRAINT webhook_deliveries_state_known CHECK (state IN ('pending', 'delivered', 'failed')),
    attempts INTEGER NOT NULL,
    next_attempt_at_ms INTEGER NOT NULL,
    last_status INTEGER,
    last_error TEXT,
    created_at_ms INTEGER NOT NULL,
    finished_at_ms INTEGER,
    CONSTRAINT webhook_deliveries_pk PRIMARY KEY (webhook_id, message_id)
) STRICT;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_attempt_at_ms) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_finished ON webhook_deliveries (finished_at_ms) WHERE finished_at_ms IS NOT NULL;

-- Runs of jobs that one replica does for all: the first to write the row.
CREATE TABLE job_runs (
    job TEXT NOT NULL,
    run TEXT NOT NULL,
    claimed_at_ms INTEGER NOT NULL,
    CONSTRAINT job_runs_pk PRIMARY KEY (job, run)
) STRICT;

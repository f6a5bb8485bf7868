-- The first schema, the same as in ../postgres. Times are INTEGER milliseconds since 1970 (UTC), money is
-- INTEGER nano-USD, ids are 16 bytes, truth is 0 or 1.

-- The oldest migration a program must know to work with this schema: a contracting step raises it.
CREATE TABLE schema_compatibility (
    id INTEGER CONSTRAINT schema_compatibility_pk PRIMARY KEY,
    required_migration INTEGER NOT NULL,
    CONSTRAINT schema_compatibility_single CHECK (id = 1)
) STRICT;
INSERT INTO schema_compatibility (id, required_migration) VALUES (1, 1);

-- === policy ===

CREATE TABLE tenants (
    id BLOB CONSTRAINT tenants_pk PRIMARY KEY,
    name TEXT NOT NULL,
    billing TEXT NOT NULL CONSTRAINT tenants_billing_known CHECK (billing IN ('prepaid', 'postpaid')),
    time_zone TEXT NOT NULL,
    blocked INTEGER NOT NULL,
    limits TEXT NOT NULL,
    data_policy TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX tenants_name_unique ON tenants (name) WHERE deleted_at_ms IS NULL;

CREATE TABLE projects (
    id BLOB CONSTRAINT projects_pk PRIMARY KEY,
    tenant_id BLOB NOT NULL CONSTRAINT projects_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    limits TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX projects_name_unique ON projects (tenant_id, name) WHERE deleted_at_ms IS NULL;

CREATE TABLE api_keys (
    id BLOB CONSTRAINT api_keys_pk PRIMARY KEY,
    tenant_id BLOB NOT NULL CONSTRAINT api_keys_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    project_id BLOB NOT NULL CONSTRAINT api_keys_project_fk REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    public_prefix TEXT NOT NULL,
    -- NULL once the key is deleted, so that its secret may be brought again.
    hash BLOB CONSTRAINT api_keys_hash_unique UNIQUE,
    previous_hash BLOB,
    previous_until_ms INTEGER,
    models TEXT NOT NULL,
    limits TEXT NOT NULL,
    labels TEXT NOT NULL,
    expires_at_ms INTEGER,
    state TEXT NOT NULL CONSTRAINT api_keys_state_known CHECK (state IN ('active', 'blocked', 'revoked')),
    rotated_at_ms INTEGER,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER,
    CONSTRAINT api_keys_hash_present CHECK (hash IS NOT NULL OR deleted_at_ms IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX api_keys_name_unique ON api_keys (project_id, name)
    WHERE state <> 'revoked' AND deleted_at_ms IS NULL;
CREATE INDEX api_keys_previous_hash ON api_keys (previous_hash) WHERE previous_hash IS NOT NULL;
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, id);

-- An owner is a tenant, a project or a key: no foreign key can say so, the transaction checks it.
CREATE TABLE budgets (
    id BLOB CONSTRAINT budgets_pk PRIMARY KEY,
    tenant_id BLOB NOT NULL CONSTRAINT budgets_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    owner_scope TEXT NOT NULL CONSTRAINT budgets_owner_scope_known CHECK (owner_scope IN ('tenant', 'project', 'key')),
    owner_id BLOB NOT NULL,
    time_window TEXT NOT NULL,
    limit_nano_usd INTEGER NOT NULL CONSTRAINT budgets_limit_not_negative CHECK (limit_nano_usd >= 0),
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    CONSTRAINT budgets_window_unique UNIQUE (owner_scope, owner_id, time_window)
) STRICT;
CREATE INDEX budgets_tenant ON budgets (tenant_id, id);

CREATE TABLE providers (
    id BLOB CONSTRAINT providers_pk PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT providers_name_unique UNIQUE,
    dialect TEXT NOT NULL,
    base_url TEXT NOT NULL,
    region TEXT,
    retention_days INTEGER,
    trains_on_data INTEGER,
    max_concurrent_requests INTEGER,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE provider_credentials (
    id BLOB CONSTRAINT provider_credentials_pk PRIMARY KEY,
    provider_id BLOB NOT NULL
        CONSTRAINT provider_credentials_provider_fk REFERENCES providers (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    ciphertext BLOB NOT NULL,
    weight INTEGER NOT NULL CONSTRAINT provider_credentials_weight_positive CHECK (weight >= 1),
    secret_changed_at_ms INTEGER NOT NULL,
    CONSTRAINT provider_credentials_name_unique UNIQUE (provider_id, name)
) STRICT;

CREATE TABLE models (
    id BLOB CONSTRAINT models_pk PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT models_name_unique UNIQUE,
    strategy TEXT NOT NULL,
    targets TEXT NOT NULL,
    fallbacks TEXT NOT NULL,
    retry TEXT NOT NULL,
    timeouts TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT;

-- Immutable rows. Those of a deleted tenant are kept, marked, because receipts name them.
CREATE TABLE prices (
    id BLOB CONSTRAINT prices_pk PRIMARY KEY,
    tenant_id BLOB,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    effective_from_ms INTEGER NOT NULL,
    meter TEXT,
    service_tier TEXT NOT NULL,
    context_from INTEGER NOT NULL,
    price_nano_usd_per_million INTEGER NOT NULL
        CONSTRAINT prices_price_not_negative CHECK (price_nano_usd_per_million >= 0),
    source TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX prices_start_unique ON prices (
    provider, model, COALESCE(meter, ''), service_tier, context_from, effective_from_ms,
    COALESCE(tenant_id, x'')
) WHERE deleted_at_ms IS NULL;

CREATE TABLE settings (
    id INTEGER CONSTRAINT settings_pk PRIMARY KEY,
    default_models TEXT NOT NULL,
    -- What every new tenant that pays in advance is given to try with, and for how many days; NULL for nothing.
    trial_credit_nano_usd INTEGER,
    trial_days INTEGER,
    updated_at_ms INTEGER NOT NULL,
    CONSTRAINT settings_single CHECK (id = 1)
) STRICT;

-- Values made once for the installation, such as the fingerprint of its master key.
CREATE TABLE installation (
    name TEXT CONSTRAINT installation_pk PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;

-- The row that every change of policy updates: its lock makes revisions visible in their order.
CREATE TABLE policy_head (
    id INTEGER CONSTRAINT policy_head_pk PRIMARY KEY,
    revision INTEGER NOT NULL,
    CONSTRAINT policy_head_single CHECK (id = 1)
) STRICT;
INSERT INTO policy_head (id, revision) VALUES (1, 0);

CREATE TABLE policy_changes (
    revision INTEGER CONSTRAINT policy_changes_pk PRIMARY KEY,
    kind TEXT NOT NULL,
    object_id BLOB NOT NULL,
    changed_at_ms INTEGER NOT NULL
) STRICT;

-- === money ===

CREATE TABLE credits (
    id BLOB CONSTRAINT credits_pk PRIMARY KEY,
    tenant_id BLOB NOT NULL CONSTRAINT credits_tenant_fk REFERENCES tenants (id),
    kind TEXT NOT NULL CONSTRAINT credits_kind_known
        CHECK (kind IN ('grant', 'topup', 'refund', 'adjustment', 'expire')),
    amount_nano_usd INTEGER NOT NULL CONSTRAINT credits_amount_not_zero CHECK (amount_nano_usd <> 0),
    reference TEXT,
    expires_at_ms INTEGER,
    -- The credit that this one corrects, or takes back because it expired.
    corrects BLOB CONSTRAINT credits_corrects_fk REFERENCES credits (id),
    -- The number of this credit among the tenant's, from 1: the version of the wallet's limit.
    sequence INTEGER NOT NULL,
    -- What the tenant had been charged in all when the credit was given: tells which credits were spent on it.
    settled_before_nano_usd INTEGER NOT NULL,
    actor TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    CONSTRAINT credits_reference_unique UNIQUE (tenant_id, reference),
    CONSTRAINT credits_sequence_unique UNIQUE (tenant_id, sequence)
) STRICT;
CREATE INDEX credits_tenant ON credits (tenant_id, id);
CREATE INDEX credits_expiry ON credits (expires_at_ms, id) WHERE expires_at_ms IS NOT NULL;

-- Expired credits of which nothing is left: nobody needs to look at them again.
CREATE TABLE expired_credits (
    credit_id BLOB CONSTRAINT expired_credits_pk PRIMARY KEY
        CONSTRAINT expired_credits_credit_fk REFERENCES credits (id)
) STRICT, WITHOUT ROWID;

-- Double entry: each row moves an amount from one account to another, so that it balances by itself. The
-- charges are not repeated here: each row of `requests` is its charge, from `wallet:<tenant>` to `usage:<tenant>`.
CREATE TABLE journal_entries (
    id BLOB CONSTRAINT journal_entries_pk PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    kind TEXT NOT NULL CONSTRAINT journal_entries_no_charge CHECK (kind <> 'charge'),
    debit_account TEXT NOT NULL,
    credit_account TEXT NOT NULL,
    amount_nano_usd INTEGER NOT NULL CONSTRAINT journal_entries_amount_positive CHECK (amount_nano_usd > 0),
    at_ms INTEGER NOT NULL,
    reference TEXT,
    -- The entry that this one corrects, or takes back because it expired.
    corrects BLOB
) STRICT;
CREATE INDEX journal_entries_tenant ON journal_entries (tenant_id, at_ms, id);

-- What a tenant was charged in all: the sum over its requests, moved in their transaction.
CREATE TABLE wallet_totals (
    tenant_id BLOB CONSTRAINT wallet_totals_pk PRIMARY KEY,
    charged_nano_usd INTEGER NOT NULL,
    charges INTEGER NOT NULL
) STRICT;

-- What an owner (tenant, project or key) was charged for requests admitted in a quarter of an hour: the sum
-- over its requests, moved in their transaction. Every time zone's days begin with such a quarter.
CREATE TABLE spend_quarters (
    owner_id BLOB NOT NULL,
    quarter_starts_at_ms INTEGER NOT NULL,
    cost_nano_usd INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    CONSTRAINT spend_quarters_pk PRIMARY KEY (owner_id, quarter_starts_at_ms)
) STRICT, WITHOUT ROWID;

-- Finished requests. No foreign keys: what was used stays on record when its tenant is gone. What is not
-- needed to find or to add up rows is read out of the event when it is asked for: writing a row is on every
-- request's bill here, reading one is not.
CREATE TABLE requests (
    event_id BLOB CONSTRAINT requests_pk PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    admitted_at_ms INTEGER NOT NULL,
    finished_at_ms INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_nano_usd INTEGER NOT NULL,
    event TEXT NOT NULL
) STRICT;
CREATE INDEX requests_finished ON requests (finished_at_ms, event_id);
CREATE INDEX requests_tenant_finished ON requests (tenant_id, finished_at_ms, event_id);

-- What reports and lists read of a request. A view, because generated columns are computed on every insert.
CREATE VIEW request_details AS SELECT
    event_id, tenant_id, admitted_at_ms, finished_at_ms, input_tokens, cached_tokens, output_tokens,
    cost_nano_usd, event,
    unhex(event ->> '$.project', '-') AS project_id,
    unhex(event ->> '$.key', '-') AS key_id,
    event ->> '$.end_user' AS end_user,
    event ->> '$.provider' AS provider,
    event ->> '$.model' AS model,
    event ->> '$.requested_model' AS requested_model,
    COALESCE(event -> '$.labels', '{}') AS labels,
    COALESCE(event ->> '$.outcome.error', event ->> '$.outcome') AS outcome,
    json_type(event, '$.outcome') = 'object' AS is_error
FROM requests;

-- === operations ===

CREATE TABLE audit (
    sequence INTEGER CONSTRAINT audit_pk PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    action TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id BLOB NOT NULL,
    object_name TEXT NOT NULL,
    tenant_id BLOB,
    before_state TEXT,
    after_state TEXT,
    reason TEXT
) STRICT;
CREATE INDEX audit_object ON audit (object_id, sequence);
CREATE INDEX audit_tenant ON audit (tenant_id, sequence);

CREATE TABLE idempotency_keys (
    actor TEXT NOT NULL,
    key_text TEXT NOT NULL,
    request_hash BLOB NOT NULL,
    status INTEGER,
    body BLOB,
    expires_at_ms INTEGER NOT NULL,
    CONSTRAINT idempotency_keys_pk PRIMARY KEY (actor, key_text)
) STRICT;
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at_ms);

-- === what is written once is never changed ===

CREATE TRIGGER requests_no_update BEFORE UPDATE ON requests BEGIN
    SELECT RAISE(ABORT, 'requests is append-only');
END;
CREATE TRIGGER requests_no_delete BEFORE DELETE ON requests BEGIN
    SELECT RAISE(ABORT, 'requests is append-only');
END;
CREATE TRIGGER journal_entries_no_update BEFORE UPDATE ON journal_entries BEGIN
    SELECT RAISE(ABORT, 'journal_entries is append-only');
END;
CREATE TRIGGER journal_entries_no_delete BEFORE DELETE ON journal_entries BEGIN
    SELECT RAISE(ABORT, 'journal_entries is append-only');
END;
CREATE TRIGGER credits_no_update BEFORE UPDATE ON credits BEGIN
    SELECT RAISE(ABORT, 'credits is append-only');
END;
CREATE TRIGGER credits_no_delete BEFORE DELETE ON credits BEGIN
    SELECT RAISE(ABORT, 'credits is append-only');
END;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit is append-only');
END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN
    SELECT RAISE(ABORT, 'audit is append-only');
END;

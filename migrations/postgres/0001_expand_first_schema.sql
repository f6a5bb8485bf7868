-- The first schema. Times are BIGINT milliseconds since 1970 (UTC), money is BIGINT nano-USD.

-- The oldest migration a program must know to work with this schema: a contracting step raises it.
CREATE TABLE schema_compatibility (
    id SMALLINT CONSTRAINT schema_compatibility_pk PRIMARY KEY,
    required_migration BIGINT NOT NULL,
    CONSTRAINT schema_compatibility_single CHECK (id = 1)
);
INSERT INTO schema_compatibility (id, required_migration) VALUES (1, 1);

-- === policy ===

CREATE TABLE tenants (
    id UUID CONSTRAINT tenants_pk PRIMARY KEY,
    name TEXT NOT NULL,
    billing TEXT NOT NULL CONSTRAINT tenants_billing_known CHECK (billing IN ('prepaid', 'postpaid')),
    time_zone TEXT NOT NULL,
    blocked BOOLEAN NOT NULL,
    limits JSONB NOT NULL,
    data_policy JSONB NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    deleted_at_ms BIGINT
);
CREATE UNIQUE INDEX tenants_name_unique ON tenants (name) WHERE deleted_at_ms IS NULL;

CREATE TABLE projects (
    id UUID CONSTRAINT projects_pk PRIMARY KEY,
    tenant_id UUID NOT NULL CONSTRAINT projects_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    labels JSONB NOT NULL,
    limits JSONB NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    deleted_at_ms BIGINT
);
CREATE UNIQUE INDEX projects_name_unique ON projects (tenant_id, name) WHERE deleted_at_ms IS NULL;

CREATE TABLE api_keys (
    id UUID CONSTRAINT api_keys_pk PRIMARY KEY,
    tenant_id UUID NOT NULL CONSTRAINT api_keys_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    project_id UUID NOT NULL CONSTRAINT api_keys_project_fk REFERENCES projects (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    public_prefix TEXT NOT NULL,
    -- NULL once the key is deleted, so that its secret may be brought again.
    hash BYTEA CONSTRAINT api_keys_hash_unique UNIQUE,
    previous_hash BYTEA,
    previous_until_ms BIGINT,
    models JSONB NOT NULL,
    limits JSONB NOT NULL,
    labels JSONB NOT NULL,
    expires_at_ms BIGINT,
    state TEXT NOT NULL CONSTRAINT api_keys_state_known CHECK (state IN ('active', 'blocked', 'revoked')),
    rotated_at_ms BIGINT,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    deleted_at_ms BIGINT,
    CONSTRAINT api_keys_hash_present CHECK (hash IS NOT NULL OR deleted_at_ms IS NOT NULL)
);
CREATE UNIQUE INDEX api_keys_name_unique ON api_keys (project_id, name)
    WHERE state <> 'revoked' AND deleted_at_ms IS NULL;
CREATE INDEX api_keys_previous_hash ON api_keys (previous_hash) WHERE previous_hash IS NOT NULL;
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, id);

-- An owner is a tenant, a project or a key: no foreign key can say so, the transaction checks it.
CREATE TABLE budgets (
    id UUID CONSTRAINT budgets_pk PRIMARY KEY,
    tenant_id UUID NOT NULL CONSTRAINT budgets_tenant_fk REFERENCES tenants (id) ON DELETE CASCADE,
    owner_scope TEXT NOT NULL CONSTRAINT budgets_owner_scope_known CHECK (owner_scope IN ('tenant', 'project', 'key')),
    owner_id UUID NOT NULL,
    time_window TEXT NOT NULL,
    limit_nano_usd BIGINT NOT NULL CONSTRAINT budgets_limit_not_negative CHECK (limit_nano_usd >= 0),
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL,
    CONSTRAINT budgets_window_unique UNIQUE (owner_scope, owner_id, time_window)
);
CREATE INDEX budgets_tenant ON budgets (tenant_id, id);

CREATE TABLE providers (
    id UUID CONSTRAINT providers_pk PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT providers_name_unique UNIQUE,
    dialect TEXT NOT NULL,
    base_url TEXT NOT NULL,
    region TEXT,
    retention_days BIGINT,
    trains_on_data BOOLEAN,
    max_concurrent_requests BIGINT,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);

CREATE TABLE provider_credentials (
    id UUID CONSTRAINT provider_credentials_pk PRIMARY KEY,
    provider_id UUID NOT NULL
        CONSTRAINT provider_credentials_provider_fk REFERENCES providers (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    ciphertext BYTEA NOT NULL,
    weight BIGINT NOT NULL CONSTRAINT provider_credentials_weight_positive CHECK (weight >= 1),
    secret_changed_at_ms BIGINT NOT NULL,
    CONSTRAINT provider_credentials_name_unique UNIQUE (provider_id, name)
);

CREATE TABLE models (
    id UUID CONSTRAINT models_pk PRIMARY KEY,
    name TEXT NOT NULL CONSTRAINT models_name_unique UNIQUE,
    strategy TEXT NOT NULL,
    targets JSONB NOT NULL,
    fallbacks JSONB NOT NULL,
    retry JSONB NOT NULL,
    timeouts JSONB NOT NULL,
    created_at_ms BIGINT NOT NULL,
    updated_at_ms BIGINT NOT NULL
);

-- Immutable rows. Those of a deleted tenant are kept, marked, because receipts name them.
CREATE TABLE prices (
    id UUID CONSTRAINT prices_pk PRIMARY KEY,
    tenant_id UUID,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    effective_from_ms BIGINT NOT NULL,
    meter TEXT,
    service_tier TEXT NOT NULL,
    context_from BIGINT NOT NULL,
    price_nano_usd_per_million BIGINT NOT NULL
        CONSTRAINT prices_price_not_negative CHECK (price_nano_usd_per_million >= 0),
    source TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    deleted_at_ms BIGINT
);
CREATE UNIQUE INDEX prices_start_unique ON prices (
    provider, model, COALESCE(meter, ''), service_tier, context_from, effective_from_ms,
    COALESCE(tenant_id, '00000000-0000-0000-0000-000000000000'::uuid)
) WHERE deleted_at_ms IS NULL;

CREATE TABLE settings (
    id SMALLINT CONSTRAINT settings_pk PRIMARY KEY,
    default_models JSONB NOT NULL,
    -- What every new tenant that pays in advance is given to try with, and for how many days; NULL for nothing.
    trial_credit_nano_usd BIGINT,
    trial_days BIGINT,
    updated_at_ms BIGINT NOT NULL,
    CONSTRAINT settings_single CHECK (id = 1)
);

-- Values made once for the installation, such as the fingerprint of its master key.
CREATE TABLE installation (
    name TEXT CONSTRAINT installation_pk PRIMARY KEY,
    value BYTEA NOT NULL
);

-- The row that every change of policy updates: its lock makes revisions visible in their order.
CREATE TABLE policy_head (
    id SMALLINT CONSTRAINT policy_head_pk PRIMARY KEY,
    revision BIGINT NOT NULL,
    CONSTRAINT policy_head_single CHECK (id = 1)
);
INSERT INTO policy_head (id, revision) VALUES (1, 0);

CREATE TABLE policy_changes (
    revision BIGINT CONSTRAINT policy_changes_pk PRIMARY KEY,
    kind TEXT NOT NULL,
    object_id UUID NOT NULL,
    changed_at_ms BIGINT NOT NULL
);

-- === money ===

CREATE TABLE credits (
    id UUID CONSTRAINT credits_pk PRIMARY KEY,
    tenant_id UUID NOT NULL CONSTRAINT credits_tenant_fk REFERENCES tenants (id),
    kind TEXT NOT NULL CONSTRAINT credits_kind_known
        CHECK (kind IN ('grant', 'topup', 'refund', 'adjustment', 'expire')),
    amount_nano_usd BIGINT NOT NULL CONSTRAINT credits_amount_not_zero CHECK (amount_nano_usd <> 0),
    reference TEXT,
    expires_at_ms BIGINT,
    -- The credit that this one corrects, or takes back because it expired.
    corrects UUID CONSTRAINT credits_corrects_fk REFERENCES credits (id),
    -- The number of this credit among the tenant's, from 1: the version of the wallet's limit.
    sequence BIGINT NOT NULL,
    -- What the tenant had been charged in all when the credit was given: tells which credits were spent on it.
    settled_before_nano_usd BIGINT NOT NULL,
    actor TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    CONSTRAINT credits_reference_unique UNIQUE (tenant_id, reference),
    CONSTRAINT credits_sequence_unique UNIQUE (tenant_id, sequence)
);
CREATE INDEX credits_tenant ON credits (tenant_id, id);
CREATE INDEX credits_expiry ON credits (expires_at_ms, id) WHERE expires_at_ms IS NOT NULL;

-- Expired credits of which nothing is left: nobody needs to look at them again.
CREATE TABLE expired_credits (
    credit_id UUID CONSTRAINT expired_credits_pk PRIMARY KEY
        CONSTRAINT expired_credits_credit_fk REFERENCES credits (id)
);

-- Double entry: each row moves an amount from one account to another, so that it balances by itself. The
-- charges are not repeated here: each row of `requests` is its charge, from `wallet:<tenant>` to `usage:<tenant>`.
CREATE TABLE journal_entries (
    id UUID CONSTRAINT journal_entries_pk PRIMARY KEY,
    tenant_id UUID NOT NULL,
    kind TEXT NOT NULL CONSTRAINT journal_entries_no_charge CHECK (kind <> 'charge'),
    debit_account TEXT NOT NULL,
    credit_account TEXT NOT NULL,
    amount_nano_usd BIGINT NOT NULL CONSTRAINT journal_entries_amount_positive CHECK (amount_nano_usd > 0),
    at_ms BIGINT NOT NULL,
    reference TEXT,
    -- The entry that this one corrects, or takes back because it expired.
    corrects UUID
);
CREATE INDEX journal_entries_tenant ON journal_entries (tenant_id, at_ms, id);

-- What a tenant was charged in all: the sum over its requests, moved in their transaction.
CREATE TABLE wallet_totals (
    tenant_id UUID CONSTRAINT wallet_totals_pk PRIMARY KEY,
    charged_nano_usd BIGINT NOT NULL,
    charges BIGINT NOT NULL
);

-- What an owner (tenant, project or key) was charged for requests admitted in a quarter of an hour: the sum
-- over its requests, moved in their transaction. Every time zone's days begin with such a quarter.
CREATE TABLE spend_quarters (
    owner_id UUID NOT NULL,
    quarter_starts_at_ms BIGINT NOT NULL,
    cost_nano_usd BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    CONSTRAINT spend_quarters_pk PRIMARY KEY (owner_id, quarter_starts_at_ms)
);

-- Finished requests. No foreign keys: what was used stays on record when its tenant is gone. Partitioned by day:
-- an event's id begins with the millisecond of its request. Days that nobody made a partition for, and what has
-- the time of a broken clock, go to the default one.
CREATE TABLE requests (
    event_id UUID CONSTRAINT requests_pk PRIMARY KEY,
    request_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    project_id UUID NOT NULL,
    key_id UUID NOT NULL,
    end_user TEXT,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    requested_model TEXT NOT NULL,
    surface TEXT NOT NULL,
    labels JSONB NOT NULL,
    admitted_at_ms BIGINT NOT NULL,
    finished_at_ms BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cost_nano_usd BIGINT NOT NULL,
    provider_cost_nano_usd BIGINT NOT NULL,
    basis TEXT NOT NULL,
    outcome TEXT NOT NULL,
    is_error BOOLEAN NOT NULL,
    status BIGINT NOT NULL,
    streamed BOOLEAN NOT NULL,
    event TEXT NOT NULL
) PARTITION BY RANGE (event_id);
CREATE INDEX requests_finished ON requests (finished_at_ms, event_id);
CREATE INDEX requests_tenant_finished ON requests (tenant_id, finished_at_ms, event_id);
CREATE INDEX requests_admitted ON requests USING brin (admitted_at_ms);

-- What reports and lists read of a request.
CREATE VIEW request_details AS SELECT * FROM requests;
CREATE TABLE requests_default PARTITION OF requests DEFAULT;

-- === operations ===

CREATE TABLE audit (
    sequence BIGINT GENERATED ALWAYS AS IDENTITY CONSTRAINT audit_pk PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    action TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id UUID NOT NULL,
    object_name TEXT NOT NULL,
    tenant_id UUID,
    before_state JSONB,
    after_state JSONB,
    reason TEXT
);
CREATE INDEX audit_object ON audit (object_id, sequence);
CREATE INDEX audit_tenant ON audit (tenant_id, sequence);

CREATE TABLE idempotency_keys (
    actor TEXT NOT NULL,
    key_text TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    status BIGINT,
    body BYTEA,
    expires_at_ms BIGINT NOT NULL,
    CONSTRAINT idempotency_keys_pk PRIMARY KEY (actor, key_text)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at_ms);

-- === what is written once is never changed ===

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER requests_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON requests
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- A trigger of the whole table does not watch statements that name one of its partitions.
CREATE TRIGGER requests_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON requests_default
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER journal_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_entries
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER credits_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON credits
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- === partitions ===

-- Makes the partition of the day that begins at that millisecond, in UTC. Answers whether it made one: not where
-- there is one already, and not where the default partition holds rows of that day, which stay there. It runs with
-- its owner's rights, so that the application's role need not own the table.
CREATE FUNCTION make_requests_partition(day_starts_at_ms BIGINT) RETURNS BOOLEAN
    LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '3s' AS $$
DECLARE
    day_ms CONSTANT BIGINT := 86400000;
    partition CONSTANT TEXT :=
        'requests_' || to_char(to_timestamp(day_starts_at_ms / 1000) AT TIME ZONE 'UTC', 'YYYYMMDD');
    first_id CONSTANT UUID := rpad(lpad(to_hex(day_starts_at_ms), 12, '0'), 32, '0');
    following_id CONSTANT UUID := rpad(lpad(to_hex(day_starts_at_ms + day_ms), 12, '0'), 32, '0');
BEGIN
    -- Until the year 9999.
    IF day_starts_at_ms % day_ms <> 0 OR day_starts_at_ms NOT BETWEEN 0 AND 253402300800000 THEN
        RAISE EXCEPTION '% begins no day', day_starts_at_ms USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- One process at a time: replicas start together.
    PERFORM pg_advisory_xact_lock(hashtext('tollgate make_requests_partition'));
    IF to_regclass(partition) IS NOT NULL
        OR EXISTS (SELECT 1 FROM requests_default WHERE event_id >= first_id AND event_id < following_id)
    THEN
        RETURN false;
    END IF;
    -- Made aside and attached: PARTITION OF would lock all writers out.
    EXECUTE format('CREATE TABLE %I (LIKE requests INCLUDING ALL)', partition);
    EXECUTE format('CREATE TRIGGER requests_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', partition);
    EXECUTE format('ALTER TABLE requests ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        partition, first_id, following_id);
    RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION make_requests_partition(BIGINT) FROM PUBLIC;
-- Whoever calls it cannot slip other tables in: temporary ones are looked up last.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION make_requests_partition(BIGINT) SET search_path = %I, pg_temp', current_schema());
END
$$;

-- Margin rules, the same as in ../postgres, and what the provider is expected to bill for a request, which
-- PostgreSQL has had a column for since the first step.
CREATE TABLE margins (
    id BLOB CONSTRAINT margins_pk PRIMARY KEY,
    tenant_id BLOB,
    provider TEXT,
    model TEXT,
    basis_points INTEGER NOT NULL
        CONSTRAINT margins_basis_points_range CHECK (basis_points BETWEEN -10000 AND 1000000),
    effective_from_ms INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    deleted_at_ms INTEGER
) STRICT;
CREATE UNIQUE INDEX margins_start_unique ON margins (
    COALESCE(tenant_id, x''), COALESCE(provider, ''), COALESCE(model, ''), effective_from_ms
) WHERE deleted_at_ms IS NULL;

-- NULL in rows from before this step: there were no margins then, so it is the customer's cost.
ALTER TABLE requests ADD COLUMN provider_cost_nano_usd INTEGER;

DROP VIEW request_details;
CREATE VIEW request_details AS SELECT
    event_id, tenant_id, admitted_at_ms, finished_at_ms, input_tokens, cached_tokens, output_tokens,
    cost_nano_usd, COALESCE(provider_cost_nano_usd, cost_nano_usd) AS provider_cost_nano_usd, event,
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

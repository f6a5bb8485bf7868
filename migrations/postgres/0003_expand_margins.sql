-- Margin rules: what customers pay on top of the provider's price. Immutable rows, like prices; those of a deleted
-- tenant are kept, marked, because receipts name them. A NULL means all.
CREATE TABLE margins (
    id UUID CONSTRAINT margins_pk PRIMARY KEY,
    tenant_id UUID,
    provider TEXT,
    model TEXT,
    basis_points BIGINT NOT NULL
        CONSTRAINT margins_basis_points_range CHECK (basis_points BETWEEN -10000 AND 1000000),
    effective_from_ms BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    deleted_at_ms BIGINT
);
CREATE UNIQUE INDEX margins_start_unique ON margins (
    COALESCE(tenant_id, '00000000-0000-0000-0000-000000000000'::uuid), COALESCE(provider, ''),
    COALESCE(model, ''), effective_from_ms
) WHERE deleted_at_ms IS NULL;

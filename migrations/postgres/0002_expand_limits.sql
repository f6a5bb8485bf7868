-- What holds for each end user and each model, spend per end user, and budgets that are raised for a time.

-- `end_users` and `model_limits` of an owner, as one document.
ALTER TABLE tenants ADD COLUMN rules JSONB NOT NULL DEFAULT '{}';
ALTER TABLE projects ADD COLUMN rules JSONB NOT NULL DEFAULT '{}';
ALTER TABLE api_keys ADD COLUMN rules JSONB NOT NULL DEFAULT '{}';

-- What an end user was charged for requests admitted in a quarter of an hour with one key: the sum over those
-- requests, moved in their transaction. Requests that name no end user have no part in it.
CREATE TABLE end_user_quarters (
    tenant_id UUID NOT NULL,
    end_user TEXT COLLATE "C" NOT NULL,
    quarter_starts_at_ms BIGINT NOT NULL,
    key_id UUID NOT NULL,
    project_id UUID NOT NULL,
    cost_nano_usd BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    CONSTRAINT end_user_quarters_pk PRIMARY KEY (tenant_id, end_user, quarter_starts_at_ms, key_id)
);

-- Amounts by which a budget's limit is raised until a moment. `ended_at_ms` is set when one was taken back, or was
-- seen to be over: the policy then knows it no more, the list still shows it.
CREATE TABLE budget_increases (
    id UUID CONSTRAINT budget_increases_pk PRIMARY KEY,
    budget_id UUID NOT NULL
        CONSTRAINT budget_increases_budget_fk REFERENCES budgets (id) ON DELETE CASCADE,
    amount_nano_usd BIGINT NOT NULL CONSTRAINT budget_increases_amount_positive CHECK (amount_nano_usd > 0),
    until_ms BIGINT NOT NULL,
    reason TEXT,
    actor TEXT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    ended_at_ms BIGINT
);
CREATE INDEX budget_increases_budget ON budget_increases (budget_id, id);

-- Holds whose pods are gone, as the ledger had them: a reseed reads them back where the ledger was lost as well before
-- they were settled. Rows go when their holds do.
CREATE TABLE noted_holds (
    hold_id BLOB CONSTRAINT noted_holds_pk PRIMARY KEY,
    tenant_id BLOB NOT NULL,
    body TEXT NOT NULL,
    noted_at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX noted_holds_of_tenant ON noted_holds (tenant_id);

-- Of a virtual model: what a target lacks is left out where that is harmless, rather than refused.
ALTER TABLE models ADD COLUMN drop_unsupported BOOLEAN NOT NULL DEFAULT FALSE;

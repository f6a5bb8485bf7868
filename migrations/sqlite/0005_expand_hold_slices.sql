-- Streams may hold money for their answers in slices: so many answer tokens at a time. NULL for a model is what the
-- settings say, zero the whole answer.
ALTER TABLE models ADD COLUMN hold_slice_tokens INTEGER;
ALTER TABLE settings ADD COLUMN hold_slice_tokens INTEGER;

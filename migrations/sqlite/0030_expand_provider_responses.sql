-- How a provider is asked for OpenAI's Responses: `native` or `translated`. NULL is what the catalogue says of its vendor.
ALTER TABLE providers ADD COLUMN responses TEXT;

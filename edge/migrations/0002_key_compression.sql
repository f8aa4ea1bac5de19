-- What a key's requests get that say nothing of compression; NULL = lossless.
ALTER TABLE api_keys ADD COLUMN compression_mode TEXT CHECK (compression_mode IN ('off', 'lossless', 'lossy'));
-- Of the lossy mode; NULL = 0.7.
ALTER TABLE api_keys ADD COLUMN compression_rate REAL CHECK (compression_rate BETWEEN 0.2 AND 1);

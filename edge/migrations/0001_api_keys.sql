-- Keys: the secret itself is never stored. Two hashes may be active at once, for rotation.
CREATE TABLE api_keys (
  public_id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  -- HMAC-SHA-256 of the secret under the pepper, hex.
  secret_hash TEXT NOT NULL,
  second_secret_hash TEXT,
  -- JSON array of model names; NULL = all.
  models TEXT,
  -- Unix milliseconds; NULL = never.
  expires_at INTEGER,
  created_at INTEGER NOT NULL,
  disabled INTEGER NOT NULL DEFAULT 0
);

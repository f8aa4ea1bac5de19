-- System prompts that a tenant registered once; see `npm run prompt -- --help`.
CREATE TABLE static_prompts (
  -- What requests name: prompt: {"id": …}.
  id TEXT PRIMARY KEY,
  tenant TEXT NOT NULL,
  -- For people.
  name TEXT NOT NULL,
  -- As clients write it.
  text TEXT NOT NULL,
  -- As workers get it.
  short TEXT NOT NULL,
  -- Unix milliseconds.
  created_at INTEGER NOT NULL,
  UNIQUE (tenant, name)
);

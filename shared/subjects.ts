/** Every NATS subject name. No user text ever enters a subject: models appear as a hash, ids are ours. */

const PREFIX = 'mr.v1';

/** Queue group of workers that serve the same model. */
export const WORKER_QUEUE = 'workers';

/** Ids we make ourselves and put into subjects: one token, no wildcard, no dot. */
export const SUBJECT_TOKEN = /^[A-Za-z0-9_-]{1,64}$/;

function token(value: string): string {
  if (!SUBJECT_TOKEN.test(value)) throw new RangeError(`not a subject token: ${JSON.stringify(value)}`);
  return value;
}

/** Short stable key of a model name: FNV-1a, 64 bits, as 16 hex digits (Fowler, Noll, Vo; not for security). */
export function modelKey(name: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(name)) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return hash.toString(16).padStart(16, '0');
}

export const subjects = {
  /** Request/reply; whoever of the model's queue group answers first takes it. */
  submitAny: (model: string) => `${PREFIX}.submit.${token(model)}`,
  /** Request/reply to one worker. */
  submit: (model: string, worker: string) => `${PREFIX}.submit.${token(model)}.${token(worker)}`,
  /** Frame batches to a gateway shard. */
  gateway: (shard: string) => `${PREFIX}.gateway.${token(shard)}`,
  /** ack, cancel, replay, kv-snapshot, probe, drain to one worker. */
  control: (worker: string) => `${PREFIX}.control.${token(worker)}`,
  /** A probe here makes every worker send its heartbeat at once (roll call of a fresh gateway). */
  controlAll: `${PREFIX}.control.all`,
  /** KV events of one worker for one shard, and of all workers. */
  kv: (worker: string, shard: string) => `${PREFIX}.kv.${token(worker)}.${token(shard)}`,
  kvOfAll: (shard: string) => `${PREFIX}.kv.*.${token(shard)}`,
  heartbeat: (worker: string) => `${PREFIX}.heartbeat.${token(worker)}`,
  heartbeats: `${PREFIX}.heartbeat.*`,
} as const;

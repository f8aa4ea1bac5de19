/** Messages between gateway and worker, versioned and validated on both sides; knows no NATS. JSON, UTF-8. */
import * as v from 'valibot';
import { MAX_BLOCKS } from './block-hash.ts';
import { MillraceError, isErrorCode, type ErrorCode } from './errors.ts';
import { samplingParamsSchema } from './sampling.ts';
import { SUBJECT_TOKEN } from './subjects.ts';
import { templateValuesSchema } from './template-values.ts';

export const PROTOCOL_VERSION = 1;

/** The gateway acks this often while streams are open; the worker's lease is many of these. Milliseconds. */
export const ACK_INTERVAL_MS = 250;
/** A worker aborts the requests of a gateway epoch it has not heard from for so long. Milliseconds. */
export const DEFAULT_LEASE_MS = 15_000;
export const HEARTBEAT_INTERVAL_MS = 1_000;
/** A worker that missed so many milliseconds of heartbeats is no longer routed to. */
export const HEARTBEAT_TTL_MS = 3_500;

const version = v.literal(PROTOCOL_VERSION);
const subjectToken = v.pipe(v.string(), v.regex(SUBJECT_TOKEN));
const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const millis = v.pipe(v.number(), v.finite());
const errorCode = v.custom<ErrorCode>((value) => typeof value === 'string' && isErrorCode(value));
const tokenIds = v.array(v.pipe(v.number(), v.integer(), v.minValue(0)));

/** `user`, `assistant`, `system`; the edge folds `developer` into `system` and content parts into one text. */
export const chatMessageSchema = v.object({
  role: v.picklist(['system', 'user', 'assistant']),
  content: v.string(),
  name: v.optional(v.string()),
});
export type ChatMessage = v.InferOutput<typeof chatMessageSchema>;

export const promptSchema = v.variant('type', [
  v.object({ type: v.literal('chat'), messages: v.pipe(v.array(chatMessageSchema), v.minLength(1)) }),
  v.object({ type: v.literal('text'), text: v.string() }),
  v.object({ type: v.literal('tokens'), ids: v.pipe(tokenIds, v.minLength(1)) }),
]);
export type Prompt = v.InferOutput<typeof promptSchema>;

const blockHash = v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/));

/** Where a text block of the prompt ends; see block-hash.ts. */
export const blockEndSchema = v.object({ hash: blockHash, message: count, end: count });
export type BlockEnd = v.InferOutput<typeof blockEndSchema>;

/** Gateway → worker, request/reply on a submit subject. */
export const submitSchema = v.object({
  v: version,
  /** Unique request id, also the stream id clients see. */
  id: subjectToken,
  /** 1 for the first try; a resubmit after a lost worker counts up, older attempts' frames are fenced off. */
  attempt: v.pipe(v.number(), v.integer(), v.minValue(1)),
  /** Where frames go, and which incarnation of that gateway wants them. */
  shard: subjectToken,
  shardEpoch: subjectToken,
  /** Public tenant id (never the key): fairness and cache salt. */
  tenant: subjectToken,
  /** Served name or alias, as the client wrote it. */
  model: v.string(),
  prompt: promptSchema,
  /** Output tokens of earlier attempts, which this one continues. */
  generatedIds: v.optional(tokenIds),
  params: samplingParamsSchema,
  /** off; auto: as many drafts as pay; n-gram: prompt lookup in every step. */
  speculation: v.optional(v.picklist(['off', 'auto', 'n-gram']), 'auto'),
  /** Requests of one tenant with different salts share no cached prefix (vLLM's cache_salt). */
  cacheSalt: v.optional(v.pipe(v.string(), v.maxLength(256)), ''),
  /** Text blocks of the prompt in order: their KV events tell this shard what is cached. A hint for routing only. */
  blocks: v.optional(v.pipe(v.array(blockEndSchema), v.maxLength(MAX_BLOCKS))),
  /** UTF-16 units of the first message that are a registered prompt: their KV is evicted last. */
  pinnedUnits: v.optional(count),
  /** Values for the chat template beside the messages, e.g. `enable_thinking` (vLLM's chat_template_kwargs). */
  templateValues: v.optional(templateValuesSchema, {}),
  /** Absolute, Unix milliseconds; checked at dequeue, before prefill and at each step. */
  deadlineMs: millis,
  /** Higher runs first; 0 is normal. */
  priority: v.pipe(v.number(), v.integer(), v.minValue(-10), v.maxValue(10)),
});
export type Submit = v.InferOutput<typeof submitSchema>;

export const submitReplySchema = v.variant('type', [
  v.object({
    type: v.literal('admitted'),
    worker: subjectToken,
    epoch: subjectToken,
    promptTokens: count,
    /** Weights, quantization, KV type and runtime: equal fingerprints may continue each other's requests. */
    fingerprint: v.string(),
  }),
  v.object({
    type: v.literal('refused'),
    code: errorCode,
    message: v.string(),
    param: v.optional(v.string()),
    retryAfterMs: v.optional(millis),
  }),
]);
export type SubmitReply = v.InferOutput<typeof submitReplySchema>;

/** Worker → gateway, on heartbeat subjects and as the reply to a probe. */
export const heartbeatSchema = v.object({
  v: version,
  worker: subjectToken,
  /** New at every process start. */
  epoch: subjectToken,
  /** First is canonical (its `modelKey` is the subject); the rest are aliases. */
  models: v.pipe(v.array(v.string()), v.minLength(1)),
  fingerprint: v.string(),
  status: v.picklist(['ready', 'draining']),
  /** Unix seconds the model was loaded: `created` of /v1/models. */
  created: count,
  limits: v.object({ maxSequences: count, maxModelLen: count, kvTokens: count }),
  /** Sequences, and tokens of the KV cache that live ones hold. */
  load: v.object({
    running: count,
    waiting: count,
    /** Prompt tokens admitted and not computed, without those expected from the prefix cache. */
    queuedPrefillTokens: count,
    kvTokens: count,
    /** Recent pace of prompts alone; null or left out while there is no figure. */
    prefillTokensPerSecond: v.optional(v.nullable(v.pipe(millis, v.minValue(0)))),
  }),
  /** Completed steps and when the last one ended (Unix ms), so that a hung engine shows. */
  step: v.object({ completed: count, atMs: millis }),
});
export type Heartbeat = v.InferOutput<typeof heartbeatSchema>;

export const usageSchema = v.object({
  promptTokens: count,
  /** Over all choices. */
  completionTokens: count,
  /** Prompt tokens found in the prefix cache. */
  cachedTokens: count,
  /** Output tokens inside the model's reasoning. */
  reasoningTokens: v.optional(count, 0),
  /** Speculation: tokens drafted, and drafts that became output. */
  draftedTokens: v.optional(count, 0),
  acceptedTokens: v.optional(count, 0),
});
export type Usage = v.InferOutput<typeof usageSchema>;
export const NO_USAGE: Usage = {
  ...{ promptTokens: 0, completionTokens: 0, cachedTokens: 0 },
  ...{ reasoningTokens: 0, draftedTokens: 0, acceptedTokens: 0 },
};

/** Milliseconds in each phase, on the worker's monotonic clock. */
export const timingsSchema = v.object({ queueMs: millis, prefillMs: millis, decodeMs: millis });
export type Timings = v.InferOutput<typeof timingsSchema>;

export const finishReasonSchema = v.picklist(['stop', 'length']);
export type FinishReason = v.InferOutput<typeof finishReasonSchema>;

const frameHead = { id: subjectToken, attempt: v.pipe(v.number(), v.integer(), v.minValue(1)) };
const bytes = v.array(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255)));
/** Natural logarithm; −9999 stands for minus infinity, which JSON lacks. */
const tokenLogprob = { id: count, bytes, logprob: millis };
const drawnLogprobs = v.object({ ...tokenLogprob, top: v.array(v.object(tokenLogprob)) });
export type DrawnLogprobs = v.InferOutput<typeof drawnLogprobs>;
const deltaBody = {
  choice: count,
  /** Output index of `ids[0]` within its choice. Makes deltas idempotent: what was seen already is skipped. */
  offset: count,
  ids: tokenIds,
  pieces: v.array(v.string()),
  /** Text of the model's reasoning that became final with each id; left out when there is none. */
  reasoning: v.optional(v.array(v.string())),
  /** One for each id, when asked for. */
  logprobs: v.optional(v.array(drawnLogprobs)),
};

export const frameSchema = v.variant('type', [
  /** `pieces[i]` is the text that became final with `ids[i]`: possibly empty (partial UTF-8, stop prefix). */
  v.object({ type: v.literal('text-delta'), ...frameHead, ...deltaBody }),
  /** `tokens`: the choice's output tokens in all, so that a lost last delta shows. */
  v.object({
    type: v.literal('choice-end'),
    ...frameHead,
    choice: count,
    tokens: count,
    finishReason: finishReasonSchema,
  }),
  /** Terminal: all choices ended. */
  v.object({ type: v.literal('stream-end'), ...frameHead, usage: usageSchema, timings: timingsSchema }),
  /** Terminal: failed or aborted. `usage` covers what was computed. */
  v.object({
    type: v.literal('stream-error'),
    ...frameHead,
    code: errorCode,
    message: v.string(),
    usage: v.optional(usageSchema),
  }),
]);
export type Frame = v.InferOutput<typeof frameSchema>;
export type TextDelta = Extract<Frame, { type: 'text-delta' }>;

/** Worker → gateway shard: everything one step made for that shard, in one message. */
export const frameBatchSchema = v.object({
  v: version,
  worker: subjectToken,
  epoch: subjectToken,
  shard: subjectToken,
  shardEpoch: subjectToken,
  /** 1, 2, 3 … per (worker epoch, shard epoch): a gap means a lost message, so replay. */
  seq: v.pipe(v.number(), v.integer(), v.minValue(1)),
  frames: v.array(frameSchema),
});
export type FrameBatch = v.InferOutput<typeof frameBatchSchema>;

/** Blocks of one message; a snapshot may have as many. */
export const MAX_KV_CHANGES = 16_384;

/**
 * Worker → gateway shard: which text blocks of its requests the KV cache holds now (`tokens`: length of the prompt up
 * to the block's end) and which no longer. Also the reply to `kv-snapshot`: then `stored` is everything held.
 */
export const kvEventsSchema = v.object({
  v: version,
  worker: subjectToken,
  epoch: subjectToken,
  shard: subjectToken,
  /** 1, 2, 3 … per (worker epoch, shard): a gap means a lost message, so ask for a snapshot. There: the last one's. */
  event: count,
  stored: v.pipe(v.array(v.tuple([blockHash, count])), v.maxLength(MAX_KV_CHANGES)),
  evicted: v.pipe(v.array(blockHash), v.maxLength(MAX_KV_CHANGES)),
});
export type KvEvents = v.InferOutput<typeof kvEventsSchema>;

/** Gateway → worker, on control subjects; all but `ack` are request/reply. */
export const controlSchema = v.variant('type', [
  /** Cumulative: every batch up to `seq` has arrived. Renews the lease of (shard, shardEpoch). */
  v.object({ v: version, type: v.literal('ack'), shard: subjectToken, shardEpoch: subjectToken, seq: count }),
  v.object({ v: version, type: v.literal('cancel'), id: subjectToken }),
  /** Send `id` again from these output indexes (one per choice), from now on to this shard and epoch. */
  v.object({
    v: version,
    type: v.literal('replay'),
    id: subjectToken,
    shard: subjectToken,
    shardEpoch: subjectToken,
    offsets: v.pipe(v.array(count), v.minLength(1), v.maxLength(128)),
  }),
  v.object({ v: version, type: v.literal('probe') }),
  /** Answered by KvEvents with all blocks of this shard that are held. */
  v.object({ v: version, type: v.literal('kv-snapshot'), shard: subjectToken }),
  v.object({ v: version, type: v.literal('drain') }),
]);
export type Control = v.InferOutput<typeof controlSchema>;

/** Reply to cancel and replay (`found`: the worker knows the id), drain and ill-formed messages. */
export const controlReplySchema = v.object({ ok: v.boolean(), found: v.optional(v.boolean()) });
export type ControlReply = v.InferOutput<typeof controlReplySchema>;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A lone surrogate in a string becomes U+FFFD on the wire, as everywhere in UTF-8. */
export function encodeMessage(message: object): Uint8Array {
  return encoder.encode(JSON.stringify(message));
}

/** Bytes → message of `schema`, or a MillraceError (`invalid_json`, `invalid_value`) that names the field. */
export function decodeMessage<TSchema extends v.GenericSchema>(
  schema: TSchema,
  bytes: Uint8Array,
): v.InferOutput<TSchema> {
  let json: unknown;
  try {
    json = JSON.parse(decoder.decode(bytes));
  } catch (cause) {
    throw new MillraceError('invalid_json', 'The message is not valid JSON.', { cause });
  }
  const parsed = v.safeParse(schema, json, { abortEarly: true });
  if (parsed.success) return parsed.output;
  const issue = parsed.issues[0];
  throw new MillraceError('invalid_value', `The message is malformed: ${issue.message}`, {
    param: v.getDotPath(issue) ?? undefined,
  });
}

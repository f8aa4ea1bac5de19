/** One request's whole output, kept until some time after its end: the source of truth that replay reads. Knows no gateway. */
import { NO_USAGE, type DrawnLogprobs, type FinishReason, type Frame, type Usage } from '../../shared/protocol.ts';
import type { ChoiceDelta, RequestEnd } from '../engine/messages.ts';

interface ChoiceRecord {
  readonly ids: number[];
  /** [ids]: text that became final with each id. */
  readonly pieces: string[];
  /** [ids], from the first id on that had any; null before. */
  reasoning: string[] | null;
  logprobs: DrawnLogprobs[] | null;
  finish: FinishReason | null;
  /** Of `ids`, how many are out on the present link. */
  published: number;
  finishPublished: boolean;
}

export interface RecordIdentity {
  readonly id: string;
  readonly attempt: number;
  readonly promptTokens: number;
  readonly choices: number;
  /** Output tokens of earlier attempts: this record starts at that output index. */
  readonly firstOffset: number;
}

export interface TakenFrames {
  readonly frames: readonly Frame[];
  /** Upper bound of their JSON. */
  readonly bytes: number;
  /** Nothing new is left. */
  readonly done: boolean;
}

const FRAME_BYTES = 256;
/** An id with its comma, and the quotes and comma of its piece. */
const TOKEN_BYTES = 16;
/** A log probability with its field names. */
const LOGPROB_BYTES = 64;
/** JSON writes one UTF-16 unit in at most six bytes (`\u0000`). */
const UNIT_BYTES = 6;
/** What a record holds beside its output, roughly. */
const RECORD_BYTES = 512;

export class StreamRecord {
  readonly identity: RecordIdentity;
  readonly openedAtMs: number;
  readonly #choices: ChoiceRecord[] = [];
  #end: RequestEnd | null = null;
  #endPublished = false;
  #bytes = RECORD_BYTES;
  endedAtMs: number | null = null;

  constructor(identity: RecordIdentity, nowMs: number) {
    this.identity = identity;
    this.openedAtMs = nowMs;
  }

  /** The engine's id of this attempt. */
  get engineId(): string {
    return `${this.identity.id}.${this.identity.attempt}`;
  }

  get ended(): boolean {
    return this.#end !== null;
  }

  /** Memory it holds, roughly. */
  get bytes(): number {
    return this.#bytes;
  }

  /** What was computed so far. */
  get usage(): Usage {
    const { promptTokens, firstOffset } = this.identity;
    const completionTokens = this.#choices.reduce((sum, { ids }) => sum + ids.length, firstOffset);
    return { ...NO_USAGE, promptTokens, completionTokens };
  }

  append(delta: ChoiceDelta): void {
    const choice = this.#choice(delta.choice);
    const expected = this.identity.firstOffset + choice.ids.length;
    if (delta.offset !== expected) throw new Error(`${delta.id}: output ${delta.offset} after ${expected}`);
    choice.ids.push(...delta.ids);
    choice.pieces.push(...delta.pieces);
    choice.finish = delta.finish;
    this.#appendExtras(choice, delta);
    for (const piece of delta.pieces) this.#bytes += TOKEN_BYTES + 2 * piece.length;
  }

  #appendExtras(choice: ChoiceRecord, { ids, reasoning, logprobs }: ChoiceDelta): void {
    if (reasoning !== null) choice.reasoning ??= Array.from(choice.ids.slice(ids.length), () => '');
    choice.reasoning?.push(...(reasoning ?? ids.map(() => '')));
    for (const text of reasoning ?? []) this.#bytes += TOKEN_BYTES + 2 * text.length;
    if (logprobs === null) return;
    choice.logprobs ??= [];
    choice.logprobs.push(...logprobs);
    for (const each of logprobs) this.#bytes += logprobBytes(each);
  }

  end(end: RequestEnd, nowMs: number): void {
    if (this.#end !== null) return;
    this.#end = end;
    this.endedAtMs = nowMs;
  }

  /** What is new since the last call, in order, the terminal frame last; stops soon after `maxBytes` (at least 1). */
  takeFrames(maxBytes: number): TakenFrames {
    const head = { id: this.identity.id, attempt: this.identity.attempt };
    const frames: Frame[] = [];
    let bytes = 0;
    for (const [index, choice] of this.#choices.entries()) {
      const from = choice.published;
      let to = from;
      for (; to < choice.ids.length && bytes < maxBytes; to++) {
        bytes += TOKEN_BYTES + UNIT_BYTES * ((choice.pieces[to] ?? '').length + (choice.reasoning?.[to] ?? '').length);
        const drawn = choice.logprobs?.[to];
        if (drawn !== undefined) bytes += logprobBytes(drawn);
      }
      if (to > from) {
        const [ids, pieces] = [choice.ids.slice(from, to), choice.pieces.slice(from, to)];
        const offset = this.identity.firstOffset + from;
        const reasoning = choice.reasoning?.slice(from, to) ?? [];
        const extras = {
          ...(reasoning.some((text) => text !== '') ? { reasoning } : {}),
          ...(choice.logprobs === null ? {} : { logprobs: choice.logprobs.slice(from, to) }),
        };
        frames.push({ type: 'text-delta', ...head, choice: index, offset, ids, pieces, ...extras });
        choice.published = to;
      }
      if (to < choice.ids.length) return { frames, bytes: bytes + frames.length * FRAME_BYTES, done: false };
      if (choice.finish === null || choice.finishPublished) continue;
      const tokens = this.identity.firstOffset + choice.ids.length;
      frames.push({ type: 'choice-end', ...head, choice: index, tokens, finishReason: choice.finish });
      choice.finishPublished = true;
    }
    if (this.#end !== null && !this.#endPublished) {
      frames.push(terminalFrame(head, this.#end));
      this.#endPublished = true;
    }
    return { frames, bytes: bytes + frames.length * FRAME_BYTES, done: true };
  }

  /** The next `takeFrames` starts again from these output indexes, one per choice, or where this attempt began. */
  rewind(offsets: readonly number[]): void {
    for (const [index, choice] of this.#choices.entries()) {
      const from = (offsets[index] ?? 0) - this.identity.firstOffset;
      choice.published = Math.max(0, Math.min(from, choice.ids.length));
      choice.finishPublished = false;
    }
    this.#endPublished = false;
  }

  #choice(index: number): ChoiceRecord {
    for (let next = this.#choices.length; next <= index; next++) {
      const empty = { ids: [], pieces: [], reasoning: null, logprobs: null };
      this.#choices.push({ ...empty, finish: null, published: 0, finishPublished: false });
    }
    const choice = this.#choices[index];
    if (choice === undefined) throw new Error(`no choice ${index}`);
    return choice;
  }
}

/** JSON of a token's log probabilities and its alternatives', at most. */
function logprobBytes({ bytes, top }: DrawnLogprobs): number {
  return LOGPROB_BYTES + 4 * bytes.length + top.reduce((sum, each) => sum + LOGPROB_BYTES + 4 * each.bytes.length, 0);
}

/** The engine's id carries the attempt; frames carry the client's id and the attempt beside it. */
function terminalFrame(head: { readonly id: string; readonly attempt: number }, end: RequestEnd): Frame {
  if (end.type === 'done') return { type: 'stream-end', ...head, usage: end.usage, timings: end.timings };
  return { type: 'stream-error', ...head, code: end.code, message: end.message, usage: end.usage };
}

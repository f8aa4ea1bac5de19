/** Which marked prefixes the KV cache holds, by asking it now and then; says what changed. Knows no tensors and no bus. */
import type { KvCache } from '../kv/kv-cache.ts';
import type { PrefixChanges, PrefixMark } from './prefix-mark.ts';

/** Bookkeeping may find so many tokens fewer than there are: it looks for whole pieces and leaves the last token. */
const SLACK = 17;
/** A round of questions begins so long after the one before it. Milliseconds. */
const ROUND_INTERVAL_MS = 1_000;

/** What it needs of a request. */
export interface MarkedRequest {
  readonly id: string;
  readonly cacheSalt: string;
  readonly promptIds: Int32Array;
  readonly marks?: readonly PrefixMark[];
}

export interface MarkTableOptions {
  readonly kv: Pick<KvCache, 'match'>;
  /** Held marks that are kept; the least recently used ones then count as evicted. */
  readonly maxMarks: number;
  /** Of all prompts together: the cache cannot hold many more tokens than it has room for. */
  readonly maxTokens: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/** A prompt with the marks it was the latest to bring, all of them held when last asked. */
interface MarkedPrompt {
  readonly salt: string;
  readonly tokens: Int32Array;
  /** Tokens by hash. */
  readonly held: Map<string, number>;
}

export class MarkTable {
  readonly #options: MarkTableOptions;
  /** Least recently used first. */
  readonly #prompts = new Set<MarkedPrompt>();
  readonly #byHash = new Map<string, MarkedPrompt>();
  /** Requests that have computed nothing for sure, by id. */
  readonly #waiting = new Map<string, MarkedRequest>();
  #tokens = 0;
  #stored = new Map<string, number>();
  #evicted = new Set<string>();
  /** Prompts still to be asked about in this round. */
  #round: MarkedPrompt[] = [];
  #roundAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: MarkTableOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#byHash.size;
  }

  add(request: MarkedRequest): void {
    if (request.marks !== undefined && request.marks.length > 0) this.#waiting.set(request.id, request);
  }

  /** Its prompt is computed, or it ended: what of it is held shows now. Further calls do nothing. */
  settle(id: string): void {
    const request = this.#waiting.get(id);
    if (request === undefined) return;
    this.#waiting.delete(id);
    const { cacheSalt: salt, promptIds: tokens, marks = [] } = request;
    const prompt: MarkedPrompt = { salt, tokens, held: new Map() };
    const matched = this.#match(prompt);
    for (const mark of marks) {
      if (mark.tokens - SLACK > matched) continue;
      this.#store(mark);
      prompt.held.set(mark.hash, mark.tokens);
      this.#byHash.set(mark.hash, prompt);
    }
    if (prompt.held.size === 0) return;
    this.#prompts.add(prompt);
    this.#tokens += tokens.length;
    this.#bound();
  }

  /** Asks about some prompts, for `budgetMs`; true when there are more in this round. `afresh`: a new round begins. */
  check(budgetMs: number, afresh = false): boolean {
    const begin = this.#options.now();
    const due = this.#round.length === 0 && begin - this.#roundAtMs >= ROUND_INTERVAL_MS;
    if (due || afresh) {
      this.#roundAtMs = begin;
      this.#round = [...this.#prompts];
    }
    while (this.#round.length > 0) {
      const prompt = this.#round.pop();
      if (prompt !== undefined && this.#prompts.has(prompt)) this.#ask(prompt);
      if (this.#options.now() - begin >= budgetMs) break;
    }
    return this.#round.length > 0;
  }

  /** What was found held since the last call, known before or not, and what is not any more; null when there is neither. */
  take(): PrefixChanges | null {
    if (this.#stored.size + this.#evicted.size === 0) return null;
    const stored = Array.from(this.#stored, ([hash, tokens]) => ({ hash, tokens }));
    const changes = { stored, evicted: [...this.#evicted] };
    this.#stored = new Map();
    this.#evicted = new Set();
    return changes;
  }

  #match({ salt, tokens }: MarkedPrompt): number {
    return this.#options.kv.match({ sequence: 0, salt, tokens });
  }

  #ask(prompt: MarkedPrompt): void {
    const matched = this.#match(prompt);
    for (const [hash, tokens] of prompt.held) if (tokens - SLACK > matched) this.#evict(hash, prompt);
    if (prompt.held.size === 0) this.#forget(prompt);
  }

  /** The latest prompt with a mark keeps it: it is longer, or used last. */
  #store({ hash, tokens }: PrefixMark): void {
    const before = this.#byHash.get(hash);
    this.#stored.set(hash, tokens);
    this.#evicted.delete(hash);
    before?.held.delete(hash);
    if (before?.held.size === 0) this.#forget(before);
  }

  #evict(hash: string, prompt: MarkedPrompt): void {
    prompt.held.delete(hash);
    this.#byHash.delete(hash);
    this.#stored.delete(hash);
    this.#evicted.add(hash);
  }

  #forget(prompt: MarkedPrompt): void {
    if (this.#prompts.delete(prompt)) this.#tokens -= prompt.tokens.length;
  }

  #bound(): void {
    const { maxMarks, maxTokens } = this.#options;
    for (const prompt of this.#prompts) {
      if (this.#byHash.size <= maxMarks && this.#tokens <= maxTokens) return;
      for (const hash of prompt.held.keys()) this.#evict(hash, prompt);
      this.#forget(prompt);
    }
  }
}

/** Test support: an engine in this thread that puts out what a test tells it to, when it tells it. */
import type { OutputsEvent } from '../../gpu-worker/engine/engine-client.ts';
import type { ChoiceDelta, EngineInfo, EngineRequest, RequestEnd } from '../../gpu-worker/engine/messages.ts';
import type { ServingEngine } from '../../gpu-worker/serving.ts';
import type { ErrorCode } from '../../shared/errors.ts';
import { NO_USAGE } from '../../shared/protocol.ts';

const PLAIN = { reasoning: null, logprobs: null };
const NO_KV = { capacity: 16_384, live: 0, cached: 0, pinned: 0, prefixQueries: 0, prefixHits: 0 };
const TIMINGS = { queueMs: 1, prefillMs: 2, decodeMs: 3 };

/** Token k of a request's output is k, its text `<k>`. */
export class ScriptedEngine implements ServingEngine {
  readonly info: EngineInfo;
  /** Live requests by engine id, with the output so far. */
  readonly live = new Map<string, { readonly request: EngineRequest; output: number }>();
  /** Aborts in order. */
  readonly aborts: { readonly id: string; readonly code: ErrorCode }[] = [];
  /** False: a hung engine, which hears nothing. */
  obeys = true;
  readonly #listeners: ((event: OutputsEvent) => void)[] = [];

  constructor(info: Partial<EngineInfo> = {}) {
    const kv = { kind: 'slots' as const, blocks: 4, blockSize: 4096, capacityTokens: 4 * 4096 };
    const base = { vocabSize: 512, maxModelLen: 4096, maxNumSeqs: 4, maxStepTokens: 512, kv };
    this.info = { ...base, eosIds: [], fingerprint: 'scripted', loadMs: 0, ...info };
  }

  add(request: EngineRequest): void {
    this.live.set(request.id, { request, output: request.generatedIds.length });
  }

  abort(id: string, code: ErrorCode, message: string): void {
    this.aborts.push({ id, code });
    const entry = this.live.get(id);
    if (!this.obeys || entry === undefined) return;
    this.live.delete(id);
    this.#emit([], [{ type: 'error', id, code, message, usage: usageOf(entry) }]);
  }

  onOutputs(listener: (event: OutputsEvent) => void): void {
    this.#listeners.push(listener);
  }

  lastStep() {
    return { completed: 0, atMs: 0, runningSinceMs: null };
  }

  /** One step: every live request (or the named one) puts out `count` tokens. */
  step(count = 1, only?: string): void {
    const deltas: ChoiceDelta[] = [];
    for (const [id, entry] of this.live) {
      if (only !== undefined && id !== only) continue;
      const ids = Array.from({ length: count }, (_, i) => entry.output + i);
      const pieces = ids.map((k) => `<${k}>`);
      deltas.push({ id, choice: 0, offset: entry.output, ids, pieces, ...PLAIN, finish: null });
      entry.output += count;
    }
    this.#emit(deltas, []);
  }

  /** The request puts out its last token and ends well. */
  finish(id: string): void {
    const entry = this.live.get(id);
    if (entry === undefined) throw new Error(`${id} is not live`);
    this.live.delete(id);
    const offset = entry.output++;
    const delta: ChoiceDelta = {
      ...{ id, choice: 0, offset, ids: [offset], pieces: [`<${offset}>`], ...PLAIN, finish: 'stop' as const },
    };
    this.#emit([delta], [{ type: 'done', id, usage: usageOf(entry), timings: TIMINGS }]);
  }

  #emit(deltas: readonly ChoiceDelta[], ends: readonly RequestEnd[]): void {
    const running = Math.min(this.info.maxNumSeqs, this.live.size);
    const waiting = this.live.size - running;
    const load = { running, waiting, queuedPrefillTokens: 0, kv: NO_KV };
    for (const listener of this.#listeners) listener({ type: 'outputs', deltas, ends, load, step: null });
  }
}

function usageOf({ request, output }: { readonly request: EngineRequest; readonly output: number }) {
  return { ...NO_USAGE, promptTokens: request.promptIds.length, completionTokens: output };
}

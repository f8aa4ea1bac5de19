/** An Engine in this process, stepped by hand; keeps what came out and when. Knows no measure. */
import { performance } from 'node:perf_hooks';
import type { EnginePolicy } from '../../../gpu-worker/engine/engine-options.ts';
import { Engine, type EngineParts } from '../../../gpu-worker/engine/engine.ts';
import type { ChoiceDelta, EngineRequest, RequestEnd } from '../../../gpu-worker/engine/messages.ts';
import type { Usage } from '../../../shared/protocol.ts';
import type { BenchModel } from './bench.ts';
import type { StepRecord } from './step-profile.ts';

export interface Output {
  readonly ids: number[];
  /** One for each step that brought tokens, milliseconds of one monotonic clock. */
  readonly arrivalsMs: number[];
  /** Null until it has ended. */
  usage: Usage | null;
}

export interface RunRecord {
  /** In the order of the requests. */
  readonly outputs: readonly Output[];
  readonly steps: readonly StepRecord[];
  /** From the first request added to the last one ended. */
  readonly ms: number;
}

export interface LoopOptions {
  readonly policy: Pick<EnginePolicy, 'mode' | 'prefixCaching' | 'speculation'>;
  readonly maskFor?: NonNullable<EngineParts['maskFor']>;
}

/** Steps in a row that may run nothing while requests are there. */
const MAX_IDLE_STEPS = 100;

/**
 * A new loop knows nothing of what others left in the runner's KV, so of two loops on one runner that take turns
 * neither may cache prefixes.
 */
export class EngineLoop {
  readonly #engine: Engine;
  readonly #maxModelLen: number;
  readonly #open = new Map<string, Output>();

  constructor({ runner, tokenBytes }: Pick<BenchModel, 'runner' | 'tokenBytes'>, { policy, maskFor }: LoopOptions) {
    this.#maxModelLen = runner.info.maxModelLen;
    this.#engine = new Engine({
      ...{ runner, tokenBytes, now: Date.now, policy: { ...policy, ttftMs: null, itlMs: null } },
      ...(maskFor === undefined ? {} : { maskFor }),
    });
  }

  /** Requests that have not ended. */
  get open(): number {
    return this.#open.size;
  }

  /** Grows while the loop steps. Throws for a request that the model has no room for: it would wait for ever. */
  add(request: EngineRequest): Output {
    const most = request.promptIds.length + request.params.maxTokens;
    if (most > this.#maxModelLen) {
      throw new Error(`request ${request.id} needs ${most} tokens, the model has ${this.#maxModelLen}`);
    }
    const output: Output = { ids: [], arrivalsMs: [], usage: null };
    this.#open.set(request.id, output);
    this.#engine.add(request);
    return output;
  }

  /** Ends whatever is there. */
  abortAll(): void {
    for (const id of this.#open.keys())
      this.#engine.abort(id, { code: 'request_cancelled', message: 'No longer needed.' });
    this.#open.clear();
    this.#engine.takeOutputs();
  }

  /** Null: nothing ran. Throws when a request failed. */
  step(): StepRecord | null {
    const begin = performance.now();
    const { deltas, ends, step } = this.#engine.step();
    const now = performance.now();
    for (const delta of deltas) this.#receive(delta, now);
    for (const end of ends) this.#end(end);
    return step === null ? null : { wallMs: now - begin, stats: step };
  }

  /** At most `concurrency` at once, the next when one has ended; throws unless each has the tokens it asked for. */
  run(requests: readonly EngineRequest[], concurrency = requests.length): RunRecord {
    const begin = performance.now();
    const outputs: Output[] = [];
    const steps: StepRecord[] = [];
    let idle = 0;
    while (outputs.length < requests.length || this.#open.size > 0) {
      for (const request of requests.slice(outputs.length, outputs.length + concurrency - this.#open.size)) {
        outputs.push(this.add(request));
      }
      const step = this.step();
      idle = step === null ? idle + 1 : 0;
      if (idle > MAX_IDLE_STEPS) throw new Error(`the engine runs none of ${this.#open.size} requests`);
      if (step !== null) steps.push(step);
    }
    const ms = performance.now() - begin;
    requests.forEach((request, i) => checkCount(request, outputs[i]));
    return { outputs, steps, ms };
  }

  #receive({ id, ids }: ChoiceDelta, now: number): void {
    const output = this.#open.get(id);
    if (output === undefined || ids.length === 0) return;
    output.ids.push(...ids);
    output.arrivalsMs.push(now);
  }

  #end(end: RequestEnd): void {
    const output = this.#open.get(end.id);
    if (output === undefined) return;
    this.#open.delete(end.id);
    if (end.type === 'error') throw new Error(`the engine ended request ${end.id}: ${end.message}`);
    output.usage = end.usage;
  }
}

function checkCount({ id, params }: EngineRequest, output: Output | undefined): void {
  const tokens = output?.ids.length ?? 0;
  const exact = params.eosIds.length === 0;
  if (tokens === params.maxTokens || (!exact && tokens > 0 && tokens < params.maxTokens)) return;
  throw new Error(`request ${id} had ${tokens} tokens instead of ${params.maxTokens}`);
}

export function outputTokens({ outputs }: RunRecord): number {
  return outputs.reduce((sum, { ids }) => sum + ids.length, 0);
}

export function tokensPerSecond(run: RunRecord): number {
  return (outputTokens(run) * 1000) / run.ms;
}

/** Outputs that differ, by their place. */
export function differing(a: readonly Pick<Output, 'ids'>[], b: readonly Pick<Output, 'ids'>[]): readonly number[] {
  return [...a.keys()].filter((i) => a[i]?.ids.join() !== b[i]?.ids.join());
}

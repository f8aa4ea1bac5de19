/** Test support: engine requests with defaults, byte tokens, and a loop that runs an engine dry. */
import type { EnginePolicy } from '../../gpu-worker/engine/engine-options.ts';
import { Engine, type EngineParts } from '../../gpu-worker/engine/engine.ts';
import type {
  ChoiceDelta,
  EngineRequest,
  EngineSampling,
  RequestEnd,
  StepStats,
} from '../../gpu-worker/engine/messages.ts';
import type { ModelRunner } from '../../gpu-worker/engine/runner.ts';
import { TokenBytes } from '../../gpu-worker/text/detokenizer.ts';

/** Token i is byte i. */
export const BYTE_TOKENS = new TokenBytes(Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)));

/** Greedy, seed 1, 16 tokens, nothing else. */
export const PLAIN_SAMPLING: EngineSampling = {
  ...{ maxTokens: 16, minTokens: 0, temperature: 0, topP: 1, topK: 0, minP: 0, seed: 1 },
  ...{ repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0, logitBias: [], logprobs: null },
  ...{ stop: [], stopTokenIds: [], eosIds: [] },
};

export interface RequestOverrides extends Partial<Omit<EngineRequest, 'params' | 'promptIds'>> {
  readonly promptIds: ArrayLike<number>;
  readonly params?: Partial<EngineSampling>;
}

export function engineRequest(id: string, { promptIds, params, ...rest }: RequestOverrides): EngineRequest {
  return {
    ...{ id, tenant: 't', cacheSalt: 't', generatedIds: [], n: 1, speculation: 'auto' as const },
    ...{ deadlineMs: Infinity, priority: 0, reasoning: null },
    ...rest,
    promptIds: Int32Array.from(promptIds),
    params: { ...PLAIN_SAMPLING, ...params },
  };
}

export const PLAIN_POLICY: EnginePolicy = {
  ...{ mode: 'throughput', prefixCaching: true, speculation: 'auto', ttftMs: null, itlMs: null },
};

export interface Collected {
  readonly ids: number[];
  text: string;
  readonly deltas: ChoiceDelta[];
  readonly ends: RequestEnd[];
}

export interface WorldOptions extends Partial<Omit<EngineParts, 'runner' | 'policy'>> {
  readonly policy?: Partial<EnginePolicy>;
}

export class EngineWorld {
  readonly engine: Engine;
  readonly steps: StepStats[] = [];
  /** Ids in the order of their ends. */
  readonly finished: string[] = [];
  readonly #outputs = new Map<string, Collected>();

  constructor(runner: ModelRunner, { policy, ...parts }: WorldOptions = {}) {
    const plain = { tokenBytes: BYTE_TOKENS, now: () => 0 };
    this.engine = new Engine({ ...plain, ...parts, runner, policy: { ...PLAIN_POLICY, ...policy } });
  }

  /** Output of a request; of its choice 0 where it has several. */
  of(id: string, choice = 0): Collected {
    const key = `${id}/${choice}`;
    const collected = this.#outputs.get(key) ?? { ids: [], text: '', deltas: [], ends: [] };
    this.#outputs.set(key, collected);
    return collected;
  }

  step(): void {
    const { deltas, ends, step } = this.engine.step();
    for (const delta of deltas) {
      const collected = this.of(delta.id, delta.choice);
      const expected = (collected.deltas[0]?.offset ?? delta.offset) + collected.ids.length;
      if (delta.offset !== expected) throw new Error(`${delta.id}: offset ${delta.offset}, not ${expected}`);
      collected.ids.push(...delta.ids);
      collected.text += delta.pieces.join('');
      collected.deltas.push(delta);
    }
    for (const end of ends) this.of(end.id).ends.push(end);
    this.finished.push(...ends.map(({ id }) => id));
    if (step !== null) this.steps.push(step);
    const broken = this.engine.violations();
    if (broken.length > 0) throw new Error(broken.join('; '));
  }

  runDry(): void {
    for (let steps = 0; this.engine.busy; steps++) {
      if (steps > 100_000) throw new Error('the engine does not come to an end');
      this.step();
    }
  }
}

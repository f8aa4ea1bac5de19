/** Test support: engine requests with defaults, byte tokens, and a loop that runs an engine dry. */
import { Engine } from '../../gpu-worker/engine/engine.ts';
import type { EngineRequest, RequestEnd } from '../../gpu-worker/engine/messages.ts';
import type { ModelRunner } from '../../gpu-worker/engine/runner.ts';
import { TokenBytes } from '../../gpu-worker/text/detokenizer.ts';
import { DEFAULT_SAMPLING } from '../../shared/sampling.ts';

/** Token i is byte i. */
export const BYTE_TOKENS = new TokenBytes(Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)));

export interface RequestOverrides extends Partial<Omit<EngineRequest, 'params' | 'promptIds'>> {
  readonly promptIds: ArrayLike<number>;
  readonly params?: Partial<EngineRequest['params']>;
}

export function engineRequest(id: string, { promptIds, params, ...rest }: RequestOverrides): EngineRequest {
  return {
    ...{ id, tenant: 't', generatedIds: [], deadlineMs: Infinity, priority: 0 },
    ...rest,
    promptIds: Int32Array.from(promptIds),
    params: { ...DEFAULT_SAMPLING, temperature: 0, maxTokens: 16, seed: 1, ...params },
  };
}

export interface Collected {
  readonly ids: number[];
  text: string;
  readonly ends: RequestEnd[];
}

export class EngineWorld {
  readonly engine: Engine;
  readonly #outputs = new Map<string, Collected>();

  constructor(runner: ModelRunner, options: { readonly maxStepTokens?: number; readonly now?: () => number } = {}) {
    this.engine = new Engine({ runner, tokenBytes: BYTE_TOKENS, maxStepTokens: 64, now: () => 0, ...options });
  }

  of(id: string): Collected {
    const collected = this.#outputs.get(id) ?? { ids: [], text: '', ends: [] };
    this.#outputs.set(id, collected);
    return collected;
  }

  step(): void {
    const { deltas, ends } = this.engine.step();
    for (const delta of deltas) {
      const collected = this.of(delta.id);
      if (delta.offset !== collected.ids.length)
        throw new Error(`${delta.id}: offset ${delta.offset} after ${collected.ids.length}`);
      collected.ids.push(...delta.ids);
      collected.text += delta.pieces.join('');
    }
    for (const end of ends) this.of(end.id).ends.push(end);
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

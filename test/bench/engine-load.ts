/** The engine alone as a target: requests straight into its thread. The only file here that knows the engine's messages. */
import { readConfig } from '../../gpu-worker/config.ts';
import { EngineClient, type OutputsEvent } from '../../gpu-worker/engine/engine-client.ts';
import type { EngineSampling } from '../../gpu-worker/engine/messages.ts';
import { TEMPERATURE, type BenchRequest } from './closed-loop.ts';
import { TraceRecorder, type StreamTrace } from './trace.ts';

const SAMPLING: EngineSampling = {
  ...{ maxTokens: 1, minTokens: 0, temperature: TEMPERATURE, topP: 1, topK: 0, minP: 0, seed: null },
  ...{ repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0, logitBias: [], logprobs: null },
  // Generates through end-of-sequence tokens.
  ...{ stop: [], stopTokenIds: [], eosIds: [] },
};

interface Stream {
  readonly trace: TraceRecorder;
  tokens: number;
  readonly resolve: (trace: StreamTrace) => void;
  readonly reject: (error: Error) => void;
}

export class EngineTarget implements AsyncDisposable {
  readonly #engine: EngineClient;
  readonly #streams = new Map<string, Stream>();
  #sent = 0;

  /** `flags`: the worker's, so that both sides run the same configuration. */
  static async start(flags: readonly string[]): Promise<EngineTarget> {
    const config = readConfig(flags, {});
    if (config === null) throw new Error('the worker’s flags ask for help');
    return new EngineTarget(await EngineClient.start({ ...config, folder: config.model }));
  }

  private constructor(engine: EngineClient) {
    this.#engine = engine;
    engine.onOutputs((event) => this.#receive(event));
    engine.onFatal((message) => {
      for (const { reject } of this.#streams.values()) reject(new Error(`the engine failed: ${message}`));
    });
  }

  get vocabSize(): number {
    return this.#engine.info.vocabSize;
  }

  send({ prompt, maxTokens, seed }: BenchRequest): Promise<StreamTrace> {
    const id = `r${this.#sent++}`;
    return new Promise((resolve, reject) => {
      this.#streams.set(id, { trace: new TraceRecorder(), tokens: 0, resolve, reject });
      this.#engine.add({
        ...{ id, tenant: 'bench', cacheSalt: '', promptIds: prompt.ids, generatedIds: [], n: 1, reasoning: null },
        ...{ speculation: 'auto', deadlineMs: Infinity, priority: 0 },
        params: { ...SAMPLING, maxTokens, seed },
      });
    });
  }

  #receive({ deltas, ends }: OutputsEvent): void {
    for (const { id, ids, pieces } of deltas) {
      const stream = this.#streams.get(id);
      if (stream === undefined) continue;
      stream.tokens += ids.length;
      if (pieces.some((piece) => piece !== '')) stream.trace.arrive();
    }
    for (const end of ends) {
      const stream = this.#streams.get(end.id);
      this.#streams.delete(end.id);
      if (end.type === 'done') stream?.resolve(stream.trace.end(stream.tokens));
      else stream?.reject(new Error(`the engine ended a request: ${end.message}`));
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#engine.shutdown();
  }
}

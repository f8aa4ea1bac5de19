/** What is measured on a GPU through the engine: decode steps by batch, offline throughput, the first token. Prints nothing. */
import { performance } from 'node:perf_hooks';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import type { EngineSampling } from '../../../gpu-worker/engine/messages.ts';
import { TokenBytes } from '../../../gpu-worker/text/detokenizer.ts';
import { engineRequest } from '../../support/engine-world.ts';
import { EngineLoop, tokensPerSecond } from '../engine/engine-loop.ts';
import { randomIds } from '../engine/random-ids.ts';
import { median, percentile } from '../rounds.ts';

export interface DecodeFigure {
  readonly batch: number;
  readonly context: number;
  /** Wall time of a step, median and 90th percentile. */
  readonly stepMs: number;
  readonly p90Ms: number;
  /** What the GPU was busy with of it. */
  readonly gpuMs: number;
  readonly tokensPerSecond: number;
  /** GPU time of all steps over their wall time. */
  readonly busy: number;
}

export interface ThroughputFigure {
  readonly requests: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly tokensPerSecond: number;
  readonly seconds: number;
  readonly steps: number;
  readonly preemptions: number;
}

const POLICY = { mode: 'throughput', prefixCaching: false, speculation: 'off' } as const;
/** The usual setting of offline examples; unseeded, so the GPU draws. */
const SAMPLING: Partial<EngineSampling> = { temperature: 0.7, seed: null };
/** Steps not counted at first: the batch's CUDA graph is captured in one of them. */
const WARM_UP = 8;
/** Tokens that those who start first may have before the last one has its first. */
const RAMP = 64;

export class GpuBench {
  readonly #runner: ModelRunner;
  readonly #tokenBytes: TokenBytes;
  readonly #sampling: Partial<EngineSampling>;
  #requests = 0;

  /** `sampling`: beside the usual, of every request. */
  constructor(runner: ModelRunner, sampling: Partial<EngineSampling> = {}) {
    this.#runner = runner;
    this.#sampling = { ...SAMPLING, ...sampling };
    const text = Array.from({ length: runner.info.vocabSize }, (_, id) => Buffer.from(` ${id.toString(36)}`));
    this.#tokenBytes = new TokenBytes(text);
  }

  decode(batch: number, { context, steps }: { context: number; steps: number }): DecodeFigure {
    const loop = this.#loop();
    const outputs = this.#texts(batch, context, WARM_UP + steps + RAMP).map((request) => loop.add(request));
    while (outputs.some(({ ids }) => ids.length === 0)) loop.step();
    for (let step = 0; step < WARM_UP; step++) loop.step();
    const wall: number[] = [];
    const gpu: number[] = [];
    for (let step = 0; step < steps; step++) {
      const record = loop.step();
      if (record === null || record.stats.decodeRows !== batch) continue;
      wall.push(record.wallMs);
      gpu.push(record.stats.runMs);
    }
    while (loop.open > 0) loop.step();
    const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);
    const stepMs = median(wall);
    return {
      ...{ batch, context, stepMs, p90Ms: percentile(wall, 0.9), gpuMs: median(gpu) },
      tokensPerSecond: (batch * 1000) / (total(wall) / wall.length),
      busy: total(gpu) / total(wall),
    };
  }

  throughput(requests: number, promptTokens: number, outputTokens: number): ThroughputFigure {
    // As a server that is up: CUDA graphs of these batches are captured.
    this.#loop().run(this.#texts(requests, promptTokens, WARM_UP));
    const run = this.#loop().run(this.#texts(requests, promptTokens, outputTokens));
    const preemptions = run.steps.reduce((sum, { stats }) => sum + stats.preemptions, 0);
    return {
      ...{ requests, promptTokens, outputTokens, tokensPerSecond: tokensPerSecond(run), seconds: run.ms / 1000 },
      ...{ steps: run.steps.length, preemptions },
    };
  }

  /** Milliseconds from adding one request to its first token, median. */
  firstToken(promptTokens: number, rounds: number): number {
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const loop = this.#loop();
      const [request] = this.#texts(1, promptTokens, 1);
      if (request === undefined) break;
      const begin = performance.now();
      const output = loop.add(request);
      while (output.ids.length === 0) loop.step();
      times.push(performance.now() - begin);
      while (loop.open > 0) loop.step();
    }
    return median(times);
  }

  #loop(): EngineLoop {
    return new EngineLoop({ runner: this.#runner, tokenBytes: this.#tokenBytes }, { policy: POLICY });
  }

  #texts(count: number, promptTokens: number, maxTokens: number): ReturnType<typeof engineRequest>[] {
    return Array.from({ length: count }, () => {
      const id = `gpu ${this.#requests++}`;
      const promptIds = randomIds(id, promptTokens, this.#runner.info.vocabSize);
      return engineRequest(id, { promptIds, speculation: 'off', params: { ...this.#sampling, maxTokens } });
    });
  }
}

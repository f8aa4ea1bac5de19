/** What every measure is given: how much to do, the model that they share, progress. Measures nothing. */
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import type { ModelRunner } from '../../../gpu-worker/engine/runner.ts';
import { openModel, type RunnerOptions } from '../../../gpu-worker/model/load.ts';
import { TokenBytes } from '../../../gpu-worker/text/detokenizer.ts';
import { Eta, type Progress } from '../progress.ts';
import { openRandomModel } from '../random-model.ts';
import { interleave } from '../rounds.ts';

export interface BenchModel extends Disposable {
  readonly runner: ModelRunner;
  readonly tokenBytes: TokenBytes;
  /** A Hugging Face folder with the tokenizer that texts are encoded by; its ids are below the model's vocabulary. */
  readonly tokenizerFolder: string;
  /** Float32 weights: a token depends on no other row of its step. Rounded ones come to other last bits by its shape. */
  readonly exact: boolean;
}

export interface BenchSize {
  readonly rounds: number;
  /** Everything tiny, on a tiny model: the figures mean nothing. */
  readonly quick: boolean;
  /** Requests of the prefix measure; null = its own number. */
  readonly requests: number | null;
  /** Inside the model. */
  readonly threads: number;
}

const folderOf = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
export const EMBEDDED_FOLDER = folderOf('models/millrace-mini');
const TINY_FOLDER = folderOf('test/fixtures/tiny-llama');

/** As the worker's defaults have them, but for more sequences, and memory that the KV of all measures fits in. */
const RUNNER: Omit<RunnerOptions, 'threads'> = {
  ...{ quantization: 'int4', maxNumSeqs: 64, kvCacheTokens: 98_304, maxModelLen: 2560 },
  maxStepTokens: 512,
};

export class Bench implements Disposable {
  readonly size: BenchSize;
  readonly #progress: Progress;
  #label = '';
  readonly #faults: string[] = [];
  #model: BenchModel | null = null;

  constructor(size: BenchSize, progress: Progress) {
    this.size = size;
    this.#progress = progress;
  }

  /** What the progress lines begin with. */
  begin(label: string): void {
    this.#label = label;
  }

  readonly show = (text: string): void => this.#progress.show(`${this.#label}: ${text}`);

  /** Something came out wrong, but what was measured still says something. */
  fault(text: string): void {
    this.#faults.push(text);
  }

  /** Since the last call. */
  takeFaults(): readonly string[] {
    return this.#faults.splice(0);
  }

  /** Qwen2.5-0.5B's shape, random int4 weights, opened when it is first asked for; read with the embedded tokenizer. */
  get model(): BenchModel {
    this.#model ??= this.size.quick ? this.#tiny() : this.#random();
    return this.#model;
  }

  /** The embedded model as it is served; whoever opens it disposes of it. */
  openEmbedded(): BenchModel {
    return this.size.quick ? this.#tiny() : this.#folder(EMBEDDED_FOLDER);
  }

  /** Every side once a round, in turn, with the time that is left. */
  async eachRound<T extends string>(sides: readonly T[], run: (side: T, round: number) => unknown): Promise<void> {
    const { rounds } = this.size;
    const eta = new Eta(sides.length * rounds);
    for (const { round, variant: side } of interleave(sides, rounds)) {
      this.show(`${side}, round ${round + 1} of ${rounds}; ${eta.text}`);
      const begin = performance.now();
      await run(side, round);
      eta.done(1, performance.now() - begin);
    }
  }

  [Symbol.dispose](): void {
    this.#model?.[Symbol.dispose]();
    this.#model = null;
  }

  #random(): BenchModel {
    this.show('opening a random model of Qwen2.5-0.5B’s shape');
    const runner = openRandomModel('qwen2.5-0.5b', { ...RUNNER, threads: this.size.threads });
    return benchModel(runner, { tokenizerFolder: EMBEDDED_FOLDER, exact: false });
  }

  #tiny(): BenchModel {
    return this.#folder(TINY_FOLDER);
  }

  #folder(folder: string): BenchModel {
    const { threads } = this.size;
    const runner = openModel({ ...RUNNER, threads, quantization: 'none', folder });
    return benchModel(runner, { tokenizerFolder: folder, exact: true });
  }
}

function benchModel(runner: ModelRunner, rest: Pick<BenchModel, 'tokenizerFolder' | 'exact'>): BenchModel {
  const tokenBytes = TokenBytes.fromFolder(rest.tokenizerFolder);
  return { runner, tokenBytes, ...rest, [Symbol.dispose]: () => runner.dispose() };
}

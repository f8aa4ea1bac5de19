/** How well a model foretells texts: its decoder over one slot, without sampler or engine. Knows no text. */
import type { ModelConfig } from '../model/config.ts';
import { CpuDecoder } from '../model/cpu-decoder.ts';
import { measureRanges } from '../model/kv-calibration.ts';
import { int8Scales } from '../model/kv-ranges.ts';
import type { KvRounding } from '../model/kv-ranges.ts';
import { KvSlots } from '../model/kv-slots.ts';
import { RunBuffers } from '../model/run-buffers.ts';
import { Memory } from '../model/runtime/memory.ts';
import type { WeightStore } from '../model/weight-store.ts';
import { scoredRuns } from './scored-text.ts';
import type { ScoredText } from './scored-text.ts';

/** Tokens of a run: bounds the logits, [tokens, V] float32. All see their keys and values as they are stored. */
const RUN_TOKENS = 256;

/** Sums over texts; perplexity is exp(loss ÷ tokens). */
export interface Score {
  /** Negative logarithms of the probabilities of the tokens that count, nats. */
  readonly loss: number;
  readonly tokens: number;
}

export const perplexityOf = ({ loss, tokens }: Score): number => Math.exp(loss / tokens);

/** `lossOf` a text, by its index too; `onText` hears how many are done. */
export function scoreTexts(
  texts: readonly ScoredText[],
  lossOf: (text: ScoredText, index: number) => number,
  onText: (done: number) => void,
): Score {
  const total = { loss: 0, tokens: 0 };
  texts.forEach((text, i) => {
    total.loss += lossOf(text, i);
    total.tokens += text.ids.length - text.given;
    onText(i + 1);
  });
  return total;
}

export interface ScorerOptions {
  /** Tokens of the longest text. */
  readonly capacity: number;
  /** Null = keys and values are float32. */
  readonly rounding?: KvRounding | null;
}

export class Scorer {
  readonly #vocabSize: number;
  readonly #decoder: CpuDecoder;
  readonly #kv: KvSlots;
  readonly #buffers: RunBuffers;
  readonly #logits: Memory;

  /** The weights stay the caller's. */
  constructor(config: ModelConfig, weights: WeightStore, { capacity, rounding = null }: ScorerOptions) {
    this.#vocabSize = config.vocabSize;
    const kvType = rounding === null ? 'float32' : 'int8';
    this.#decoder = new CpuDecoder(config, weights, { capacity, kvType });
    const scales =
      rounding === null ? null : int8Scales(measureRanges(config, this.#decoder, { ...rounding, capacity }));
    this.#kv = new KvSlots(config, { slots: 1, capacity, scales });
    this.#buffers = new RunBuffers(config, { maxTokens: RUN_TOKENS, maxRows: 1 });
    this.#logits = Memory.allocate(RUN_TOKENS * config.vocabSize * 4);
  }

  score(texts: readonly ScoredText[], onText: (done: number) => void = () => {}): Score {
    return scoreTexts(texts, (text) => this.#loss(text), onText);
  }

  free(): void {
    this.#decoder.release();
    for (const part of [this.#kv, this.#buffers, this.#logits]) part.free();
  }

  #loss(text: ScoredText): number {
    let loss = 0;
    for (const { start, ids, targets } of scoredRuns(text, RUN_TOKENS)) {
      this.#run(start, ids, targets.length);
      targets.forEach((id, row) => (loss += this.#lossOf(row, id)));
    }
    return loss;
  }

  #run(start: number, ids: Int32Array, draws: number): void {
    const row = { sequence: 0, blocks: Int32Array.of(0), start, ids, draws, sample: null };
    const { pointer: logits } = this.#logits;
    this.#decoder.run([row], { buffers: this.#buffers, kv: this.#kv, logits, vocabSize: this.#vocabSize });
  }

  /** Of one row of logits. */
  #lossOf(row: number, id: number): number {
    const logits = new Float32Array(this.#logits.buffer, row * this.#vocabSize * 4, this.#vocabSize);
    let largest = -Infinity;
    for (let i = 0; i < logits.length; i++) largest = Math.max(largest, logits[i] ?? 0);
    let sum = 0;
    for (let i = 0; i < logits.length; i++) sum += Math.exp((logits[i] ?? 0) - largest);
    return Math.log(sum) + largest - (logits[id] ?? NaN);
  }
}

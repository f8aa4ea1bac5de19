/** GPU memory that a step's inputs, logits and draws pass through, and its page-locked counterparts. Knows no sessions. */
import type { Cuda, CudaEvent, DeviceMemory, PinnedMemory } from '../runtime/cudart.ts';
import type { TensorView } from '../runtime/session.ts';

const WORD_BYTES = 4;
/** Plans in flight. */
const DEPTH = 2;

export interface StepSizes {
  /** Words of a step's inputs. */
  readonly words: number;
  /** Rows of logits at once. */
  readonly maxLogits: number;
  /** Draws of a step. */
  readonly maxDraws: number;
  /** Words of a step's rules. */
  readonly ruleWords: number;
  readonly vocabSize: number;
}

/** What of a step lives on the host while it is in flight. */
export interface StepSlot {
  /** Inputs, in words; `floats` is the same memory. */
  readonly words: Int32Array;
  readonly floats: Float32Array;
  readonly wordsPointer: bigint;
  /** What penalties and biases read, likewise. */
  readonly ruleWords: Int32Array;
  readonly ruleFloats: Float32Array;
  readonly rulesPointer: bigint;
  /** [maxDraws] each: tokens, and a number for each that is not finite where the row's logits are not. */
  readonly tokens: Int32Array;
  readonly checks: Float32Array;
  readonly resultsPointer: bigint;
  readonly begun: CudaEvent;
  readonly done: CudaEvent;
}

export class StepMemory {
  readonly sizes: StepSizes;
  readonly slots: readonly StepSlot[];
  readonly #cuda: Cuda;
  /** int32 [maxDraws + words]: the previous plan's draws, then the inputs. */
  readonly #words: DeviceMemory;
  /** int32 tokens [maxDraws], float32 checks [maxDraws] */
  readonly #results: DeviceMemory;
  /** int32 [ruleWords] */
  readonly #rules: DeviceMemory;
  /** float32 [maxLogits, V] */
  readonly #logits: DeviceMemory;

  constructor(cuda: Cuda, sizes: StepSizes) {
    this.#cuda = cuda;
    this.sizes = sizes;
    this.#words = cuda.allocate((sizes.maxDraws + sizes.words) * WORD_BYTES);
    this.#results = cuda.allocate(2 * sizes.maxDraws * WORD_BYTES);
    this.#rules = cuda.allocate(sizes.ruleWords * WORD_BYTES);
    this.#logits = cuda.allocate(sizes.maxLogits * sizes.vocabSize * WORD_BYTES);
    cuda.fill(this.#results.pointer, 0, this.#results.bytes);
    this.slots = Array.from({ length: DEPTH }, () => this.#slot());
  }

  /** Words of the input `words`. */
  get length(): number {
    return this.sizes.maxDraws + this.sizes.words;
  }

  /** int32, of the whole. */
  get words(): TensorView {
    return this.#view(this.#words.pointer, 'int32', [this.length]);
  }

  /** An input that begins at word `at` of the step's own. */
  input(at: number, type: 'int32' | 'float32', shape: readonly number[]): TensorView {
    return this.#view(this.#words.pointer + BigInt((this.sizes.maxDraws + at) * WORD_BYTES), type, shape);
  }

  /** An input of rules that begins at word `at` of them. */
  ruleInput(at: number, type: 'int32' | 'float32', shape: readonly number[]): TensorView {
    return this.#view(this.#rules.pointer + BigInt(at * WORD_BYTES), type, shape);
  }

  /** float32 [maxLogits × V] */
  get allLogits(): TensorView {
    return this.#view(this.#logits.pointer, 'float32', [this.sizes.maxLogits * this.sizes.vocabSize]);
  }

  /** float32 [rows, V] from the row `first` on */
  logits(rows: number, first = 0): TensorView {
    const { vocabSize } = this.sizes;
    const pointer = this.#logits.pointer + BigInt(first * vocabSize * WORD_BYTES);
    return this.#view(pointer, 'float32', [rows, vocabSize]);
  }

  /** int32 [count, 1] from the draw `first` on. */
  tokens(first: number, count: number): TensorView {
    return this.#view(this.#results.pointer + BigInt(first * WORD_BYTES), 'int32', [count, 1]);
  }

  /** float32 [count, 1] */
  checks(first: number, count: number): TensorView {
    const at = this.sizes.maxDraws + first;
    return this.#view(this.#results.pointer + BigInt(at * WORD_BYTES), 'float32', [count, 1]);
  }

  /** The previous plan's draws to where this one's placeholders look, and its `words` inputs to the GPU. */
  send(slot: StepSlot, words: number): void {
    const { maxDraws } = this.sizes;
    this.#cuda.copy(this.#words.pointer, this.#results.pointer, maxDraws * WORD_BYTES);
    this.#cuda.toDevice(this.#words.pointer + BigInt(maxDraws * WORD_BYTES), slot.wordsPointer, words * WORD_BYTES);
  }

  /** The first `words` of the slot's rules to the GPU. */
  sendRules(slot: Pick<StepSlot, 'rulesPointer'>, words: number): void {
    if (words > 0) this.#cuda.toDevice(this.#rules.pointer, slot.rulesPointer, words * WORD_BYTES);
  }

  /** Draws and checks to the host, with what lies between: a copy's own time (4 µs) is more than that of its bytes. */
  receive(slot: StepSlot, draws: number): void {
    if (draws === 0) return;
    this.#cuda.toHost(slot.resultsPointer, this.#results.pointer, (this.sizes.maxDraws + draws) * WORD_BYTES);
  }

  /** Draws that the host made, from `first` on, to the GPU; `slot.tokens` holds them. */
  sendTokens(slot: StepSlot, first: number, count: number): void {
    const offset = BigInt(first * WORD_BYTES);
    this.#cuda.toDevice(this.#results.pointer + offset, slot.resultsPointer + offset, count * WORD_BYTES);
  }

  free(): void {
    for (const { begun, done } of this.slots) for (const event of [begun, done]) event.release();
    for (const memory of [this.#words, this.#results, this.#rules, this.#logits]) this.#cuda.free(memory);
  }

  #slot(): StepSlot {
    const { words, maxDraws, ruleWords } = this.sizes;
    const inputs: PinnedMemory = this.#cuda.allocatePinned(words * WORD_BYTES);
    const rules = this.#cuda.allocatePinned(ruleWords * WORD_BYTES);
    const results = this.#cuda.allocatePinned(2 * maxDraws * WORD_BYTES);
    return {
      words: new Int32Array(inputs.buffer),
      floats: new Float32Array(inputs.buffer),
      wordsPointer: inputs.pointer,
      ruleWords: new Int32Array(rules.buffer),
      ruleFloats: new Float32Array(rules.buffer),
      rulesPointer: rules.pointer,
      tokens: new Int32Array(results.buffer, 0, maxDraws),
      checks: new Float32Array(results.buffer, maxDraws * WORD_BYTES, maxDraws),
      resultsPointer: results.pointer,
      begun: this.#cuda.event(),
      done: this.#cuda.event(),
    };
  }

  #view(pointer: bigint, type: 'int32' | 'float32', shape: readonly number[]): TensorView {
    return { pointer, type, shape, device: this.#cuda.device };
  }
}

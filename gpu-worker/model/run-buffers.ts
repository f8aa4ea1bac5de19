/** Memory that a model run's stages hand to each other, and the tensors over it for the run at hand. Knows no session and no KV. */
import type { PlanRow } from '../engine/step-plan.ts';
import type { ModelConfig } from './config.ts';
import { packedColumns } from './graph/decoder.ts';
import type { RunPart } from './runs.ts';
import { Memory } from './runtime/memory.ts';
import { ChangingTensor } from './runtime/session.ts';
import type { Tensor } from './runtime/session.ts';

const INT64_BYTES = 8;
const INT32_BYTES = 4;
const FLOAT_BYTES = 4;

/** T = tokens of the run, R = its rows of logits. */
export interface RunTensors {
  /** int64 [T] */
  readonly ids: Tensor;
  /** int64 [R] */
  readonly rows: Tensor;
  /** float32 [T, packed columns] */
  readonly qkv: Tensor;
  /** float32 [T, heads × headDim] */
  readonly attended: Tensor;
  /** float32 [T, H] */
  readonly residual: Tensor;
}

/** B sequences with S tokens each. */
export interface PartTensors {
  /** The part's share of the run's, as [B, S, columns]. */
  readonly qkv: Tensor;
  readonly attended: Tensor;
  /** int32 [B] */
  readonly seqlens: Tensor;
  /** int32 [1] */
  readonly total: Tensor;
}

export class RunBuffers {
  /** Rows of logits that the run gives, R. */
  rowCount = 0;
  #tokenCount = 0;
  readonly #columns: { readonly qkv: number; readonly attended: number; readonly residual: number };
  readonly #memory: Readonly<Record<keyof RunTensors | 'seqlens' | 'totals', Memory>>;
  readonly #tensors = new Map<string, ChangingTensor>();
  /** Values below 2^31 as the low halves of little-endian int64: no BigInt per token. */
  readonly #ids: Int32Array;
  readonly #rows: Int32Array;
  /** [rows of the plan] in the order of parts. */
  readonly #seqlens: Int32Array;
  /** [parts] */
  readonly #totals: Int32Array;
  /** [rows of the plan]: where each row's tokens begin among the run's. */
  readonly #offsets: Int32Array;

  constructor(config: ModelConfig, { maxTokens, maxRows }: { maxTokens: number; maxRows: number }) {
    const columns = {
      qkv: packedColumns(config),
      attended: config.heads * config.headDim,
      residual: config.hiddenSize,
    };
    this.#columns = columns;
    this.#memory = {
      ids: Memory.allocate(maxTokens * INT64_BYTES),
      rows: Memory.allocate(maxTokens * INT64_BYTES),
      qkv: Memory.allocate(maxTokens * columns.qkv * FLOAT_BYTES),
      attended: Memory.allocate(maxTokens * columns.attended * FLOAT_BYTES),
      residual: Memory.allocate(maxTokens * columns.residual * FLOAT_BYTES),
      seqlens: Memory.allocate(maxRows * INT32_BYTES),
      totals: Memory.allocate(maxRows * INT32_BYTES),
    };
    this.#ids = new Int32Array(this.#memory.ids.buffer);
    this.#rows = new Int32Array(this.#memory.rows.buffer);
    this.#seqlens = new Int32Array(this.#memory.seqlens.buffer);
    this.#totals = new Int32Array(this.#memory.totals.buffer);
    this.#offsets = new Int32Array(maxRows);
  }

  /** Writes the inputs of a run. Logits are asked for after the last `draws` ids of every row, in the order of `rows`. */
  fill(parts: readonly RunPart[], rows: readonly PlanRow[]): void {
    this.#tokenCount = 0;
    let row = 0;
    parts.forEach((part, index) => {
      let longest = 0;
      for (const planRow of part.rows) {
        const { start = 0, ids = NO_IDS } = rows[planRow] ?? {};
        this.#offsets[planRow] = this.#tokenCount;
        for (let i = 0; i < ids.length; i++) this.#ids[this.#tokenCount++ * 2] = ids[i] ?? 0;
        const total = start + ids.length;
        this.#seqlens[row++] = total - 1;
        longest = Math.max(longest, total);
      }
      this.#totals[index] = longest;
    });
    this.rowCount = 0;
    for (let index = 0; index < rows.length; index++) {
      const { ids = NO_IDS, draws = 0 } = rows[index] ?? {};
      const end = (this.#offsets[index] ?? 0) + ids.length;
      for (let token = end - draws; token < end; token++) this.#rows[this.rowCount++ * 2] = token;
    }
  }

  /** Of the run filled last; valid until the next call. */
  tensors(): RunTensors {
    const { ids, rows } = this.#memory;
    const tokens = this.#tokenCount;
    return {
      ids: this.#tensor('ids').at({ pointer: ids.pointer, type: 'int64', shape: [tokens] }),
      rows: this.#tensor('rows').at({ pointer: rows.pointer, type: 'int64', shape: [this.rowCount] }),
      qkv: this.#activations('qkv', [tokens]),
      attended: this.#activations('attended', [tokens]),
      residual: this.#activations('residual', [tokens]),
    };
  }

  /** Of one part of the run filled last; valid until the next call with this index. `firstRow`: rows in parts before it. */
  partTensors(part: RunPart, index: number, firstRow: number): PartTensors {
    const { seqlens, totals } = this.#memory;
    const shape = [part.rows.length, part.length];
    return {
      qkv: this.#activations('qkv', shape, { index, offset: part.offset }),
      attended: this.#activations('attended', shape, { index, offset: part.offset }),
      seqlens: this.#tensor(`seqlens.${index}`).at({
        pointer: seqlens.pointer + BigInt(firstRow * INT32_BYTES),
        type: 'int32',
        shape: [part.rows.length],
      }),
      total: this.#tensor(`total.${index}`).at({
        pointer: totals.pointer + BigInt(index * INT32_BYTES),
        type: 'int32',
        shape: [1],
      }),
    };
  }

  free(): void {
    for (const tensor of this.#tensors.values()) tensor.release();
    this.#tensors.clear();
    for (const memory of Object.values(this.#memory)) memory.free();
  }

  #activations(
    name: 'qkv' | 'attended' | 'residual',
    shape: readonly number[],
    part: { readonly index: number; readonly offset: number } | null = null,
  ): Tensor {
    const columns = this.#columns[name];
    const pointer = this.#memory[name].pointer + BigInt((part?.offset ?? 0) * columns * FLOAT_BYTES);
    const tensor = this.#tensor(part === null ? name : `${name}.${part.index}`);
    return tensor.at({ pointer, type: 'float32', shape: [...shape, columns] });
  }

  #tensor(name: string): ChangingTensor {
    let tensor = this.#tensors.get(name);
    if (tensor === undefined) this.#tensors.set(name, (tensor = new ChangingTensor()));
    return tensor;
  }
}

const NO_IDS = new Int32Array(0);

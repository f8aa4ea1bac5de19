/** Simulated KV memory: what every physical position holds. Executes plans in order, and checks what every row reads. */
import { expect } from 'vitest';
import type { KvCopy, KvDrop } from '../../../gpu-worker/kv/kv-cache.ts';

/** A row as a runner sees it, with what it should read and what it writes. */
export interface SimulatedRow {
  readonly sequence: number;
  readonly salt: string;
  /** The array that the cache gave, and what was in it when the plan was made. */
  readonly blocks: Int32Array;
  readonly blocksThen: readonly number[];
  readonly start: number;
  /** The tokens that this sequence really has. */
  readonly stream: Int32Array;
  /** Positions from `start` on that get the stream's tokens, and after them those of refused drafts. */
  readonly right: number;
  readonly refused: number;
}

export interface SimulatedPlan {
  readonly id: number;
  readonly copies: readonly KvCopy[];
  readonly drops: readonly KvDrop[];
  readonly rows: readonly SimulatedRow[];
}

export const SALTS = ['', 'a', 'b'] as const;
export type Salt = (typeof SALTS)[number];

const EMPTY = 0;
const REFUSED = -1;
const GARBAGE = -2;

export class Memory {
  readonly blockSize: number;
  /** [blocks, blockSize] */
  readonly #cells: Int32Array;

  constructor(blocks: number, blockSize: number) {
    this.blockSize = blockSize;
    this.#cells = new Int32Array(blocks * blockSize);
  }

  /** Positions that hold anything. */
  get used(): number {
    let used = 0;
    for (const cell of this.#cells) if (cell !== EMPTY) used++;
    return used;
  }

  execute({ copies, drops, rows }: SimulatedPlan): void {
    for (const { from, to, tokens } of copies) {
      expect(tokens).toBeGreaterThan(0);
      expect(tokens).toBeLessThanOrEqual(this.blockSize);
      expect(from).not.toBe(to);
      const base = from * this.blockSize;
      this.#cells.copyWithin(to * this.blockSize, base, base + tokens);
    }
    for (const { block, tokens } of drops) {
      this.#cells.fill(EMPTY, block * this.blockSize + tokens, (block + 1) * this.blockSize);
    }
    for (const row of rows) {
      expect([...row.blocks], 'a plan’s blocks stay as they were').toEqual(row.blocksThen);
      this.checkHeld(row, row.start);
      for (let i = 0; i < row.right + row.refused; i++) {
        const position = row.start + i;
        this.#cells[this.#cell(row.blocks, position)] =
          i < row.right ? encode(row.salt, row.stream[position]) : REFUSED;
      }
    }
  }

  /** The first `length` positions hold the sequence's own tokens. */
  checkHeld({ sequence, salt, blocks, stream }: Omit<SimulatedRow, 'start'>, length: number): void {
    for (let position = 0; position < length; position++) {
      const cell = this.#cells[this.#cell(blocks, position)];
      if (cell === encode(salt, stream[position])) continue;
      throw new Error(`sequence ${sequence} reads ${cell} at position ${position} of ${length}, blocks ${[...blocks]}`);
    }
  }

  /** A failed step may have written anything. */
  spoil(): void {
    for (const [i, cell] of this.#cells.entries()) if (cell !== EMPTY) this.#cells[i] = GARBAGE;
  }

  #cell(blocks: Int32Array, position: number): number {
    const block = blocks[Math.floor(position / this.blockSize)];
    if (block === undefined) throw new Error(`position ${position} has no block`);
    return block * this.blockSize + (position % this.blockSize);
  }
}

function encode(salt: string, token: number | undefined): number {
  return 1 + (token ?? 0) * SALTS.length + SALTS.indexOf(salt as Salt);
}

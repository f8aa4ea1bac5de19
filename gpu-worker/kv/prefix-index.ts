/**
 * Which tokens each block holds, found by prefix: the longest held prefix of a sequence, to the token. Contents may
 * chain: a block continues its parent, which is full. Knows no sequences, no reference counts and no eviction.
 */
import type { KvOwner } from './kv-cache.ts';
import { NONE, PieceTable } from './piece-table.ts';
import { PIECE, PrefixHash } from './prefix-hash.ts';

/** Blocks compared that hold the same deepest piece: more could add less than a piece of reuse. */
const MOST_HOLDERS = 64;

export interface Found {
  /** Where the prefix ends; what comes before it lies in this block and its parents. */
  readonly block: number;
  /** Length of the prefix, at least PIECE. */
  readonly tokens: number;
}

/** Where a look-up begins: a piece of the deepest hash that is held, and how many pieces that prefix has. */
interface Deepest {
  readonly piece: number;
  readonly pieces: number;
}

export class PrefixIndex {
  readonly blocks: number;
  readonly blockSize: number;
  readonly #piecesPerBlock: number;
  readonly #table: PieceTable;
  /** [blocks, blockSize] */
  readonly #tokens: Int32Array;
  /** [blocks] */
  readonly #lengths: Int32Array;
  readonly #parents: Int32Array;
  readonly #salts: string[];
  readonly #hash = new PrefixHash();

  /** Blocks that chain have whole pieces: `blockSize` is then a multiple of PIECE. */
  constructor(blocks: number, blockSize: number) {
    this.blocks = blocks;
    this.blockSize = blockSize;
    this.#piecesPerBlock = Math.floor(blockSize / PIECE);
    this.#table = new PieceTable(blocks * this.#piecesPerBlock);
    this.#tokens = new Int32Array(blocks * blockSize);
    this.#lengths = new Int32Array(blocks);
    this.#parents = new Int32Array(blocks).fill(NONE);
    this.#salts = new Array<string>(blocks).fill('');
  }

  /** Tokens that the block holds. */
  length(block: number): number {
    return this.#lengths[block] ?? 0;
  }

  /** The block before this one; NONE for the first of a sequence. */
  parent(block: number): number {
    return this.#parents[block] ?? NONE;
  }

  /** Begins the content of an empty block. */
  open(block: number, parent: number, salt: string): void {
    if (this.length(block) > 0) throw new Error(`block ${block} still holds ${this.length(block)} tokens`);
    this.#parents[block] = parent;
    this.#salts[block] = salt;
  }

  /** The block now also holds tokens `from` … `to` − 1 of a sequence. Whole pieces are found from then on. */
  append(block: number, tokens: Int32Array, { from, to }: { from: number; to: number }): void {
    const base = block * this.blockSize;
    const held = this.length(block);
    const length = held + to - from;
    if (length > this.blockSize) throw new Error(`block ${block} cannot hold ${length} tokens`);
    for (let i = from; i < to; i++) this.#tokens[base + held + i - from] = tokens[i] ?? 0;
    this.#lengths[block] = length;
    const last = Math.floor(length / PIECE);
    for (let index = Math.floor(held / PIECE); index < last; index++) {
      const piece = block * this.#piecesPerBlock + index;
      this.#startHash(block, index);
      this.#hash.add(this.#tokens, base + index * PIECE);
      this.#table.add(piece, this.#hash);
    }
  }

  /** The block holds no more than its first `length` tokens. */
  truncate(block: number, length: number): void {
    const first = block * this.#piecesPerBlock;
    for (let index = Math.floor(this.length(block) / PIECE) - 1; index >= Math.floor(length / PIECE); index--) {
      this.#table.remove(first + index);
    }
    this.#lengths[block] = Math.min(length, this.length(block));
  }

  /** Content of `from` goes to the empty block `to`. Nothing chains to `from`. */
  move(from: number, to: number): void {
    const length = this.length(from);
    this.open(to, this.parent(from), this.#salts[from] ?? '');
    const base = from * this.blockSize;
    this.#tokens.copyWithin(to * this.blockSize, base, base + length);
    for (let index = 0; index < Math.floor(length / PIECE); index++) {
      this.#table.read(from * this.#piecesPerBlock + index, this.#hash);
      this.#table.add(to * this.#piecesPerBlock + index, this.#hash);
    }
    this.#lengths[to] = length;
    this.truncate(from, 0);
  }

  /** The longest held prefix of `owner` up to `atMost` tokens, at `preferred` if it is as long there. */
  find(owner: KvOwner, atMost: number, preferred: number): Found | null {
    const limit = Math.min(atMost, owner.tokens.length);
    let most = Math.floor(limit / PIECE);
    while (most > 0) {
      const deepest = this.#deepest(owner, most);
      if (deepest === null) return null;
      const found = this.#longest(deepest, owner, { limit, preferred });
      // Equal hashes of other tokens cost reuse, never correctness.
      if (this.#holds(found, owner)) return found;
      most = deepest.pieces - 1;
    }
    return null;
  }

  /** True when both hold the same `tokens` first tokens of one salt, and begin a sequence. */
  sameBegin(one: number, other: number, tokens: number): boolean {
    if (this.#salts[one] !== this.#salts[other] || this.parent(one) !== NONE || this.parent(other) !== NONE)
      return false;
    if (this.length(one) < tokens || this.length(other) < tokens) return false;
    const [a, b] = [one * this.blockSize, other * this.blockSize];
    for (let i = 0; i < tokens; i++) if (this.#tokens[a + i] !== this.#tokens[b + i]) return false;
    return true;
  }

  /** True when another block ends in, or goes on from, the last whole piece of this one. */
  heldElsewhere(block: number): boolean {
    const pieces = Math.floor(this.length(block) / PIECE);
    if (pieces === 0) return false;
    const last = block * this.#piecesPerBlock + pieces - 1;
    this.#table.read(last, this.#hash);
    const first = this.#table.first(this.#hash);
    return first !== last || this.#table.after(first) !== NONE;
  }

  /** Every broken invariant, in words; empty when all hold. */
  violations(): readonly string[] {
    const broken: string[] = [];
    let pieces = 0;
    for (let block = 0; block < this.blocks; block++) {
      pieces += Math.floor(this.length(block) / PIECE);
      const parent = this.parent(block);
      if (this.length(block) > 0 && parent !== NONE && this.length(parent) !== this.blockSize) {
        broken.push(`block ${block} continues block ${parent}, which holds ${this.length(parent)} tokens`);
      }
      for (let index = 0; index < Math.floor(this.length(block) / PIECE); index++) {
        this.#startHash(block, index);
        this.#hash.add(this.#tokens, block * this.blockSize + index * PIECE);
        if (this.#table.has(block * this.#piecesPerBlock + index, this.#hash)) continue;
        broken.push(`piece ${index} of block ${block} is not found by its hash`);
      }
    }
    if (pieces !== this.#table.count) broken.push(`${this.#table.count} pieces are indexed, blocks hold ${pieces}`);
    return broken;
  }

  /** Sets the hash to that of all tokens before a piece. */
  #startHash(block: number, index: number): void {
    const parent = this.parent(block);
    if (index > 0) this.#table.read(block * this.#piecesPerBlock + index - 1, this.#hash);
    else if (parent !== NONE) this.#table.read((parent + 1) * this.#piecesPerBlock - 1, this.#hash);
    else this.#hash.reset(this.#salts[block] ?? '');
  }

  #deepest({ salt, tokens }: KvOwner, most: number): Deepest | null {
    let deepest: Deepest | null = null;
    this.#hash.reset(salt);
    for (let pieces = 1; pieces <= most; pieces++) {
      this.#hash.add(tokens, (pieces - 1) * PIECE);
      const piece = this.#table.first(this.#hash);
      // Whoever holds a piece holds all before it.
      if (piece === NONE) return deepest;
      deepest = { piece, pieces };
    }
    return deepest;
  }

  /** The block whose content goes on farthest like the owner's tokens after the deepest piece. */
  #longest({ piece, pieces }: Deepest, { tokens }: KvOwner, { limit, preferred }: FindOptions): Found {
    const start = pieces * PIECE;
    let best: Found = { block: NONE, tokens: 0 };
    let looked = 0;
    for (let each = piece; each !== NONE && looked < MOST_HOLDERS; each = this.#table.after(each), looked++) {
      const block = Math.floor(each / this.#piecesPerBlock);
      const offset = ((each % this.#piecesPerBlock) + 1) * PIECE;
      const most = Math.min(limit - start, this.length(block) - offset);
      const base = block * this.blockSize + offset;
      let more = 0;
      while (more < most && this.#tokens[base + more] === tokens[start + more]) more++;
      const length = start + more;
      if (length > best.tokens || (length === best.tokens && block === preferred)) best = { block, tokens: length };
    }
    return best;
  }

  /** Compares every token of what was found, and the salt. */
  #holds({ block, tokens }: Found, owner: KvOwner): boolean {
    if (this.#salts[block] !== owner.salt) return false;
    let current = block;
    let end = tokens;
    while (current !== NONE) {
      const start = Math.max(0, Math.ceil(end / this.blockSize) - 1) * this.blockSize;
      const base = current * this.blockSize;
      for (let i = start; i < end; i++) if (this.#tokens[base + i - start] !== owner.tokens[i]) return false;
      current = this.parent(current);
      end = start;
      if (end === 0) return current === NONE;
    }
    return false;
  }
}

interface FindOptions {
  readonly limit: number;
  readonly preferred: number;
}

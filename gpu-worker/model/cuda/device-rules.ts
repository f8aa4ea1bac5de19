/** Penalties, biases and forbidden tokens on the GPU, between a part's logits and its draws. Knows no draw. */
import { PLACEHOLDER } from '../../engine/step-plan.ts';
import type { PlanRow } from '../../engine/step-plan.ts';
import type { Cuda } from '../runtime/cudart.ts';
import { RunOptions, Session } from '../runtime/session.ts';
import type { Binding } from '../runtime/session.ts';
import type { Part } from './plan-inputs.ts';
import { LIST_INPUTS, ROW_INPUTS, rulesGraph } from './rules-graph.ts';
import { largestBlock, packRules } from './rules-inputs.ts';
import type { RuledRow, RulesBlock } from './rules-inputs.ts';
import type { StepMemory, StepSlot } from './step-memory.ts';

/** A step's rules: words to send, and the blocks of each part. */
export interface StepRules {
  readonly words: number;
  readonly parts: readonly (readonly RulesBlock[])[];
}

type RulesSpace = Pick<StepSlot, 'ruleWords' | 'ruleFloats' | 'rulesPointer'>;
/** Words for the rules of the host's draws: 350,000 tokens of the rows that it draws at once. */
const OWN_WORDS = 1 << 20;

export class DeviceRules {
  readonly #memory: StepMemory;
  readonly #session: Session;
  readonly #binding: Binding;
  readonly #options = new RunOptions(null);
  readonly #own: RulesSpace;

  constructor(cuda: Cuda, memory: StepMemory) {
    this.#memory = memory;
    const { pointer, buffer } = cuda.allocatePinned(OWN_WORDS * Int32Array.BYTES_PER_ELEMENT);
    this.#own = { ruleWords: new Int32Array(buffer), ruleFloats: new Float32Array(buffer), rulesPointer: pointer };
    const settings = { device: cuda.device, stream: cuda.stream, graphs: false };
    this.#session = new Session(rulesGraph(), { threads: 1, cuda: settings });
    this.#binding = this.#session.bind();
    this.#binding.input('logits', memory.allLogits);
    this.#binding.output('changed', memory.allLogits);
    this.#binding.input('words', memory.words);
  }

  /** Into the slot's words; null when they do not suffice. */
  pack(slot: RulesSpace, parts: readonly (readonly RuledRow[])[]): StepRules | null {
    const { vocabSize } = this.#memory.sizes;
    const target = { words: slot.ruleWords, floats: slot.ruleFloats, vocabSize };
    const packed: (readonly RulesBlock[])[] = [];
    let words = 0;
    for (const rows of parts) {
      const part = packRules(rows, target, words);
      if (part === null) return null;
      packed.push(part.blocks);
      words = part.end;
    }
    return { words, parts: packed };
  }

  /** Queued on the stream. */
  apply(blocks: readonly RulesBlock[]): void {
    for (const block of blocks) {
      const { rows, width, at } = block;
      const bind = (names: Readonly<Record<string, 'int32' | 'float32'>>, columns: number): void => {
        for (const [name, type] of Object.entries(names)) {
          const start = at[name as keyof typeof at];
          this.#binding.input(name, this.#memory.ruleInput(start, type, [rows, columns]));
        }
      };
      bind(LIST_INPUTS, width);
      bind(ROW_INPUTS, 1);
      this.#binding.run(this.#options);
    }
  }

  /** For draws of the host, between which it waits for the GPU. False: they are too many, and none is applied. */
  applyNow(rows: readonly RuledRow[]): boolean {
    const packed = this.pack(this.#own, [rows]);
    if (packed === null) return false;
    this.#memory.sendRules(this.#own, packed.words);
    this.apply(packed.parts.flat());
    return true;
  }

  /** Runs as much as there is room for, so that the memory it takes is taken. */
  warmUp(slot: StepSlot): void {
    slot.ruleWords.fill(0);
    this.#memory.sendRules(slot, slot.ruleWords.length);
    this.apply([largestBlock(slot.ruleWords.length)]);
  }

  release(): void {
    this.#binding.release();
    this.#options.release();
    this.#session.release();
  }
}

const NO_TOKENS = new Int32Array();

/** A part's rows with rules; each draws once. `previous`: sequence → place of its draw in the plan before. */
export function ruledRows(
  rows: readonly PlanRow[],
  part: Part,
  previous: ReadonlyMap<number, number>,
): readonly RuledRow[] {
  const ruled: RuledRow[] = [];
  let logits = 0;
  for (const place of part.rows) {
    const { sample = null, draws = 0, ids, sequence = 0 } = rows[place] ?? {};
    const rules = sample?.rules ?? null;
    if (sample !== null && rules !== null) {
      // The history has what was committed: a token that its own row still waits for it has not.
      const pending = ids?.includes(PLACEHOLDER) === true ? (previous.get(sequence) ?? null) : null;
      ruled.push({ logits, rules, index: sample.index, since: NO_TOKENS, pending });
    }
    logits += draws;
  }
  return ruled;
}

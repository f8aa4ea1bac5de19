/**
 * Decides what every step runs. One subtraction, no phases (vLLM v1): a sequence has tokens and computed tokens, each
 * step closes part of the difference. Plans only reserve; sequences change in commit. Knows no model, bus or clock.
 */
import { SlotPool } from '../kv/slot-pool.ts';
import type { EngineRequest } from './messages.ts';
import { Sequence } from './sequence.ts';
import { NO_TOKEN } from './step-plan.ts';
import type { SlotMove, StepPlan, StepResult } from './step-plan.ts';
import { shareTokenBudget } from './token-budget.ts';

export interface SchedulerOptions {
  readonly slots: number;
  /** Token budget of a step. */
  readonly maxStepTokens: number;
}

/** A token that a step added to a live sequence. */
export interface DrawnToken {
  readonly sequence: Sequence;
  readonly token: number;
}

export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #slots: SlotPool;
  readonly #byNumber = new Map<number, Sequence>();
  readonly #byId = new Map<string, Sequence>();
  /** Highest priority first, then first come. */
  readonly #waiting: Sequence[] = [];
  /** In order of admission. */
  #running: Sequence[] = [];
  readonly #inFlight: StepPlan[] = [];
  #lastPlan = 0;
  #lastNumber = 0;

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#slots = new SlotPool(options.slots);
  }

  get waiting(): readonly Sequence[] {
    return this.#waiting;
  }

  get running(): readonly Sequence[] {
    return this.#running;
  }

  get freeSlots(): number {
    return this.#slots.freeCount;
  }

  get plansInFlight(): number {
    return this.#inFlight.length;
  }

  find(id: string): Sequence | undefined {
    return this.#byId.get(id);
  }

  add(request: EngineRequest): Sequence {
    if (this.#byId.has(request.id)) throw new Error(`request ${request.id} is here already`);
    const sequence = new Sequence(++this.#lastNumber, request);
    this.#byNumber.set(sequence.number, sequence);
    this.#byId.set(request.id, sequence);
    const at = this.#waiting.findIndex((other) => other.request.priority < request.priority);
    this.#waiting.splice(at < 0 ? this.#waiting.length : at, 0, sequence);
    return sequence;
  }

  /** The next plan, reserved; null when nothing can run now. */
  schedule(): StepPlan | null {
    const moves = this.#compact();
    const candidates = [...this.#running, ...this.#admittable()];
    const counts = shareTokenBudget(
      candidates.map((sequence) => sequence.remaining),
      this.#options.maxStepTokens,
    );
    const rows = candidates.flatMap((sequence, i) => {
      const count = counts[i] ?? 0;
      if (count === 0) return [];
      if (sequence.status === 'waiting') this.#admit(sequence);
      return [sequence.reserve(count)];
    });
    if (rows.length === 0) return null;
    const tokens = rows.reduce((total, row) => total + row.ids.length, 0);
    const plan: StepPlan = { id: ++this.#lastPlan, moves, rows, tokens };
    this.#inFlight.push(plan);
    return plan;
  }

  /** Applies the oldest plan's result. Rows of sequences that ended meanwhile are discarded. */
  commit(plan: StepPlan, result: StepResult): readonly DrawnToken[] {
    this.#retire(plan);
    if (result.planId !== plan.id) throw new Error(`result of plan ${result.planId} for plan ${plan.id}`);
    const drawn: DrawnToken[] = [];
    plan.rows.forEach((row, i) => {
      const sequence = this.#byNumber.get(row.sequence);
      if (sequence === undefined) return;
      const token = result.tokens[i] ?? NO_TOKEN;
      sequence.commit(row, token);
      if (row.sample !== null) drawn.push({ sequence, token });
    });
    return drawn;
  }

  /** Voids every plan in flight after a failed step; returns the live sequences that were in them. */
  rollback(): readonly Sequence[] {
    const touched = new Set<Sequence>();
    for (const plan of this.#inFlight.splice(0)) {
      for (const row of plan.rows) {
        const sequence = this.#byNumber.get(row.sequence);
        if (sequence === undefined) continue;
        sequence.release(row);
        touched.add(sequence);
      }
    }
    this.#slots.retire(this.#lastPlan);
    return [...touched];
  }

  /** Ends a sequence in any state and frees what it holds. */
  finish(sequence: Sequence): void {
    if (sequence.status === 'running') this.#running = this.#running.filter((other) => other !== sequence);
    if (sequence.status === 'waiting') this.#waiting.splice(this.#waiting.indexOf(sequence), 1);
    sequence.status = 'finished';
    this.#byNumber.delete(sequence.number);
    this.#byId.delete(sequence.request.id);
    if (sequence.slot === null) return;
    this.#slots.release(sequence.slot, this.#inFlight.length === 0 ? 0 : this.#lastPlan);
    sequence.slot = null;
  }

  /** Every broken invariant, in words; empty when all hold. */
  violations(): readonly string[] {
    const slots = this.#running.map((sequence) => sequence.slot);
    const broken: string[] = [];
    if (new Set(slots).size !== slots.length) broken.push('two running sequences share a slot');
    for (const { number, slot, computed, length, inFlight } of this.#running) {
      if (slot === null || this.#slots.holdsFree(slot))
        broken.push(`sequence ${number} runs without a slot of its own`);
      if (computed > length) broken.push(`sequence ${number} has computed ${computed} of ${length} tokens`);
      if (inFlight < 0) broken.push(`sequence ${number} has ${inFlight} tokens in flight`);
    }
    if (this.#inFlight.length === 0 && this.#running.length + this.#slots.freeCount !== this.#slots.size) {
      broken.push(`${this.#running.length} running + ${this.#slots.freeCount} free slots of ${this.#slots.size}`);
    }
    if (this.#byId.size !== this.#running.length + this.#waiting.length) broken.push('a live sequence is in no queue');
    return broken;
  }

  #retire(plan: StepPlan): void {
    if (this.#inFlight.shift() !== plan) throw new Error(`plan ${plan.id} is not the oldest in flight`);
    this.#slots.retire(plan.id);
  }

  /** Who of the waiting could start now, best first. */
  #admittable(): readonly Sequence[] {
    return this.#waiting.slice(0, this.#slots.freeCount);
  }

  #admit(sequence: Sequence): void {
    const slot = this.#slots.allocate();
    if (slot === null) throw new Error('admitted without a free slot');
    this.#waiting.splice(this.#waiting.indexOf(sequence), 1);
    sequence.status = 'running';
    sequence.slot = slot;
    this.#running.push(sequence);
  }

  /**
   * Keeps running rows dense: with nothing waiting to fill a hole and no plan in flight, the highest row moves into
   * the lowest hole. One copy a step bounds its cost.
   */
  #compact(): readonly SlotMove[] {
    const to = this.#slots.peek();
    if (to === null || this.#waiting.length > 0 || this.#inFlight.length > 0) return [];
    let last: Sequence | null = null;
    for (const sequence of this.#running) if (last === null || (sequence.slot ?? 0) > (last.slot ?? 0)) last = sequence;
    if (last === null || last.slot === null || last.slot < to || last.computed === 0) return [];
    const from = last.slot;
    this.#slots.allocate();
    this.#slots.release(from, 0);
    last.slot = to;
    return [{ from, to, tokens: last.computed }];
  }
}

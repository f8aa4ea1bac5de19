/**
 * Decides what every step runs. One subtraction, no phases (vLLM v1): a sequence has tokens and computed tokens, each
 * step closes part of the difference. Plans only reserve; sequences change in commit. Knows no model, bus or clock.
 */
import type { KvCache, KvCopy } from '../kv/kv-cache.ts';
import type { LogitsMask } from '../sample/logits-rules.ts';
import type { Drafting } from '../speculate/drafting.ts';
import { sharesPrefixInFlight } from './in-flight-prefix.ts';
import type { EngineRequest } from './messages.ts';
import { chooseVictim } from './preemption.ts';
import { Sequence } from './sequence.ts';
import { StepBuilder, type PlannedStep } from './step-builder.ts';
import type { StepResult, TokenLogprobs } from './step-plan.ts';
import { WaitingQueue } from './waiting-queue.ts';

export interface SchedulerParts {
  readonly kv: KvCache;
  readonly maxNumSeqs: number;
  /** Longest sequence, tokens. */
  readonly maxModelLen: number;
  /** False: every sequence computes its whole prompt. */
  readonly prefixCaching: boolean;
  /** Tokens the next step may run, given how many sequences are decoding and how many KV positions they read. */
  readonly tokenBudget: (decoding: number, kvTokens: number) => number;
  /** The same of a step without prompt tokens, drafts among them; null = as of any other. */
  readonly draftBudget: number | null;
  /** Null: no speculation. */
  readonly drafting: Drafting | null;
  readonly maskFor: (request: EngineRequest, choice: number) => LogitsMask | null;
}

export interface Committed {
  readonly drawn: readonly DrawnTokens[];
  /** Live sequences whose row drew nothing that counts; the caller ends them. */
  readonly failed: readonly { readonly sequence: Sequence; readonly problem: string }[];
}

/** What a step added to a live sequence. */
export interface DrawnTokens {
  readonly sequence: Sequence;
  readonly tokens: Int32Array;
  readonly logprobs: readonly (TokenLogprobs | null)[] | null;
}

/** Service of an output token against a prompt token (Sheng et al., OSDI'24). */
const OUTPUT_WEIGHT = 2;
const NO_DRAFTS = new Int32Array();
/** Waiting sequences that cannot run yet and are passed over in one step. */
const LOOK_AHEAD = 64;

export class Scheduler {
  readonly #parts: SchedulerParts;
  readonly #waiting = new WaitingQueue<Sequence>();
  /** In order of admission. */
  readonly #running = new Set<Sequence>();
  readonly #inFlight: PlannedStep[] = [];
  /** Copies made by a schedule that planned nothing: they go out with the next plan. */
  #copies: KvCopy[] = [];
  #lastPlan = 0;
  #lastNumber = 0;
  #waitingPrefill = 0;
  /** A victim's room comes back when this plan has retired; 0 = none is awaited. */
  #roomAfter = 0;
  /** Since the start. */
  preemptions = 0;

  constructor(parts: SchedulerParts) {
    this.#parts = parts;
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** Prompt tokens admitted to the queues and not computed. */
  get queuedPrefillTokens(): number {
    let tokens = this.#waitingPrefill;
    for (const sequence of this.#running) tokens += sequence.prefillLeft;
    return tokens;
  }

  get running(): ReadonlySet<Sequence> {
    return this.#running;
  }

  get plansInFlight(): number {
    return this.#inFlight.length;
  }

  /** One sequence for each choice, in order. */
  add(request: EngineRequest): readonly Sequence[] {
    return Array.from({ length: request.n }, (_, choice) => {
      const number = ++this.#lastNumber;
      const salt = this.#parts.prefixCaching ? request.cacheSalt : `#${number}`;
      const sequence = new Sequence({ number, choice, salt, mask: this.#parts.maskFor(request, choice) }, request);
      this.#wait(sequence);
      return sequence;
    });
  }

  /** The next plan, reserved; null when nothing can run now. */
  schedule(): PlannedStep | null {
    // Whoever waits would fill the hole that a running sequence is moved into.
    if (this.#inFlight.length + this.#waiting.size === 0) this.#copies.push(...this.#parts.kv.arrange());
    const decoding = [...this.#running].filter(({ remaining }) => remaining === 1);
    const kvTokens = decoding.reduce((sum, { scheduled }) => sum + scheduled, 0);
    const step = new StepBuilder(this.#parts.tokenBudget(decoding.length, kvTokens));
    for (const sequence of decoding) if (sequence.status === 'running') this.#planChunk(sequence, step);
    const decodes = step.size;
    for (const sequence of this.#running) if (sequence.remaining > 1) this.#planChunk(sequence, step);
    this.#admit(step);
    const { draftBudget } = this.#parts;
    const room = step.size > decodes || draftBudget === null ? step.left : draftBudget - step.tokens;
    this.#addDrafts(decoding, { kvTokens, room }, step);
    if (step.size === 0) return null;
    const planned = step.build(++this.#lastPlan, { copies: this.#copies, drops: this.#parts.kv.takeDrops() });
    this.#copies = [];
    this.#inFlight.push(planned);
    return planned;
  }

  /** Applies the oldest plan's result. Rows of sequences that ended meanwhile are discarded. */
  commit(planned: PlannedStep, result: StepResult): Committed {
    const { plan, members } = planned;
    if (this.#inFlight.shift() !== planned) throw new Error(`plan ${plan.id} is not the oldest in flight`);
    if (result.planId !== plan.id) throw new Error(`result of plan ${result.planId} for plan ${plan.id}`);
    this.#retire(plan.id);
    const drawn: DrawnTokens[] = [];
    const failed: { readonly sequence: Sequence; readonly problem: string }[] = [];
    let at = 0;
    for (const [i, row] of plan.rows.entries()) {
      const tokens = result.tokens.subarray(at, at + row.draws);
      const logprobs = result.logprobs?.slice(at, at + row.draws) ?? null;
      at += row.draws;
      const member = members[i];
      if (member === undefined || member.sequence.status === 'finished') continue;
      const { sequence, generation } = member;
      const problem = result.failures?.get(i);
      if (problem !== undefined) {
        sequence.release(row, generation);
        failed.push({ sequence, problem });
        continue;
      }
      const made = sequence.commit(row, tokens, generation);
      if (sequence.status === 'running') {
        this.#parts.kv.commit(sequence.number, sequence.tokens, sequence.computed);
      }
      if (made === 0) continue;
      this.#waiting.charge(sequence.tenant, OUTPUT_WEIGHT * made);
      this.#parts.drafting?.observe(sequence, { drafted: row.draws - 1, made });
      drawn.push({ sequence, tokens: tokens.subarray(0, made), logprobs });
    }
    return { drawn, failed };
  }

  /**
   * Voids every plan in flight after a failed step and trusts no KV any more: running sequences that were in no plan
   * compute theirs again. Returns the live sequences that were in one; the caller ends them, then `forgetKv`.
   */
  rollback(): readonly Sequence[] {
    const touched = new Set<Sequence>();
    for (const { plan, members } of this.#inFlight.splice(0)) {
      for (const [i, row] of plan.rows.entries()) {
        const member = members[i];
        if (member === undefined || member.sequence.status === 'finished') continue;
        member.sequence.release(row, member.generation);
        touched.add(member.sequence);
      }
    }
    this.#copies = [];
    this.#retire(this.#lastPlan);
    const none = new StepBuilder(0);
    for (const sequence of [...this.#running]) if (!touched.has(sequence)) this.#preempt(sequence, none);
    return [...touched];
  }

  /** After a rollback, when the touched sequences have ended: nothing cached is reused. */
  forgetKv(): void {
    this.#parts.kv.clear();
  }

  /** Ends a sequence in any state and frees what it holds. */
  finish(sequence: Sequence): void {
    if (sequence.status === 'waiting') this.#stopWaiting(sequence);
    else if (this.#running.delete(sequence)) this.#releaseKv(sequence);
    sequence.status = 'finished';
    this.#parts.drafting?.forget(sequence);
  }

  /** Every broken invariant, in words; empty when all hold. */
  violations(): readonly string[] {
    const broken = [...this.#parts.kv.violations()];
    for (const { number, computed, length, inFlight, pendingDraws, lateRows, status } of this.#running) {
      if (status !== 'running') broken.push(`sequence ${number} is ${status} among the running`);
      if (computed > length) broken.push(`sequence ${number} has computed ${computed} of ${length} tokens`);
      if (inFlight < 0 || pendingDraws < 0 || lateRows < 0) {
        broken.push(`sequence ${number} has ${inFlight} tokens, ${pendingDraws} draws, ${lateRows} rows in flight`);
      }
      const [block] = this.#parts.kv.blocks(number);
      if (block === undefined) broken.push(`sequence ${number} runs without KV`);
    }
    if (this.#running.size > this.#parts.maxNumSeqs) broken.push(`${this.#running.size} sequences run at once`);
    if (this.#running.size === 0 && this.#inFlight.length === 0 && this.#parts.kv.usage().live !== 0) {
      broken.push(`${this.#parts.kv.usage().live} KV tokens are held by nobody`);
    }
    return broken;
  }

  #retire(planId: number): void {
    this.#parts.kv.retire(planId);
    if (planId >= this.#roomAfter) this.#roomAfter = 0;
  }

  /** Last, so that drafts take nothing from a prompt, an admission or another's KV. */
  #addDrafts(
    decoding: readonly Sequence[],
    spare: { readonly kvTokens: number; readonly room: number },
    step: StepBuilder,
  ): void {
    const { drafting, maxModelLen, kv } = this.#parts;
    let { room } = spare;
    if (drafting === null || room < 1) return;
    const candidates = decoding
      .filter((sequence) => step.has(sequence))
      .map((subject) => ({ subject, room: Math.min(subject.draftRoom, maxModelLen - subject.scheduled) }));
    if (candidates.length === 0) return;
    const { tokens, draws } = step;
    const drafted = drafting.draft(candidates, { tokens, draws, kvTokens: spare.kvTokens });
    for (const [i, { subject: sequence }] of candidates.entries()) {
      const drafts = drafted[i]?.subarray(0, room) ?? NO_DRAFTS;
      if (drafts.length === 0 || !kv.reserve(sequence.number, sequence.scheduled + drafts.length)) continue;
      room -= drafts.length;
      step.remove(sequence);
      step.add(sequence, sequence.reserve(kv.blocks(sequence.number), 1, drafts));
    }
  }

  #planChunk(sequence: Sequence, step: StepBuilder): void {
    const count = Math.min(sequence.remaining, step.left);
    if (count < 1 || !this.#hold(sequence, sequence.scheduled + count, step)) return;
    step.add(sequence, sequence.reserve(this.#parts.kv.blocks(sequence.number), count));
  }

  /**
   * Room for `upTo` tokens, by preempting others of lower precedence. False when the sequence itself had to go, or has
   * to wait until plans in flight give a victim's room back: then one victim is enough.
   */
  #hold(sequence: Sequence, upTo: number, step: StepBuilder): boolean {
    while (!this.#parts.kv.reserve(sequence.number, upTo)) {
      if (this.#roomAfter > 0) return false;
      const victim = chooseVictim(this.#running, sequence) ?? sequence;
      if (this.#inFlight.length > 0) this.#roomAfter = this.#lastPlan;
      this.#preempt(victim, step);
      if (victim === sequence) return false;
    }
    return true;
  }

  /** Recompute: the victim loses its KV, keeps its tokens, and waits with its old place in line. */
  #preempt(victim: Sequence, step: StepBuilder): void {
    step.remove(victim);
    this.#running.delete(victim);
    this.#releaseKv(victim);
    const rows = this.#inFlight.reduce(
      (sum, { members }) => sum + members.filter((each) => isRowOf(each, victim)).length,
      0,
    );
    victim.preempt(rows);
    this.#wait(victim);
    this.preemptions++;
  }

  #wait(sequence: Sequence): void {
    this.#waiting.push(sequence);
    this.#waitingPrefill += sequence.prefillLeft;
  }

  #stopWaiting(sequence: Sequence): void {
    this.#waiting.remove(sequence);
    this.#waitingPrefill -= sequence.prefillLeft;
  }

  #releaseKv({ number }: Sequence): void {
    this.#parts.kv.release(number, this.#inFlight.length === 0 ? 0 : this.#lastPlan);
  }

  /** Takes in who waits, best first, while there is room. Whoever finds no KV holds the line: nobody overtakes. */
  #admit(step: StepBuilder): void {
    const { kv, maxNumSeqs } = this.#parts;
    let passed = 0;
    for (const sequence of this.#waiting) {
      if (this.#running.size >= maxNumSeqs || step.left < 1 || passed >= LOOK_AHEAD) return;
      if (sequence.lateRows > 0 || sharesPrefixInFlight(sequence, this.#running, kv)) {
        passed++;
        continue;
      }
      const admission = kv.admit(sequence.owner, sequence.length);
      if (admission === null) return;
      this.#stopWaiting(sequence);
      this.#running.add(sequence);
      sequence.status = 'running';
      sequence.computed = admission.cached;
      if (sequence.generation === 0) {
        sequence.cachedTokens = Math.min(admission.cached, sequence.request.promptIds.length);
        // At admission, so that within one step too the next place goes to the tenant served least.
        this.#waiting.charge(sequence.tenant, sequence.length - admission.cached);
      }
      this.#copies.push(...admission.copies);
      const count = Math.min(sequence.remaining, step.left);
      step.add(sequence, sequence.reserve(kv.blocks(sequence.number), count));
    }
  }
}

function isRowOf(member: PlannedStep['members'][number], sequence: Sequence): boolean {
  return member.sequence === sequence && member.generation === sequence.generation;
}

/** How many tokens to draft: what pays, by measured acceptance and predicted step time. Knows no drafter and no clock. */

/** What the policy remembers of one sequence. */
export interface DraftState {
  readonly acceptance: Acceptance;
  /** The last plan that could have drafted for it did. */
  drafting: boolean;
  /** Plans since it last drafted. */
  idlePlans: number;
}

/** A decoding sequence that may draft. */
export interface DraftRow {
  readonly state: DraftState;
  /** Tokens of context that its proposal rests on; 0 = there is none; null = its drafter cannot tell. */
  readonly matchLength: number | null;
  /** Most drafts that fit it. */
  readonly room: number;
}

/** Predicted milliseconds of the step with so many drafts in all; null = no prediction. */
export type StepMs = (drafts: number) => number | null;

export interface DraftStep {
  /** Rows that decode: each adds a token to its output whatever is drafted. At least the rows that may draft. */
  readonly decoding: number;
  /** Predicted milliseconds of a step of those rows alone; null = no prediction. */
  readonly decodeMs: number | null;
  readonly stepMs: StepMs;
}

/** Classes of match length, tokens: the longer the match, the likelier the draft. The last class is "cannot tell". */
const MATCH_CLASSES = [4, 8] as const;
const CLASSES = MATCH_CLASSES.length + 2;
/** How much older outcomes count after each new one: of a sequence, and of all together. */
const OWN_MEMORY = 0.9;
const SHARED_MEMORY = 0.995;
/** What is shared counts as so many drafts of the sequence's own. */
const PRIOR_DRAFTS = 4;
/** Before anything was verified. */
const FIRST_RATE = 0.5;
const FIRST_DRAFTS = 8;

/** Drafted tokens that were looked at and those that held, exponentially weighted, by class of match. */
export class Acceptance {
  readonly #tried = new Float64Array(CLASSES);
  readonly #held = new Float64Array(CLASSES);
  readonly #memory: number;
  readonly #prior: Acceptance | null;

  /** `prior`: what stands in for outcomes of its own; null = `FIRST_RATE`. */
  constructor(memory: number, prior: Acceptance | null) {
    this.#memory = memory;
    this.#prior = prior;
  }

  /** Chance that a draft holds when those before it did. */
  rate(matchLength: number | null): number {
    const at = classOf(matchLength);
    const [prior, weight] =
      this.#prior === null ? [FIRST_RATE, FIRST_DRAFTS] : [this.#prior.rate(matchLength), PRIOR_DRAFTS];
    return (prior * weight + (this.#held[at] ?? 0)) / (weight + (this.#tried[at] ?? 0));
  }

  /** Of `drafted` tokens the first `accepted` held; those after the first refused one say nothing. */
  record(matchLength: number | null, drafted: number, accepted: number): void {
    const at = classOf(matchLength);
    this.#tried[at] = this.#memory * (this.#tried[at] ?? 0) + Math.min(drafted, accepted + 1);
    this.#held[at] = this.#memory * (this.#held[at] ?? 0) + accepted;
  }
}

function classOf(matchLength: number | null): number {
  if (matchLength === null) return CLASSES - 1;
  let at = 0;
  for (const from of MATCH_CLASSES) if (matchLength >= from) at++;
  return at;
}

/** The thresholds that are tried, 0.95 down to 0.04. */
const SURVIVALS = Array.from({ length: 21 }, (_, i) => 0.95 * 0.85 ** i);
/** A sequence that does not draft needs drafts better by this factor before it begins. */
const ENTRY = 0.9;
/** Drafting must promise so many times the tokens per millisecond of not drafting. */
const MARGIN = 1.02;
/** Share of the time that may go into probes. */
const PROBE_SHARE = 0.01;
/** Plans without a draft before a sequence is probed. */
const PROBE_AFTER = 32;
const PROBE_DRAFTS = 2;
/** A match at least so long is worth a probe. */
const PROBE_MATCH = MATCH_CLASSES[0];

/**
 * Lengths for a whole step at once. The plan is one number, the chance that a draft must have of being reached and
 * holding: for every threshold the rows' lengths, the tokens they are expected to add and the predicted milliseconds
 * are known, and the best ratio wins (DSpark's rule in vLLM).
 *
 * Prompt tokens of the step count as what the decode rows would have made in their time: a draft must earn more in
 * its milliseconds than plain decoding does, also where a long chunk hides its cost.
 */
export class DraftLengths {
  readonly #shared = new Acceptance(SHARED_MEMORY, null);
  /** Milliseconds saved up for probes. */
  #probeMs = 0;

  /** For a sequence that begins: it is likely to be as the others were lately. */
  newState(): DraftState {
    return { acceptance: new Acceptance(OWN_MEMORY, this.#shared), drafting: true, idlePlans: 0 };
  }

  /** Expected acceptance over all sequences, for metrics. */
  sharedRate(matchLength: number | null): number {
    return this.#shared.rate(matchLength);
  }

  /** A row was verified: of `drafted` tokens (at least 1) the first `accepted` held. */
  record(state: DraftState, matchLength: number | null, outcome: { drafted: number; accepted: number }): void {
    if (outcome.drafted < 1) return;
    state.acceptance.record(matchLength, outcome.drafted, outcome.accepted);
    this.#shared.record(matchLength, outcome.drafted, outcome.accepted);
  }

  /** Tokens to draft for each row; all 0 where that pays best, or where nothing is predicted yet. */
  plan(rows: readonly DraftRow[], step: DraftStep): readonly number[] {
    const none = rows.map(() => 0);
    const { decodeMs } = step;
    const baseMs = step.stepMs(0);
    if (baseMs === null || decodeMs === null || baseMs <= 0 || decodeMs <= 0) return none;
    const lengths = bestLengths(rows, { step, committed: (step.decoding * baseMs) / decodeMs, baseMs }) ?? none;
    rows.forEach(({ state, matchLength, room }, i) => {
      const drafts = lengths[i] ?? 0;
      // Without a proposal nothing was decided.
      if (matchLength !== 0 && room > 0) state.drafting = drafts > 0;
      state.idlePlans = drafts > 0 ? 0 : state.idlePlans + 1;
    });
    return this.#withProbe(rows, lengths, step);
  }

  /** One row that has not drafted for long tries a few, when enough time has been saved up for it. */
  #withProbe(rows: readonly DraftRow[], lengths: readonly number[], step: DraftStep): readonly number[] {
    const drafted = lengths.reduce((sum, drafts) => sum + drafts, 0);
    const plannedMs = step.stepMs(drafted) ?? 0;
    const probedMs = step.stepMs(drafted + PROBE_DRAFTS) ?? Infinity;
    const costMs = Math.max(0, probedMs - plannedMs);
    this.#probeMs = Math.min(this.#probeMs + PROBE_SHARE * plannedMs, costMs);
    const probed = this.#probeMs < costMs ? null : longestIdle(rows);
    if (probed === null) return lengths;
    this.#probeMs -= costMs;
    probed.state.idlePlans = 0;
    return lengths.map((drafts, i) => (rows[i] === probed ? Math.min(PROBE_DRAFTS, probed.room) : drafts));
  }
}

/** The row to probe; null = none is due. */
function longestIdle(rows: readonly DraftRow[]): DraftRow | null {
  let longest: DraftRow | null = null;
  for (const row of rows) {
    const { state, matchLength, room } = row;
    if (room < 1 || (matchLength ?? PROBE_MATCH) < PROBE_MATCH || state.idlePlans < PROBE_AFTER) continue;
    if (longest === null || state.idlePlans > longest.state.idlePlans) longest = row;
  }
  return longest;
}

/**
 * Null: no drafts is best. `committed`: what the step is worth without drafts, in output tokens. Rates are the chance
 * that a draft holds when those before it did, so the k-th draft of a row is reached and holds with rate^k (geometric
 * model, Leviathan et al., 2022), and that is what it is expected to add.
 */
function bestLengths(
  rows: readonly DraftRow[],
  { step, committed, baseMs }: { readonly step: DraftStep; readonly committed: number; readonly baseMs: number },
): readonly number[] | null {
  const rooms = rows.map(({ matchLength, room }) => (matchLength === 0 ? 0 : room));
  const rates = rows.map(({ state, matchLength }) => state.acceptance.rate(matchLength) * (state.drafting ? 1 : ENTRY));
  /** Of each row: the chance of its next draft, and its drafts so far. */
  const next = [...rates];
  const lengths = rows.map(() => 0);
  let [drafted, added] = [0, 0];
  let best: readonly number[] | null = null;
  let bestPace = (MARGIN * committed) / baseMs;
  for (const survival of SURVIVALS) {
    const before = drafted;
    for (let i = 0; i < rows.length; i++) {
      let chance = next[i] ?? 0;
      let length = lengths[i] ?? 0;
      if (chance < survival || length >= (rooms[i] ?? 0)) continue;
      for (; chance >= survival && length < (rooms[i] ?? 0); length++) {
        drafted++;
        added += chance;
        chance *= rates[i] ?? 0;
      }
      next[i] = chance;
      lengths[i] = length;
    }
    if (drafted === before) continue;
    const ms = step.stepMs(drafted);
    if (ms === null || (committed + added) / ms <= bestPace) continue;
    bestPace = (committed + added) / ms;
    best = [...lengths];
  }
  return best;
}

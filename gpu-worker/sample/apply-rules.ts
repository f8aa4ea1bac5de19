/** Changes one row of logits by its rules, in place. Knows no tensors and no draw. */
import type { LogitsRules } from './logits-rules.ts';

/** Which draw of its sequence the row is for. */
export interface DrawPoint {
  readonly index: number;
  /** Output that the history does not have yet, drafts among it. */
  readonly drafts: Int32Array;
}

/** `logits` [V]. Touches the ids concerned and no others; ids that the model has not are ignored. May leave nothing but −Infinity. */
export function applyRules(logits: Float32Array, rules: LogitsRules, { index, drafts }: DrawPoint): void {
  const drafted = countOf(drafts);
  if (rules.repetitionPenalty !== 1) penalizeRepetition(logits, rules, drafted);
  if (rules.frequencyPenalty !== 0 || rules.presencePenalty !== 0) penalizeOutput(logits, rules, drafted);
  for (const [id, bias] of rules.bias) logits[id] = (logits[id] ?? 0) + fround(bias);
  if (rules.forbidden !== null && index < rules.forbidden.untilIndex) {
    for (const id of rules.forbidden.ids) logits[id] = -Infinity;
  }
  const allowed = rules.mask?.allowed(drafts) ?? null;
  if (allowed !== null) applyMask(logits, allowed);
}

/** Every operation rounds to float32: one on two float32 values in float64 loses nothing before that. */
const { fround } = Math;
type Counts = ReadonlyMap<number, number>;
const NO_COUNTS: Counts = new Map();

function countOf(drafts: Int32Array): Counts {
  if (drafts.length === 0) return NO_COUNTS;
  const counts = new Map<number, number>();
  for (const id of drafts) counts.set(id, (counts.get(id) ?? 0) + 1);
  return counts;
}

/** Each token of prompt, output and drafts once. */
function penalizeRepetition(logits: Float32Array, { history, repetitionPenalty }: LogitsRules, drafted: Counts): void {
  const penalty = fround(repetitionPenalty);
  const penalize = (id: number) => {
    const logit = logits[id] ?? 0;
    logits[id] = logit > 0 ? logit / penalty : logit * penalty;
  };
  for (const id of history.ids) penalize(id);
  for (const id of drafted.keys()) if (history.placeOf(id) === null) penalize(id);
}

/** Each token once, whether it stands in the output or in the drafts: both must give the same logit. */
function penalizeOutput(logits: Float32Array, { history, ...penalties }: LogitsRules, drafted: Counts): void {
  const [frequency, presence] = [fround(penalties.frequencyPenalty), fround(penalties.presencePenalty)];
  const penalize = (id: number, count: number) => {
    logits[id] = (logits[id] ?? 0) - fround(fround(frequency * count) + presence);
  };
  const { ids, counts } = history;
  for (let i = 0; i < ids.length; i++) {
    const [id = 0, count = 0] = [ids[i], counts[i]];
    const all = count + (drafted.get(id) ?? 0);
    if (all > 0) penalize(id, all);
  }
  for (const [id, count] of drafted) if (history.placeOf(id) === null) penalize(id, count);
}

/** A word that is missing allows nothing. */
function applyMask(logits: Float32Array, allowed: Uint32Array): void {
  for (let start = 0, at = 0; start < logits.length; start += 32, at++) {
    const word = allowed[at] ?? 0;
    if (word === 0xffff_ffff) continue;
    const end = Math.min(start + 32, logits.length);
    if (word === 0) logits.fill(-Infinity, start, end);
    else for (let id = start; id < end; id++) if (((word >>> (id & 31)) & 1) === 0) logits[id] = -Infinity;
  }
}

/** Steps → where their time went. Pure. */
import type { StepStats } from '../../../gpu-worker/engine/messages.ts';

export interface StepRecord {
  /** Of `Engine.step` as a whole. */
  readonly wallMs: number;
  readonly stats: StepStats;
}

/** Means over steps: milliseconds, and what was in a step. */
export interface StepProfile {
  readonly steps: number;
  readonly wallMs: number;
  readonly scheduleMs: number;
  readonly runMs: number;
  readonly sampleMs: number;
  readonly commitMs: number;
  /** The rest of the wall time: launch and outputs. */
  readonly otherMs: number;
  readonly rows: number;
  readonly tokens: number;
  readonly draftedTokens: number;
  readonly acceptedTokens: number;
}

export function profileOf(steps: readonly StepRecord[]): StepProfile {
  const mean = (of: (step: StepRecord) => number) =>
    Number((steps.reduce((sum, step) => sum + of(step), 0) / steps.length).toPrecision(4));
  const own = ({ stats }: StepRecord) => stats.scheduleMs + stats.runMs + stats.sampleMs + stats.commitMs;
  return {
    steps: steps.length,
    wallMs: mean(({ wallMs }) => wallMs),
    scheduleMs: mean(({ stats }) => stats.scheduleMs),
    runMs: mean(({ stats }) => stats.runMs),
    sampleMs: mean(({ stats }) => stats.sampleMs),
    commitMs: mean(({ stats }) => stats.commitMs),
    otherMs: mean((step) => step.wallMs - own(step)),
    rows: mean(({ stats }) => stats.rows),
    tokens: mean(({ stats }) => stats.tokens),
    draftedTokens: mean(({ stats }) => stats.draftedTokens),
    acceptedTokens: mean(({ stats }) => stats.acceptedTokens),
  };
}

/** One line under the table. */
export function profileText(profile: StepProfile): string {
  const { steps, wallMs, scheduleMs, runMs, sampleMs, commitMs, otherMs, rows, tokens } = profile;
  const times = `${wallMs} ms = schedule ${scheduleMs} + run ${runMs} + sample ${sampleMs} + commit ${commitMs} + other ${otherMs}`;
  const drafts = `${profile.draftedTokens} drafted, ${profile.acceptedTokens} accepted`;
  return `${steps} steps of ${times}; ${rows} rows, ${tokens} tokens, ${drafts} a step`;
}

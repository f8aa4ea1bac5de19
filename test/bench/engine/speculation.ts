/** The same requests with and without drafts, on one engine, in turn. Knows no texts. */
import type { EngineRequest, Speculation } from '../../../gpu-worker/engine/messages.ts';
import { spreadOf } from '../rounds.ts';
import type { Bench, BenchModel } from './bench.ts';
import { differing, EngineLoop, tokensPerSecond, type RunRecord } from './engine-loop.ts';
import type { Figure } from './measure.ts';
import type { Scripts } from './script-mask.ts';
import { profileOf } from './step-profile.ts';

export interface SpeculationCell {
  readonly name: string;
  /** Requests that run at once. */
  readonly batch: number;
  /** Null: only to be known. */
  readonly atLeast: number | null;
  /** Whether the model writes by itself: then seeded requests are compared too, token by token. */
  readonly free: boolean;
  /** Ids are to be new for every `key`. */
  readonly requests: (key: string, speculation: Speculation, draw: Draw) => readonly EngineRequest[];
  readonly details: Readonly<Record<string, unknown>>;
}

export type Draw = 'greedy' | 'seeded';
/** `params` of both ways to draw. */
export const DRAWS = { greedy: { temperature: 0 }, seeded: { temperature: 0.8 } } as const;

const SIDES = ['off', 'auto'] as const;
type Rounds = Record<(typeof SIDES)[number], RunRecord[]>;

/**
 * Output tokens/s of auto ÷ those of off. The engine drafts for requests that ask for it, and both sides share what it
 * has learned of step times. Drafts that change a token of float32 weights are a fault; of int8 and int4, whose last
 * bits depend on the shape of a step, the outputs that differ are counted. Prompts are in the prefix cache from the warm-up on, so the time is that of decoding.
 */
export async function compareSpeculation(
  bench: Bench,
  parts: { readonly model: BenchModel; readonly scripts: Scripts; readonly cells: readonly SpeculationCell[] },
): Promise<readonly Figure[]> {
  const { model, scripts, cells } = parts;
  const policy = { mode: 'balanced', prefixCaching: true, speculation: 'auto' } as const;
  const loop = new EngineLoop(model, { policy, maskFor: scripts.maskFor });
  const figures: Figure[] = [];
  for (const cell of cells) {
    const run = (key: string, side: Speculation, draw: Draw = 'greedy'): RunRecord =>
      loop.run(cell.requests(`${cell.name} ${key} ${side} ${draw}`, side, draw), cell.batch);
    bench.show(`${cell.name}, warm-up`);
    run('warm-up', 'auto');
    const pairs: Pair[] = [];
    if (cell.free) pairs.push({ off: run('seeded', 'off', 'seeded'), auto: run('seeded', 'auto', 'seeded') });
    const rounds: Rounds = { off: [], auto: [] };
    await bench.eachRound(
      SIDES.map((side) => `${cell.name}, ${side}` as const),
      (label, round) => {
        const side = label.endsWith('auto') ? 'auto' : 'off';
        rounds[side].push(run(String(round), side));
      },
    );
    for (const [i, auto] of rounds.auto.entries()) {
      const off = rounds.off[i];
      if (off !== undefined) pairs.push({ off, auto });
    }
    const differences = pairs.flatMap(differencesOf);
    const comparedOutputs = pairs.reduce((sum, { off }) => sum + off.outputs.length, 0);
    const [first] = differences;
    if (first !== undefined && model.exact) {
      const count = `${differences.length} of ${comparedOutputs} outputs`;
      bench.fault(`${cell.name}: with drafts ${count} differ, one from token ${first} on`);
    }
    figures.push(figureOf(cell, rounds, { differingOutputs: differences.length, comparedOutputs }));
  }
  return figures;
}

interface Pair {
  readonly off: RunRecord;
  readonly auto: RunRecord;
}

/** Of each output that differs: the first token that does. */
function differencesOf({ off, auto }: Pair): readonly number[] {
  return differing(off.outputs, auto.outputs).map((i) => {
    const [a, b] = [off.outputs[i]?.ids ?? [], auto.outputs[i]?.ids ?? []];
    const at = a.findIndex((id, token) => id !== b[token]);
    return at < 0 ? a.length : at;
  });
}

function figureOf(
  { name, batch, atLeast, details }: SpeculationCell,
  { off, auto }: Rounds,
  compared: { readonly differingOutputs: number; readonly comparedOutputs: number },
): Figure {
  const speeds = { off: off.map(tokensPerSecond), auto: auto.map(tokensPerSecond) };
  const usages = auto.flatMap(({ outputs }) => outputs.flatMap(({ usage }) => usage ?? []));
  const total = (of: (usage: (typeof usages)[number]) => number) => usages.reduce((sum, each) => sum + of(each), 0);
  const [drafted, accepted] = [total((each) => each.draftedTokens), total((each) => each.acceptedTokens)];
  const steps = auto.reduce((sum, each) => sum + each.steps.length, 0);
  return {
    ...{ name, unit: '×', spread: spreadOf(speeds.auto.map((each, i) => each / (speeds.off[i] ?? NaN))) },
    must: atLeast === null ? null : { atLeast },
    details: {
      ...{ batch, ...details, draftedTokens: drafted, acceptedTokens: accepted, ...compared },
      acceptanceRate: drafted === 0 ? null : accepted / drafted,
      outputTokensPerStep: total((each) => each.completionTokens) / steps,
      cachedPromptShare: total((each) => each.cachedTokens) / total((each) => each.promptTokens),
      offTokensPerSecond: spreadOf(speeds.off),
      autoTokensPerSecond: spreadOf(speeds.auto),
    },
    profiles: {
      off: profileOf(off.flatMap((each) => each.steps)),
      auto: profileOf(auto.flatMap((each) => each.steps)),
    },
  };
}

/** What a long prompt that arrives does to the streams that run: chunked prefill under the balanced mode. */
import { engineRequest } from '../../support/engine-world.ts';
import { median, percentile, spreadOf } from '../rounds.ts';
import type { Bench } from './bench.ts';
import { EngineLoop, type Output } from './engine-loop.ts';
import type { Figure } from './measure.ts';
import { randomIds } from './random-ids.ts';
import { profileOf, type StepRecord } from './step-profile.ts';

const FULL = { streams: 8, promptTokens: 128, quietSteps: 100, arrivalTokens: 2000, streamTokens: 2400 };
const QUICK: typeof FULL = { streams: 4, promptTokens: 16, quietSteps: 20, arrivalTokens: 128, streamTokens: 200 };
const SIDES = ['off', 'auto'] as const;
/** Steps after the arrival that are enough for any prompt here. */
const MAX_STEPS = 2000;

interface RoundOptions extends Readonly<typeof FULL> {
  readonly key: string;
  readonly vocabSize: number;
  readonly speculation: (typeof SIDES)[number];
}

interface Round {
  readonly quietMs: readonly number[];
  readonly disturbedMs: readonly number[];
  readonly arrivalTtftMs: number;
  readonly quietSteps: readonly StepRecord[];
  readonly disturbedSteps: readonly StepRecord[];
}

/**
 * p99 of the streams' ITL from the arrival to its first token ÷ p99 of as many streams undisturbed right before. Once
 * without drafts and once with them, which compete with the prompt for the step: random weights repeat themselves.
 */
export async function arrival(bench: Bench): Promise<readonly Figure[]> {
  const size = bench.size.quick ? QUICK : FULL;
  const policy = { mode: 'balanced', prefixCaching: false, speculation: 'auto' } as const;
  const loop = new EngineLoop(bench.model, { policy });
  const { vocabSize } = bench.model.runner.info;
  bench.show('warm-up');
  playRound(loop, { ...size, key: 'warm-up', vocabSize, speculation: 'off' });
  const rounds: Record<(typeof SIDES)[number], Round[]> = { off: [], auto: [] };
  await bench.eachRound(SIDES, (speculation, round) => {
    rounds[speculation].push(playRound(loop, { ...size, key: `${speculation} ${round}`, vocabSize, speculation }));
  });
  return [...SIDES.map((side) => figureOf(side, rounds[side], size)), ttftFigure(rounds)];
}

/** What the drafts of running streams cost the prompt that arrives. */
function ttftFigure({ off, auto }: Record<(typeof SIDES)[number], readonly Round[]>): Figure {
  const ratios = auto.map(({ arrivalTtftMs }, i) => arrivalTtftMs / (off[i]?.arrivalTtftMs ?? NaN));
  const name = 'TTFT of an arrival, drafts auto ÷ off';
  return { name, unit: '×', spread: spreadOf(ratios), must: { atMost: 1.25 }, details: {}, profiles: {} };
}

function figureOf(speculation: string, rounds: readonly Round[], size: typeof FULL): Figure {
  const ratioAt = (fraction: number) =>
    spreadOf(rounds.map((each) => percentile(each.disturbedMs, fraction) / percentile(each.quietMs, fraction)));
  const details = {
    ...size,
    quietP50Ms: spreadOf(rounds.map(({ quietMs }) => median(quietMs))),
    quietP99Ms: spreadOf(rounds.map(({ quietMs }) => percentile(quietMs, 0.99))),
    disturbedP50Ms: spreadOf(rounds.map(({ disturbedMs }) => median(disturbedMs))),
    disturbedP99Ms: spreadOf(rounds.map(({ disturbedMs }) => percentile(disturbedMs, 0.99))),
    p50Ratio: ratioAt(0.5),
    arrivalTtftMs: spreadOf(rounds.map(({ arrivalTtftMs }) => arrivalTtftMs)),
  };
  const profiles = {
    quiet: profileOf(rounds.flatMap(({ quietSteps }) => quietSteps)),
    disturbed: profileOf(rounds.flatMap(({ disturbedSteps }) => disturbedSteps)),
  };
  const name = `ITL p99 at an arrival, drafts ${speculation}`;
  return { name, unit: '×', spread: ratioAt(0.99), must: { atMost: 3 }, details, profiles };
}

function playRound(loop: EngineLoop, { key, vocabSize, speculation, ...size }: RoundOptions): Round {
  const add = (name: string, promptTokens: number, maxTokens: number) => {
    const promptIds = randomIds(`arrival ${key} ${name}`, promptTokens, vocabSize);
    return loop.add(engineRequest(`${key} ${name}`, { promptIds, speculation, params: { maxTokens } }));
  };
  const streams = Array.from({ length: size.streams }, (_, i) =>
    add(`stream ${i}`, size.promptTokens, size.streamTokens),
  );
  stepUntil(loop, () => streams.every(({ ids }) => ids.length > 0));
  const quiet = gapsOf(streams);
  let left = size.quietSteps;
  const quietSteps = stepUntil(loop, () => left-- === 0);
  const quietMs = quiet();
  const disturbed = gapsOf(streams);
  const begin = performance.now();
  const arrived = add('arrival', size.arrivalTokens, 2);
  const disturbedSteps = stepUntil(loop, () => arrived.ids.length > 0);
  const arrivalTtftMs = performance.now() - begin;
  const disturbedMs = disturbed();
  loop.abortAll();
  return { quietMs, disturbedMs, arrivalTtftMs, quietSteps, disturbedSteps };
}

function stepUntil(loop: EngineLoop, done: () => boolean): readonly StepRecord[] {
  const steps: StepRecord[] = [];
  while (!done()) {
    const step = loop.step();
    if (step !== null) steps.push(step);
    if (steps.length > MAX_STEPS) throw new Error(`no end after ${MAX_STEPS} steps`);
  }
  return steps;
}

/** The gaps of all streams that end between this call and the returned one. */
function gapsOf(streams: readonly Output[]): () => readonly number[] {
  const from = streams.map(({ arrivalsMs }) => arrivalsMs.length);
  return () =>
    streams.flatMap(({ arrivalsMs }, i) => {
      const since = arrivalsMs.slice((from[i] ?? 0) - 1);
      return since.slice(1).map((at, gap) => at - (since[gap] ?? at));
    });
}

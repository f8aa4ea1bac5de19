/** What a step costs outside the runner: adding, scheduling, launch, commit, text and outputs, with a runner without a model. */
import { performance } from 'node:perf_hooks';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { Engine } from '../../../gpu-worker/engine/engine.ts';
import type { KvLayout } from '../../../gpu-worker/engine/runner.ts';
import { TokenBytes } from '../../../gpu-worker/text/detokenizer.ts';
import { engineRequest } from '../../support/engine-world.ts';
import { median, percentile, spreadOf, type Spread } from '../rounds.ts';
import type { Bench } from './bench.ts';
import { FakeRunner } from './fake-runner.ts';
import type { Figure } from './measure.ts';
import { randomIds } from './random-ids.ts';
import { profileOf, type StepRecord } from './step-profile.ts';

const MAX_MS: Readonly<Record<number, number>> = { 64: 0.5, 512: 3 };
const FULL = { sequences: [64, 512], steps: 400, warmUp: 200 };
const QUICK: typeof FULL = { sequences: [8], steps: 20, warmUp: 10 };
const KINDS = ['slots', 'blocks'] as const;
const VOCAB = 151_936;
const PROMPT_TOKENS = 64;
/** Outputs are 128 to 255 tokens long, so sequences end at different times, and each is replaced at once. */
const OUTPUT_TOKENS = 128;

interface Round {
  readonly hostMs: readonly number[];
  readonly postMs: readonly number[];
  readonly receiveMs: readonly number[];
  readonly steps: readonly StepRecord[];
}

/**
 * Per step, while so many sequences run: the time of `add` and `step` less the runner's own, and apart from it what
 * `postMessage` takes to clone the outputs, and the other side to read them.
 */
export async function host(bench: Bench): Promise<readonly Figure[]> {
  const { sequences, steps, warmUp } = bench.size.quick ? QUICK : FULL;
  const figures: Figure[] = [];
  for (const running of sequences) {
    const sides = KINDS.map((kind) => `${kind} ${running}` as const);
    const rounds: Record<string, Round[]> = {};
    await bench.eachRound(sides, (side, round) => {
      const kind = side.startsWith('slots') ? 'slots' : 'blocks';
      (rounds[side] ??= []).push(playRound({ kind, running, steps, warmUp, key: `host ${round}` }));
    });
    for (const side of sides) figures.push(...figuresOf(side, running, rounds[side] ?? []));
  }
  return figures;
}

function figuresOf(side: string, running: number, rounds: readonly Round[]): readonly Figure[] {
  const over = (of: (round: Round) => number): Spread => spreadOf(rounds.map(of));
  const known = (name: string, spread: Spread): Figure => {
    return { name: `host ${side}, ${name}`, unit: 'ms', spread, must: null, details: { running }, profiles: {} };
  };
  const most = MAX_MS[running];
  return [
    {
      ...known(
        '',
        over(({ hostMs }) => median(hostMs)),
      ),
      name: `host ${side}`,
      must: most === undefined ? null : { atMost: most },
      // The runner's own time is in it.
      profiles: { steps: profileOf(rounds.flatMap(({ steps }) => steps)) },
    },
    known(
      'p99',
      over(({ hostMs }) => percentile(hostMs, 0.99)),
    ),
    known(
      'clone outputs',
      over(({ postMs }) => median(postMs)),
    ),
    known(
      'read clone',
      over(({ receiveMs }) => median(receiveMs)),
    ),
  ];
}

interface RoundOptions {
  readonly kind: KvLayout['kind'];
  readonly running: number;
  readonly steps: number;
  readonly warmUp: number;
  readonly key: string;
}

function playRound({ kind, running, steps, warmUp, key }: RoundOptions): Round {
  const runner = new FakeRunner(kind, running, VOCAB);
  const policy = { mode: 'balanced', prefixCaching: true, speculation: 'auto', ttftMs: null, itlMs: null } as const;
  const engine = new Engine({ runner, tokenBytes: WORDS, now: Date.now, policy });
  const lengths = randomIds(key, 1024, OUTPUT_TOKENS);
  let added = 0;
  const requestOf = () => {
    const maxTokens = OUTPUT_TOKENS + (lengths[added % lengths.length] ?? 0);
    const promptIds = randomIds(`${key} ${added}`, PROMPT_TOKENS, VOCAB);
    return engineRequest(`${key} ${added++}`, { promptIds, params: { maxTokens } });
  };
  let waiting = Array.from({ length: running }, requestOf);
  const { port1, port2 } = new MessageChannel();
  const round = {
    hostMs: [] as number[],
    postMs: [] as number[],
    receiveMs: [] as number[],
    steps: [] as StepRecord[],
  };
  for (let step = 0, full = -warmUp; full < steps; step++) {
    if (step > 100 * (warmUp + steps)) throw new Error(`never were ${running} sequences running`);
    const own = runner.ownMs;
    const begin = performance.now();
    for (const request of waiting) engine.add(request);
    const outputs = engine.step();
    const stepped = performance.now();
    port1.postMessage({ type: 'outputs', ...outputs, load: engine.load });
    const posted = performance.now();
    receiveMessageOnPort(port2);
    const received = performance.now();
    waiting = outputs.ends.map(requestOf);
    // While the first prompts come in, or most are still to, it is not the step that is asked about.
    const { step: stats } = outputs;
    if (stats === null || stats.rows < 0.9 * running || full++ < 0) continue;
    const [wallMs, runMs] = [stepped - begin, runner.ownMs - own];
    round.hostMs.push(wallMs - runMs);
    // What the runner said it took is made up.
    round.steps.push({ wallMs, stats: { ...stats, runMs } });
    round.postMs.push(posted - stepped);
    round.receiveMs.push(received - posted);
  }
  port1.close();
  return round;
}

/** Every id has four bytes of text. */
const WORDS = new TokenBytes(
  Array.from({ length: VOCAB }, (_, id) => Buffer.from(` ${id.toString(36).padStart(3, 'a')}`)),
);

/** The same traces under each routing: TTFT at a rate that all can serve, throughput at one that most cannot. */
import { fileURLToPath } from 'node:url';
import { ROUTINGS, type Routing } from '../../../edge/prefix/router.ts';
import type { Figure } from '../engine/measure.ts';
import { PromptMaker } from '../prompts.ts';
import { left, right } from '../report.ts';
import { percentile } from '../rounds.ts';
import { formatTable } from '../table.ts';
import { makeTrace } from './arrivals.ts';
import { FleetStack, MODEL, type Fleet } from './fleet-stack.ts';
import { figure, type Measure } from './measure.ts';
import type { RoutingOptions } from './options.ts';
import { play, type Played, type PlayOptions } from './play.ts';
import type { StepCosts } from './simulated-runner.ts';

/** About an 8-billion model on a card with a quarter of an H100's arithmetic: 4,000 prompt tokens a second. */
export const STEP_COSTS: StepCosts = { constantMs: 15, sequenceMs: 0.1, tokenMs: 0.25, kvTokenMs: 0.00004 };
const FULL = { tenants: 60, systemTokens: 1500, maxTokens: 16, gateways: 4, cachedPrompts: 24, warmUpSeconds: 20 };
const QUICK: typeof FULL = { ...FULL, tenants: 6, systemTokens: 300, cachedPrompts: 4, warmUpSeconds: 2 };
/** Two cores carry the traffic of so many workers; of more, each is slower in proportion and gets as many requests fewer. */
const FULL_SPEED_WORKERS = 8;
/** KV for prompts that run, beside the cached ones. */
const ROOM_TOKENS = 4000;

type TraceName = 'steady' | 'overload';

export interface FleetRun {
  readonly workers: number;
  readonly routing: Routing;
  readonly trace: TraceName;
  /** Steps take so many times STEP_COSTS, and the rates are divided by it. */
  readonly slowdown: number;
  readonly requests: number;
  readonly refused: number;
  /** Of requests sent in the window; in the overload trace of those that were answered by its end. */
  readonly ttftMeanMs: number;
  readonly ttftP90Ms: number;
  readonly completedPerSecond: number;
  /** Prompt and output tokens of those. */
  readonly tokensPerSecond: number;
  readonly hitRate: number;
  /** Busiest worker ÷ mean: requests ended, time in steps. */
  readonly requestsSpread: number;
  readonly busySpread: number;
  /** Share of the window that workers spent in steps, mean. */
  readonly utilization: number;
  /** Of the machine that runs all of it: above 0.9 it adds to all times. */
  readonly hostCpu: number;
  readonly lateMs: number;
}

export const fleet: Measure = async (options, show) => {
  const size = options.quick ? QUICK : FULL;
  show('making prompts');
  const folder = fileURLToPath(new URL(`../../../models/${MODEL}`, import.meta.url));
  const maker = new PromptMaker(folder, Infinity, size.systemTokens);
  const systems = Array.from({ length: size.tenants }, (_, k) => maker.make(`tenant ${k}`).content);
  await using stack = await FleetStack.start({ tenants: size.tenants, gateways: size.gateways, progress: show });
  const runs: FleetRun[] = [];
  for (const workers of options.workers) {
    for (const routing of ROUTINGS) {
      const label = `${workers} workers, ${routing}`;
      show(`${label}: starting`);
      const flags = flagsOf(size);
      const slowdown = Math.max(1, workers / FULL_SPEED_WORKERS);
      await using running = await stack.open({ workers, routing, costs: slower(STEP_COSTS, slowdown), flags });
      for (const trace of ['steady', 'overload'] as const) {
        const progress = (text: string) => show(`${label}, ${trace}: ${text}`);
        const play = { size, systems, apiKeys: stack.apiKeys, progress };
        const rate = ((trace === 'steady' ? options.rate : options.overloadRate) * workers) / slowdown;
        const played = await playTrace(running, options, { ...play, rate, trace });
        runs.push(runOf({ workers, routing, trace, slowdown }, played));
      }
    }
  }
  return { figures: options.workers.flatMap((workers) => figuresOf(workers, runs)), table: runTable(runs) };
};

function slower({ constantMs, sequenceMs, tokenMs, kvTokenMs }: StepCosts, factor: number): StepCosts {
  return {
    ...{ constantMs: constantMs * factor, sequenceMs: sequenceMs * factor },
    ...{ tokenMs: tokenMs * factor, kvTokenMs: kvTokenMs * factor },
  };
}

function flagsOf({ cachedPrompts, systemTokens }: typeof FULL): readonly string[] {
  const kvTokens = cachedPrompts * systemTokens + ROOM_TOKENS;
  const values = { 'kv-cache-tokens': kvTokens, 'max-num-seqs': 32, 'max-waiting': 64, 'max-num-batched-tokens': 2048 };
  const flags = Object.entries(values).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return [...flags, '--speculation', 'off'];
}

interface TraceParts extends Pick<PlayOptions, 'systems' | 'apiKeys' | 'progress'> {
  readonly size: typeof FULL;
  /** Requests per second of the whole fleet. */
  readonly rate: number;
  readonly trace: TraceName;
}

function playTrace(running: Fleet, options: RoutingOptions, parts: TraceParts): Promise<Played> {
  const { size, rate, trace, systems, apiKeys, progress } = parts;
  const { tenants, warmUpSeconds, maxTokens } = size;
  const seconds = warmUpSeconds + options.seconds;
  return play(running, {
    trace: makeTrace({ ...options, seconds, requestsPerSecond: rate, tenants }),
    ...{ systems, apiKeys, maxTokens, progress },
    ...{ warmUpMs: warmUpSeconds * 1000, windowMs: options.seconds * 1000, toTheEnd: trace === 'steady' },
  });
}

function runOf(head: Pick<FleetRun, 'workers' | 'routing' | 'trace' | 'slowdown'>, played: Played): FleetRun {
  const { answers, completed, workers, windowMs, sent, refused, hostCpu, lateMs } = played;
  const ttfts = answers.map(({ sentMs, firstMs }) => firstMs - sentMs);
  const promptTokens = sum(answers.map((each) => each.promptTokens));
  const busySeconds = workers.map((each) => each.busySeconds);
  return {
    ...{ ...head, requests: sent, refused, hostCpu, lateMs },
    ...{ ttftMeanMs: mean(ttfts), ttftP90Ms: percentile(ttfts, 0.9) },
    completedPerSecond: (completed.length * 1000) / windowMs,
    tokensPerSecond: (sum(completed.map((each) => each.promptTokens + each.completionTokens)) * 1000) / windowMs,
    hitRate: sum(answers.map((each) => each.cachedTokens)) / Math.max(1, promptTokens),
    requestsSpread: spread(workers.map(({ requests }) => requests)),
    busySpread: spread(busySeconds),
    utilization: (mean(busySeconds) * 1000) / windowMs,
  };
}

function figuresOf(workers: number, runs: readonly FleetRun[]): readonly Figure[] {
  const of = (routing: Routing, trace: TraceName) =>
    runs.find((run) => run.workers === workers && run.routing === routing && run.trace === trace);
  const ttft = (routing: Routing) => of(routing, 'steady')?.ttftMeanMs ?? NaN;
  const pace = (routing: Routing) => of(routing, 'overload')?.tokensPerSecond ?? NaN;
  const ours = [of('prefix', 'steady'), of('prefix', 'overload')];
  const spreads = ours.map((run) => Math.max(run?.requestsSpread ?? NaN, run?.busySpread ?? NaN));
  const own = runs.filter((run) => run.workers === workers);
  const ratio = (name: string, value: number, must: Figure['must']) =>
    figure(`${name}, ${workers} workers`, { unit: '×', values: [value], must, details: {} });
  return [
    figure(`mean TTFT least-loaded ÷ prefix, ${workers} workers`, {
      ...{ unit: '×', values: [ttft('least-loaded') / ttft('prefix')], must: { atLeast: 2 }, details: { runs: own } },
    }),
    ratio('mean TTFT random ÷ prefix', ttft('random') / ttft('prefix'), null),
    ratio('tokens/s prefix ÷ least-loaded', pace('prefix') / pace('least-loaded'), { atLeast: 1.2 }),
    ratio('tokens/s prefix ÷ random', pace('prefix') / pace('random'), null),
    ratio('busiest worker ÷ mean', Math.max(...spreads), { atMost: 1.5 }),
  ];
}

const COLUMNS = [
  ...[
    right('workers'),
    right('slower'),
    left('routing'),
    left('trace'),
    right('requests'),
    right('refused'),
    right('TTFT ms'),
  ],
  ...[right('p90'), right('done/s'), right('tokens/s'), right('hit rate'), right('spread'), right('busy spread')],
  ...[right('busy'), right('host CPU')],
];

function runTable(runs: readonly FleetRun[]): string {
  const share = (value: number) => `${(100 * value).toFixed(0)} %`;
  const rows = runs.map((run) => [
    ...[String(run.workers), `${run.slowdown} ×`, run.routing, run.trace, String(run.requests), String(run.refused)],
    ...[run.ttftMeanMs.toFixed(0), run.ttftP90Ms.toFixed(0), run.completedPerSecond.toFixed(1)],
    ...[run.tokensPerSecond.toFixed(0), share(run.hitRate), run.requestsSpread.toFixed(2), run.busySpread.toFixed(2)],
    ...[share(run.utilization), share(run.hostCpu)],
  ]);
  return `${formatTable(COLUMNS, rows)}\n\n${LEGEND}`;
}

const LEGEND = `slower: steps take so many times as long, and rates are divided by it, so that this machine carries the fleet.
steady: TTFT is the mean over all requests sent in the window, each followed to its end.
overload: done/s and tokens/s (prompt and output) count what ended in the window; TTFT only those answered by its end.
spread: the busiest worker's requests ÷ mean; busy spread: its time in steps ÷ mean; busy: mean time in steps ÷ window.
host CPU: all programs of this machine; near 100 % it slows all routings, by times that are no model's.`;

function spread(values: readonly number[]): number {
  return Math.max(...values) / mean(values);
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

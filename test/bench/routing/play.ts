/** Plays a trace against a fleet, open loop: each request goes when the trace says, whatever became of those before it. */
import { cpus } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Arrival } from './arrivals.ts';
import { chat, type Answer } from './client.ts';
import { MODEL, type Fleet, type WorkerMetrics } from './fleet-stack.ts';

export interface PlayOptions {
  readonly trace: readonly Arrival[];
  /** One of each tenant. */
  readonly systems: readonly string[];
  readonly apiKeys: readonly string[];
  readonly maxTokens: number;
  /** Before the figures count: caches fill. */
  readonly warmUpMs: number;
  readonly windowMs: number;
  /** Wait for every answer; without it those that are under way at the end are given up. */
  readonly toTheEnd: boolean;
  readonly progress: (text: string) => void;
}

export interface Played {
  readonly windowMs: number;
  /** Of requests sent within the window. */
  readonly answers: readonly Answer[];
  /** That ended within the window, whenever they were sent. */
  readonly completed: readonly Answer[];
  readonly sent: number;
  readonly refused: number;
  /** Within the window, one for each worker. */
  readonly workers: readonly WorkerMetrics[];
  /** Of all cores, by all programs of the machine, within the window; 0 to 1. */
  readonly hostCpu: number;
  /** The latest that a request was sent after its time. Milliseconds. */
  readonly lateMs: number;
}

export async function play(fleet: Fleet, options: PlayOptions): Promise<Played> {
  const { trace, warmUpMs, windowMs, toTheEnd, progress } = options;
  const leaving = new AbortController();
  const beginMs = performance.now();
  const [fromMs, toMs] = [beginMs + warmUpMs, beginMs + warmUpMs + windowMs];
  const answers: Answer[] = [];
  const failures: unknown[] = [];
  let [sent, refused, lateMs] = [0, 0, 0];
  const send = async (arrival: Arrival): Promise<void> => {
    const nowMs = performance.now();
    lateMs = Math.max(lateMs, nowMs - beginMs - arrival.atMs);
    const measured = nowMs >= fromMs && nowMs < toMs;
    if (measured) sent++;
    const answer = await chat(requestOf(arrival, fleet, options), leaving.signal);
    if (answer !== null) answers.push(answer);
    else if (measured) refused++;
  };
  const meter = measure(fleet, { fromMs, toMs, progress });
  const pending = trace.map(async (arrival) => {
    await sleep(Math.max(0, arrival.atMs - (performance.now() - beginMs)), undefined, { signal: leaving.signal });
    await send(arrival);
  });
  // Whoever was given up is no failure; anything else is.
  for (const each of pending) each.catch((error: unknown) => !leaving.signal.aborted && failures.push(error));
  const measured = await meter;
  if (!toTheEnd) leaving.abort();
  await Promise.allSettled(pending);
  if (failures.length > 0) throw failures[0];
  const completed = answers.filter(({ endMs }) => endMs >= fromMs && endMs < toMs);
  const counted = answers.filter(({ sentMs }) => sentMs >= fromMs && sentMs < toMs);
  return { windowMs, answers: counted, completed, sent, refused, lateMs, ...measured };
}

function requestOf({ tenant, question }: Arrival, { url }: Fleet, { systems, apiKeys, maxTokens }: PlayOptions) {
  const [system = '', apiKey = ''] = [systems[tenant], apiKeys[tenant]];
  return { url, apiKey, model: MODEL, system, question, maxTokens };
}

interface MeterOptions extends Pick<PlayOptions, 'progress'> {
  readonly fromMs: number;
  readonly toMs: number;
}

async function measure(
  fleet: Fleet,
  { fromMs, toMs, progress }: MeterOptions,
): Promise<Pick<Played, 'workers' | 'hostCpu'>> {
  progress('warming up');
  await sleep(fromMs - performance.now());
  const [before, cpuBefore] = [await fleet.metrics(), cpuTimes()];
  progress('measuring');
  await sleep(toMs - performance.now());
  const [after, cpuAfter] = [await fleet.metrics(), cpuTimes()];
  const workers = after.map((each, i) => difference(each, before[i]));
  const [busy, all] = [cpuAfter.busy - cpuBefore.busy, cpuAfter.all - cpuBefore.all];
  return { workers, hostCpu: busy / Math.max(1, all) };
}

function difference(after: WorkerMetrics, before: WorkerMetrics | undefined): WorkerMetrics {
  return {
    requests: after.requests - (before?.requests ?? 0),
    busySeconds: after.busySeconds - (before?.busySeconds ?? 0),
    steps: after.steps - (before?.steps ?? 0),
  };
}

function cpuTimes(): { readonly busy: number; readonly all: number } {
  const times = cpus().map((core) => core.times);
  const all = times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0);
  return { busy: all - times.reduce((sum, { idle }) => sum + idle, 0), all };
}

/** Once for real: two workers with the embedded model; TTFT of a prompt whose first 1,000 tokens are cached, and of one whose are not. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { untilReady } from '../../../infra/dev/child.ts';
import { startEdge } from '../../../infra/dev/edge.ts';
import { startNats } from '../../../infra/dev/nats.ts';
import { startWorker } from '../../../infra/dev/worker.ts';
import { PromptMaker } from '../prompts.ts';
import { median, spreadOf } from '../rounds.ts';
import { chat, type Answer } from './client.ts';
import { MODEL } from './fleet-stack.ts';
import { figure, type Measure } from './measure.ts';

const FULL = { prefixTokens: 1000, pairs: 10 };
const QUICK: typeof FULL = { prefixTokens: 200, pairs: 2 };
const FLAGS = ['--max-num-seqs', '4', '--max-model-len', '2048', '--threads', '1'];
/** Longer than a heartbeat's interval: gateways then know idle workers to be idle. */
const BEAT_MS = 1300;

export const real: Measure = async (options, show) => {
  const { prefixTokens, pairs } = options.quick ? QUICK : FULL;
  const folder = fileURLToPath(new URL(`../../../models/${MODEL}`, import.meta.url));
  const maker = new PromptMaker(folder, Infinity, prefixTokens);
  await using stack = new AsyncDisposableStack();
  const state = mkdtempSync(join(tmpdir(), 'millrace-bench-'));
  stack.defer(() => rmSync(state, { recursive: true, force: true }));
  show('starting nats-server, two workers and the edge');
  const nats = stack.use(await startNats({ onProgress: show }));
  for (const id of ['w0', 'w1']) {
    stack.use(await startWorker({ nats, model: folder, flags: [...FLAGS, '--worker-id', id] }));
  }
  const edge = stack.use(await startEdge({ nats, folder: state }));
  const check = async () => {
    const { workers } = (await (await fetch(`${edge.url}/health`)).json()) as { readonly workers?: number };
    return workers === 2 ? true : null;
  };
  await untilReady(edge.child, { name: 'the way from the edge to both workers', check, timeoutMs: 30_000 });
  const ask = async (system: string, question: string): Promise<Answer> => {
    const answer = await chat({ url: edge.url, apiKey: edge.apiKey, model: MODEL, system, question, maxTokens: 4 });
    if (answer === null) throw new Error('a request was refused');
    await new Promise((resolve) => setTimeout(resolve, BEAT_MS));
    return answer;
  };
  for (let i = 0; i < 4; i++) await ask(maker.make(`warm-up ${i}`).content, 'Hello?');
  const [misses, hits]: [Answer[], Answer[]] = [[], []];
  for (let i = 0; i < pairs; i++) {
    show(`pair ${i + 1} of ${pairs}`);
    const system = maker.make(`prefix ${i}`).content;
    misses.push(await ask(system, 'What is it about?'));
    hits.push(await ask(system, 'Who wrote this?'));
  }
  const ttfts = (answers: readonly Answer[]) => answers.map(({ sentMs, firstMs }) => firstMs - sentMs);
  const [missMs, hitMs] = [ttfts(misses), ttfts(hits)];
  const cached = (answers: readonly Answer[]) => median(answers.map(({ cachedTokens }) => cachedTokens));
  const details = {
    ...{ prefixTokens, pairs, missMs: spreadOf(missMs), hitMs: spreadOf(hitMs) },
    ...{ promptTokens: median(misses.map(({ promptTokens }) => promptTokens)) },
    ...{ missCachedTokens: cached(misses), hitCachedTokens: cached(hits) },
  };
  const times = (values: readonly number[]) => ({ unit: 'ms', values, must: null, details: {} }) as const;
  return {
    figures: [
      figure('two real workers: TTFT, prefix not cached', times(missMs)),
      figure('two real workers: TTFT, prefix cached', times(hitMs)),
      figure('two real workers: not cached ÷ cached', {
        ...{ unit: '×', values: missMs.map((each, i) => each / (hitMs[i] ?? NaN)), must: null, details },
      }),
    ],
  };
};

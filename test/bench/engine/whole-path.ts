/** What edge, bus and worker process cost: tokens/s over HTTP beside the engine alone, the same requests. */
import { closedLoop, type BenchRequest, type Target } from '../closed-loop.ts';
import { EngineTarget } from '../engine-load.ts';
import { figuresOf, type Figures } from '../figures.ts';
import { sendChat } from '../load.ts';
import { BENCH_MODELS } from '../models.ts';
import { PromptMaker } from '../prompts.ts';
import { spreadOf } from '../rounds.ts';
import { startWholePath } from '../whole-path.ts';
import type { Bench } from './bench.ts';
import type { Figure } from './measure.ts';

const FULL = { model: 'qwen', streams: 16, requests: 32, promptTokens: 128, outputTokens: 64 } as const;
const QUICK = { model: 'tiny', streams: 4, requests: 8, promptTokens: 48, outputTokens: 16 } as const;
const WARM_UP_TOKENS = 8;
const SIDES = ['engine', 'path'] as const;

export async function wholePath(bench: Bench): Promise<readonly Figure[]> {
  using _signals = endOnSignals();
  const { model, streams, requests: count, promptTokens, outputTokens } = bench.size.quick ? QUICK : FULL;
  const { quantization, folder: find } = BENCH_MODELS[model];
  const folder = await find(bench.show);
  const { threads } = bench.size;
  const flags = ['--quantization', quantization, '--max-num-seqs', String(streams), '--threads', String(threads)];
  bench.show('starting nats-server, worker and edge, and the engine once more');
  await using path = await startWholePath({ folder, model, flags, progress: bench.show });
  await using engine = await EngineTarget.start(['--model', folder, ...flags]);
  const prompts = new PromptMaker(folder, engine.vocabSize, promptTokens);
  const targets: Record<(typeof SIDES)[number], Target> = {
    engine: (request) => engine.send(request),
    path: (request) => sendChat(path.endpoint, request),
  };
  const requestsOf = (key: string, length: number, maxTokens: number): readonly BenchRequest[] =>
    Array.from({ length }, (_, i) => ({ prompt: prompts.make(`whole-path ${key} ${i}`), maxTokens, seed: i }));
  for (const side of SIDES) {
    await closedLoop(targets[side], requestsOf('warm-up', streams, WARM_UP_TOKENS), streams);
  }
  const rounds: Record<(typeof SIDES)[number], Figures[]> = { engine: [], path: [] };
  await bench.eachRound(SIDES, async (side, round) => {
    const requests = requestsOf(String(round), count, outputTokens);
    rounds[side].push(figuresOf(await closedLoop(targets[side], requests, streams)));
  });
  const spread = spreadOf(
    rounds.path.map((each, i) => each.tokensPerSecond / (rounds.engine[i]?.tokensPerSecond ?? NaN)),
  );
  const details = {
    ...{ model, quantization, streams, requests: count, promptTokens, outputTokens },
    engineTokensPerSecond: spreadOf(rounds.engine.map((each) => each.tokensPerSecond)),
    pathTokensPerSecond: spreadOf(rounds.path.map((each) => each.tokensPerSecond)),
    engineItlP99Ms: spreadOf(rounds.engine.map((each) => each.itlP99Ms)),
    pathItlP99Ms: spreadOf(rounds.path.map((each) => each.itlP99Ms)),
  };
  return [{ name: 'whole path of engine', unit: '×', spread, must: { atLeast: 0.9 }, details, profiles: {} }];
}

/** With an exit, on which the children end. Only here: the other measures block the event loop that would handle it. */
function endOnSignals(): Disposable {
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  const end = () => process.exit(1);
  for (const signal of signals) process.once(signal, end);
  return {
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, end);
    },
  };
}

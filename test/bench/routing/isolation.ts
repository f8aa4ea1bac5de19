/** Does a tenant's TTFT tell whether another tenant has the same prefix cached? Over HTTP, beside what it tells of one's own. */
import { seeded } from '../../support/seeded.ts';
import { WORDS } from '../prompts.ts';
import { median } from '../rounds.ts';
import { auc, permutationP, shuffled } from './auc.ts';
import { chat } from './client.ts';
import { FleetStack, MODEL } from './fleet-stack.ts';
import { figure, type Measure } from './measure.ts';
import { STEP_COSTS } from './fleet.ts';

const FULL = { trials: 400, ownTrials: 60, words: 400 };
const QUICK: typeof FULL = { trials: 6, ownTrials: 4, words: 200 };
/** Shorter steps than the fleet's: more trials. A prefix of 400 words is then 50 ms. */
const COSTS = { ...STEP_COSTS, constantMs: 4, tokenMs: 0.1 };
const FLAGS = ['--kv-cache-tokens', '40000', '--max-num-seqs', '8', '--speculation', 'off'];
const PERMUTATIONS = 2000;

interface Trial {
  /** The one before it sent the probe's own prefix; if not, another one as long. */
  readonly isCached: boolean;
  readonly sender: 'own' | 'other';
}

/**
 * Each trial: somebody sends a prefix nobody has sent before; then the tenant that probes sends that one, or one as
 * long, and its TTFT is kept. Trials of all kinds in one random order, so that a drift of the machine meets all alike.
 */
export const isolation: Measure = async (options, show) => {
  const { trials, ownTrials, words } = options.quick ? QUICK : FULL;
  // One gateway: both tenants share all that tenants ever share.
  await using stack = await FleetStack.start({ tenants: 2, gateways: 1, progress: show });
  await using running = await stack.open({ workers: 2, routing: 'prefix', costs: COSTS, flags: FLAGS });
  const random = seeded(options.seed);
  const repeat = (count: number, sender: Trial['sender']) =>
    Array.from({ length: 2 * count }, (_, i): Trial => ({ sender, isCached: i % 2 === 0 }));
  const order = shuffled([...repeat(trials, 'other'), ...repeat(ownTrials, 'own')], random);
  const text = () => Array.from({ length: words }, () => WORDS[Math.floor(random() * WORDS.length)] ?? '').join(' ');
  const send = async (tenant: number, system: string): Promise<number> => {
    const apiKey = stack.apiKeys[tenant] ?? '';
    const request = { url: running.url, apiKey, model: MODEL, system, question: 'And so?', maxTokens: 1 };
    const answer = await chat(request);
    if (answer === null) throw new Error('a probe was refused');
    return answer.firstMs - answer.sentMs;
  };
  const times = {
    own: { cached: [] as number[], not: [] as number[] },
    other: { cached: [] as number[], not: [] as number[] },
  };
  for (const [i, { sender, isCached }] of order.entries()) {
    if (i % 50 === 0) show(`trial ${i} of ${order.length}`);
    const probe = text();
    await send(sender === 'own' ? 0 : 1, isCached ? probe : text());
    times[sender][isCached ? 'cached' : 'not'].push(await send(0, probe));
  }
  const of = ({ cached, not }: (typeof times)['own'], must: { atMost: number } | { atLeast: number }, name: string) => {
    const area = auc(cached, not);
    const p = permutationP(cached, not, { rounds: PERMUTATIONS, random });
    const details = { trials: cached.length + not.length, p, cachedMs: median(cached), notCachedMs: median(not) };
    // Telling them apart the wrong way round would be telling as well.
    return figure(name, { unit: '%', values: [100 * Math.max(area, 1 - area)], must, details });
  };
  return {
    figures: [
      of(times.other, { atMost: 55 }, 'AUC of TTFT, prefix cached by another tenant'),
      of(times.own, { atLeast: 95 }, 'AUC of TTFT, prefix cached by the tenant itself'),
    ],
  };
};

/** A seeded trace of requests: when they arrive, whose they are, what they ask. Sends nothing. */
import { seeded } from '../../support/seeded.ts';
import { WORDS } from '../prompts.ts';

export interface Arrival {
  /** After the begin of the trace. */
  readonly atMs: number;
  readonly tenant: number;
  readonly question: string;
}

export interface TraceOptions {
  readonly seed: number;
  readonly seconds: number;
  /** Of all tenants together; Poisson. */
  readonly requestsPerSecond: number;
  readonly tenants: number;
  /** Share of the traffic of tenant k goes by 1 / (k + 1) ** skew; 0 = alike. */
  readonly skew: number;
}

/** Of a question, whose words have about a token each. */
const [LEAST_WORDS, MOST_WORDS] = [30, 100];

/** Equal options give equal traces. */
export function makeTrace({ seed, seconds, requestsPerSecond, tenants, skew }: TraceOptions): readonly Arrival[] {
  const random = seeded(seed);
  const shares = Array.from({ length: tenants }, (_, k) => 1 / (k + 1) ** skew);
  const total = shares.reduce((sum, share) => sum + share, 0);
  const pickTenant = (): number => {
    let left = random() * total;
    const found = shares.findIndex((share) => (left -= share) < 0);
    return found < 0 ? tenants - 1 : found;
  };
  const arrivals: Arrival[] = [];
  const gapMs = () => (-Math.log(1 - random()) * 1000) / requestsPerSecond;
  for (let atMs = gapMs(); atMs < seconds * 1000; atMs += gapMs()) {
    arrivals.push({ atMs, tenant: pickTenant(), question: question(random) });
  }
  return arrivals;
}

function question(random: () => number): string {
  const count = LEAST_WORDS + Math.floor(random() * (MOST_WORDS - LEAST_WORDS + 1));
  const words = Array.from({ length: count }, () => WORDS[Math.floor(random() * WORDS.length)] ?? '');
  return `${words.join(' ')}?`;
}

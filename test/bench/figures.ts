/** Traces of a round → its figures; the formulas are here and nowhere else. Pure. */
import { median, percentile, spreadOf, type Spread } from './rounds.ts';
import type { StreamTrace } from './trace.ts';

export interface Figures {
  readonly tokensPerSecond: number;
  readonly ttftP50Ms: number;
  readonly ttftP99Ms: number;
  readonly itlP50Ms: number;
  readonly itlP99Ms: number;
  readonly tokensPerArrival: number;
}

export const FORMULAS: Readonly<Record<keyof Figures, string>> = {
  tokensPerSecond: 'output tokens of all streams / time from the first request sent to the last stream ended',
  ttftP50Ms: 'request sent to the first arrival of text, at the client; median over the requests of a round',
  ttftP99Ms: 'the same, nearest rank at 99 %: the largest of a round below 100 requests',
  itlP50Ms:
    'gaps between arrivals of text in the same stream, all streams pooled; tokens that arrive together make one gap and no zeros; median',
  itlP99Ms: 'the same, nearest rank at 99 %',
  tokensPerArrival: 'output tokens / arrivals of text: above 1 where tokens arrive together or show no text',
};

export function figuresOf(traces: readonly StreamTrace[]): Figures {
  const tokens = sum(traces, (trace) => trace.tokens);
  const arrivals = sum(traces, ({ arrivalsMs }) => arrivalsMs.length);
  const begin = Math.min(...traces.map(({ sentMs }) => sentMs));
  const end = Math.max(...traces.map(({ endMs }) => endMs));
  // A stream that showed no text at all is known only by its end.
  const ttfts = traces.map(({ sentMs, arrivalsMs, endMs }) => (arrivalsMs[0] ?? endMs) - sentMs);
  const gaps = traces.flatMap(({ arrivalsMs }) => arrivalsMs.slice(1).map((at, i) => at - (arrivalsMs[i] ?? at)));
  return {
    tokensPerSecond: (tokens * 1000) / (end - begin),
    ttftP50Ms: median(ttfts),
    ttftP99Ms: percentile(ttfts, 0.99),
    itlP50Ms: median(gaps),
    itlP99Ms: percentile(gaps, 0.99),
    tokensPerArrival: tokens / arrivals,
  };
}

/** Each figure over the rounds. */
export function spreadsOf(rounds: readonly Figures[]): Readonly<Record<keyof Figures, Spread>> {
  const over = (name: keyof Figures) => spreadOf(rounds.map((figures) => figures[name]));
  return {
    tokensPerSecond: over('tokensPerSecond'),
    ttftP50Ms: over('ttftP50Ms'),
    ttftP99Ms: over('ttftP99Ms'),
    itlP50Ms: over('itlP50Ms'),
    itlP99Ms: over('itlP99Ms'),
    tokensPerArrival: over('tokensPerArrival'),
  };
}

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}

/** Why and where a choice ends: stop strings, stop ids, length. Pure but for the text a matcher holds back. */
import type { FinishReason } from '../../shared/protocol.ts';
import { partialMark } from '../text/partial-mark.ts';

export interface StopRules {
  /** Empty to generate through end-of-sequence tokens. */
  readonly eosIds: readonly number[];
  readonly stopTokenIds: readonly number[];
  readonly maxTokens: number;
}

/** The finish reason that token `id`, now the last of `outputTokens`, brings by itself; null to go on. */
export function tokenFinish(rules: StopRules, id: number, outputTokens: number): FinishReason | null {
  if (rules.stopTokenIds.includes(id) || rules.eosIds.includes(id)) return 'stop';
  return outputTokens >= rules.maxTokens ? 'length' : null;
}

/** Finds stop strings in streamed text; holds back only what may still become one. */
export class StopMatcher {
  readonly #stops: readonly string[];
  /** Always a proper prefix of some stop string, or ''. */
  #held = '';

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** `text` may be shown now; with `stopped` it ends right before the stop string that comes first. */
  push(piece: string): { readonly text: string; readonly stopped: boolean } {
    if (this.#stops.length === 0) return { text: piece, stopped: false };
    const text = this.#held + piece;
    const at = this.#stops.map((stop) => text.indexOf(stop)).filter((index) => index >= 0);
    if (at.length > 0) {
      this.#held = '';
      return { text: text.slice(0, Math.min(...at)), stopped: true };
    }
    const keep = Math.max(...this.#stops.map((stop) => partialMark(text, stop)));
    this.#held = text.slice(text.length - keep);
    return { text: text.slice(0, text.length - keep), stopped: false };
  }

  /** What was held back, when the choice ends for another reason. */
  flush(): string {
    const held = this.#held;
    this.#held = '';
    return held;
  }
}

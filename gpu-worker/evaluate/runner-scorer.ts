/** How well a model foretells texts, through any runner: every draw is forced to the text's own token, and its log probability reported. Knows no device. */
import type { ModelRunner } from '../engine/runner.ts';
import type { PlanRow, SampleSpec, StepPlan } from '../engine/step-plan.ts';
import type { LogitsMask } from '../sample/logits-rules.ts';
import { TokenHistory } from '../sample/token-history.ts';
import { scoredRuns } from './scored-text.ts';
import type { ScoredText } from './scored-text.ts';
import { scoreTexts } from './scorer.ts';
import type { Score } from './scorer.ts';

/** Draws of a step, for which every runner has room: it takes at least as many sequences. */
export const FORCED_DRAWS = 64;

export class RunnerScorer {
  readonly #runner: ModelRunner;
  #plans = 0;

  /** The runner stays the caller's. It serves `FORCED_DRAWS` sequences at once, or as many tokens in a step. */
  constructor(runner: ModelRunner) {
    this.#runner = runner;
  }

  score(texts: readonly ScoredText[], onText: (done: number) => void = () => {}): Score {
    return scoreTexts(texts, (text, i) => this.#loss(text, i), onText);
  }

  #loss(text: ScoredText, sequence: number): number {
    const most = Math.min(FORCED_DRAWS, this.#runner.info.maxStepTokens);
    let loss = 0;
    for (const { start, ids, targets } of scoredRuns(text, most)) {
      const { length: draws } = targets;
      const row = { sequence, blocks: this.#blocks(start + ids.length), start, ids, draws };
      loss += this.#run({ ...row, sample: draws === 0 ? null : this.#forced(targets) });
    }
    return loss;
  }

  /** Negative logarithms of the probabilities of the row's draws. */
  #run(row: PlanRow): number {
    const plan: StepPlan = { id: ++this.#plans, copies: [], drops: [], rows: [row], tokens: row.ids.length };
    this.#runner.launch(plan);
    const { logprobs, failures } = this.#runner.collect();
    const [problem] = failures?.values() ?? [];
    if (problem !== undefined) throw new Error(`a text cannot be scored: ${problem}`);
    return (logprobs ?? []).reduce((sum, each) => sum - (each?.logprob ?? NaN), 0);
  }

  /** A text at a time: it has the whole cache. */
  #blocks(tokens: number): Int32Array {
    const { blockSize } = this.#runner.info.kv;
    return Int32Array.from({ length: Math.ceil(tokens / blockSize) }, (_, block) => block);
  }

  #forced(targets: Int32Array): SampleSpec {
    const mask = new ForcedTokens(targets, this.#runner.info.vocabSize);
    const off = { repetitionPenalty: 1, frequencyPenalty: 0, presencePenalty: 0, bias: [], forbidden: null };
    const rules = { ...off, history: new TokenHistory(), mask };
    return { temperature: 0, topP: 1, topK: 0, minP: 0, seed: null, choice: 0, index: 0, rules, logprobs: 0 };
  }
}

/** Allows one token at each draw: drafts before a draw are the targets before its own. */
class ForcedTokens implements LogitsMask {
  readonly #targets: Int32Array;
  readonly #words: Uint32Array;

  constructor(targets: Int32Array, vocabSize: number) {
    this.#targets = targets;
    this.#words = new Uint32Array(Math.ceil(vocabSize / 32));
  }

  allowed(drafts: Int32Array): Uint32Array {
    const id = this.#targets[drafts.length] ?? 0;
    this.#words.fill(0);
    this.#words[id >> 5] = 1 << (id & 31);
    return this.#words;
  }

  accept(): void {}
}

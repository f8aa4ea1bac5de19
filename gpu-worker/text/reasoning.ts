/** Text of a model that thinks aloud → its reasoning and its answer, split at <think> and </think>. Knows no tokens. */
import { partialMark } from './partial-mark.ts';

const OPEN = '<think>';
const CLOSE = '</think>';

export interface SplitText {
  readonly content: string;
  readonly reasoning: string;
}

/** Streamed: holds back only what may still become a mark. Line ends around the marks belong to neither part. */
export class ReasoningSplitter {
  #state: 'open' | 'closed' | 'answer';
  #held = '';
  /** Right after a mark: line ends are dropped. */
  #trim = true;

  /** open: the prompt ended inside the reasoning, as templates that add <think> make it. */
  constructor(state: 'open' | 'closed') {
    this.#state = state;
  }

  /** The next text belongs to the reasoning. */
  get thinking(): boolean {
    return this.#state === 'open';
  }

  push(piece: string): SplitText {
    let text = this.#held + piece;
    this.#held = '';
    let reasoning = '';
    while (this.#state !== 'answer') {
      const [at, mark] = this.#state === 'open' ? [text.indexOf(CLOSE), CLOSE] : [text.indexOf(OPEN), OPEN];
      if (at < 0) break;
      const before = text.slice(0, at);
      if (this.#state === 'open') reasoning += this.#trimmed(before).replace(/\n+$/, '');
      else if (before.trim() !== '') break;
      text = text.slice(at + mark.length);
      this.#state = this.#state === 'open' ? 'answer' : 'open';
      this.#trim = true;
    }
    const end = this.#showable(text);
    const shown = this.#trimmed(text.slice(0, end));
    this.#held = text.slice(end);
    if (this.#state === 'open') return { content: '', reasoning: reasoning + shown };
    // A model that begins with an answer does not think later.
    if (this.#state === 'closed' && shown !== '') [this.#state, this.#trim] = ['answer', false];
    return { content: shown, reasoning };
  }

  /** What was held back, when the choice ends. */
  flush(): SplitText {
    const held = this.#held;
    this.#held = '';
    return this.#state === 'open' ? { content: '', reasoning: held } : { content: held, reasoning: '' };
  }

  /** How much of `text`, which has no whole mark, may be shown now. */
  #showable(text: string): number {
    if (this.#state === 'answer') return text.length;
    if (this.#state === 'closed') {
      const end = text.length - partialMark(text, OPEN);
      return text.slice(0, end).trim() === '' ? 0 : end;
    }
    // Line ends before the closing mark are not the reasoning's.
    return text.slice(0, text.length - partialMark(text, CLOSE)).replace(/\n+$/, '').length;
  }

  /** Line ends right after a mark are dropped. */
  #trimmed(text: string): string {
    if (!this.#trim || this.#state === 'closed') return text;
    const rest = text.replace(/^\n+/, '');
    if (rest !== '') this.#trim = false;
    return rest;
  }
}

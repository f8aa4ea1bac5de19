/** Forces an output along a script through the engine's logits mask, so that random weights write real text. */
import type { EngineRequest } from '../../../gpu-worker/engine/messages.ts';
import type { LogitsMask } from '../../../gpu-worker/sample/logits-rules.ts';

/** Allows the script's next token and no other. */
class ScriptMask implements LogitsMask {
  readonly #script: Int32Array;
  readonly #words: number;
  #at = 0;

  constructor(script: Int32Array, vocabSize: number) {
    this.#script = script;
    this.#words = Math.ceil(vocabSize / 32);
  }

  allowed(drafts: Int32Array): Uint32Array {
    const mask = new Uint32Array(this.#words);
    const id = this.#script[this.#at + drafts.length] ?? 0;
    mask[id >> 5] = 1 << (id & 31);
    return mask;
  }

  accept(token: number): void {
    const expected = this.#script[this.#at++];
    if (token !== expected) throw new Error(`a forced output has token ${token} instead of ${expected}`);
  }
}

/** Which request writes what. */
export class Scripts {
  readonly #vocabSize: number;
  readonly #scripts = new Map<string, Int32Array>();

  constructor(vocabSize: number) {
    this.#vocabSize = vocabSize;
  }

  set(id: string, script: Int32Array): void {
    this.#scripts.set(id, script);
  }

  /** A request without a script writes what the model likes. */
  readonly maskFor = ({ id }: EngineRequest): LogitsMask | null => {
    const script = this.#scripts.get(id);
    return script === undefined ? null : new ScriptMask(script, this.#vocabSize);
  };
}

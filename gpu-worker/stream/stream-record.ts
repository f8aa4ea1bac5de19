/** One request's whole output, kept until some time after its end: the source of truth that replay reads. */
import type { ChoiceDelta, RequestEnd } from '../engine/messages.ts';
import type { FinishReason, Frame } from '../../shared/protocol.ts';

interface ChoiceRecord {
  readonly ids: number[];
  /** [ids]: text that became final with each id. */
  readonly pieces: string[];
  finish: FinishReason | null;
  /** Output tokens that are out on the present link. */
  published: number;
  finishPublished: boolean;
}

export class StreamRecord {
  readonly id: string;
  readonly attempt: number;
  readonly #choices: ChoiceRecord[] = [];
  #end: RequestEnd | null = null;
  #endPublished = false;
  /** Of text and ids held, roughly. */
  bytes = 0;
  endedAtMs: number | null = null;

  constructor(id: string, attempt: number) {
    this.id = id;
    this.attempt = attempt;
  }

  get ended(): boolean {
    return this.#end !== null;
  }

  append(delta: ChoiceDelta): void {
    const choice = this.#choice(delta.choice);
    // Output of an earlier attempt, which this record never saw.
    while (choice.ids.length < delta.offset) {
      choice.ids.push(0);
      choice.pieces.push('');
      choice.published++;
    }
    choice.ids.push(...delta.ids);
    choice.pieces.push(...delta.pieces);
    choice.finish = delta.finish;
    this.bytes += delta.ids.length * 8 + delta.pieces.reduce((sum, piece) => sum + piece.length * 2, 0);
  }

  end(end: RequestEnd, nowMs: number): void {
    if (this.#end !== null) return;
    this.#end = end;
    this.endedAtMs = nowMs;
  }

  /** What is new since the last call, as frames, in order; the terminal frame last. */
  takeFrames(): Frame[] {
    const head = { id: this.id, attempt: this.attempt };
    const frames: Frame[] = [];
    this.#choices.forEach((choice, index) => {
      const offset = choice.published;
      if (offset < choice.ids.length) {
        const [ids, pieces] = [choice.ids.slice(offset), choice.pieces.slice(offset)];
        frames.push({ type: 'text-delta', ...head, choice: index, offset, ids, pieces });
        choice.published = choice.ids.length;
      }
      if (choice.finish === null || choice.finishPublished) return;
      frames.push({ type: 'choice-end', ...head, choice: index, finishReason: choice.finish });
      choice.finishPublished = true;
    });
    if (this.#end !== null && !this.#endPublished) {
      frames.push(terminalFrame(this.#end, this.attempt));
      this.#endPublished = true;
    }
    return frames;
  }

  /** The next `takeFrames` starts again from these output indexes, one per choice. */
  rewind(offsets: readonly number[]): void {
    this.#choices.forEach((choice, index) => {
      choice.published = Math.min(offsets[index] ?? 0, choice.ids.length);
      choice.finishPublished = false;
    });
    this.#endPublished = false;
  }

  #choice(index: number): ChoiceRecord {
    for (let next = this.#choices.length; next <= index; next++) {
      this.#choices.push({ ids: [], pieces: [], finish: null, published: 0, finishPublished: false });
    }
    const choice = this.#choices[index];
    if (choice === undefined) throw new Error(`no choice ${index}`);
    return choice;
  }
}

function terminalFrame(end: RequestEnd, attempt: number): Frame {
  // The engine's id carries the attempt; frames carry the client's.
  const id = end.id.slice(0, end.id.lastIndexOf('.'));
  if (end.type === 'done') return { type: 'stream-end', id, attempt, usage: end.usage, timings: end.timings };
  return { type: 'stream-error', id, attempt, code: end.code, message: end.message, usage: end.usage };
}

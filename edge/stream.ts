/** A live request → the bytes of its SSE stream, pulled by the client's pace. Knows no NATS. */
import { errorBody } from '../shared/errors.ts';
import type { ChoicePart } from './choice-output.ts';
import { chunkJson, finishChunkJson, usageChunkJson, type AnswerHead } from './completions.ts';
import { eventId } from './event-id.ts';
import type { LiveRequest, Pending } from './live-request.ts';

const KEEP_ALIVE_MS = 10_000;
const encoder = new TextEncoder();

export interface SseOptions {
  readonly head: AnswerHead;
  /** The client is gone. May come more than once. */
  readonly onCancel: () => void;
  /** The last event is out. */
  readonly onDone: () => void;
}

/**
 * Each event's `id:` counts the output tokens delivered with it, so Last-Event-ID resumes. A failure ends the stream
 * with an error event and without `[DONE]`: a clean end always means success.
 */
export function sseStream(live: LiveRequest, options: SseOptions): ReadableStream<Uint8Array> {
  const writer = new EventWriter(options.head, live.startOffsets);
  const source = {
    async pull(controller: ReadableStreamDefaultController<Uint8Array>) {
      if (!(await live.wait(KEEP_ALIVE_MS))) return controller.enqueue(encoder.encode(': keep-alive\n\n'));
      const pending = live.take();
      const text = writer.write(pending);
      // Nothing to show yet (half a character): a comment keeps pull coming.
      controller.enqueue(encoder.encode(text === '' ? ':\n\n' : text));
      if (pending.end === null && pending.error === null) return;
      controller.close();
      options.onDone();
    },
    cancel: options.onCancel,
  };
  return new ReadableStream(source, { highWaterMark: 0 });
}

class EventWriter {
  readonly #head: AnswerHead;
  /** By choice: output tokens written. */
  readonly #offsets: number[];
  /** Choices that had their first chunk, here or before the stream was resumed. */
  readonly #begun: Set<number>;
  /** Choices whose finish reason is out. */
  readonly #finished = new Set<number>();

  constructor(head: AnswerHead, startOffsets: readonly number[]) {
    this.#head = head;
    this.#offsets = [...startOffsets];
    this.#begun = new Set(startOffsets.flatMap((offset, index) => (offset > 0 ? [index] : [])));
  }

  write({ choices, end, error }: Pending): string {
    let events = choices.map((part, index) => this.#part(part, index)).join('');
    if (error !== null) return events + this.#event(errorBody(error));
    if (end === null) return events;
    if (this.#head.includeUsage) events += this.#event(usageChunkJson(this.#head, end.usage));
    return `${events}data: [DONE]\n\n`;
  }

  #part({ text, reasoning, logprobs, offset, finishReason }: ChoicePart, index: number): string {
    const first = !this.#begun.has(index);
    const ends = finishReason !== null && !this.#finished.has(index);
    const shows = text !== '' || reasoning !== '' || logprobs !== null;
    if (shows || ends) this.#offsets[index] = offset;
    let events = '';
    if (shows || (first && ends)) {
      this.#begun.add(index);
      const body = { index, first, text, reasoning, logprobs, finishReason: null };
      events = this.#event(chunkJson(this.#head, body));
    }
    if (!ends) return events;
    this.#finished.add(index);
    return events + this.#event(finishChunkJson(this.#head, index, finishReason));
  }

  #event(data: object): string {
    return `id: ${eventId(this.#offsets)}\ndata: ${JSON.stringify(data)}\n\n`;
  }
}

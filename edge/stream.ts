/** A live request → the bytes of its SSE stream, pulled by the client's pace. Knows no NATS. */
import { errorBody } from '../shared/errors.ts';
import { chunkJson, usageChunkJson, type AnswerHead } from './completions.ts';
import type { LiveRequest, Pending } from './live-request.ts';

const KEEP_ALIVE_MS = 10_000;
const encoder = new TextEncoder();

export interface SseOptions {
  readonly head: AnswerHead;
  /** A resumed stream has had its first chunk. */
  readonly resumed: boolean;
  /** The client is gone. May come more than once. */
  readonly onCancel: () => void;
  /** The last event is out. */
  readonly onDone: () => void;
}

/**
 * Each event's `id:` is the number of output tokens delivered with it, so Last-Event-ID resumes. A failure ends the
 * stream with an error event and without `[DONE]`: a clean end always means success.
 */
export function sseStream(live: LiveRequest, options: SseOptions): ReadableStream<Uint8Array> {
  let first = !options.resumed;
  const source = {
    async pull(controller: ReadableStreamDefaultController<Uint8Array>) {
      if (!(await live.wait(KEEP_ALIVE_MS))) return controller.enqueue(encoder.encode(': keep-alive\n\n'));
      const pending = live.take();
      const text = eventsOf(pending, { ...options, first });
      first &&= text === '';
      if (text !== '') controller.enqueue(encoder.encode(text));
      // Nothing to show yet (half a character): an empty chunk keeps pull coming.
      else controller.enqueue(encoder.encode(':\n\n'));
      if (pending.end === null && pending.error === null) return;
      controller.close();
      options.onDone();
    },
    cancel: options.onCancel,
  };
  return new ReadableStream(source, { highWaterMark: 0 });
}

function eventsOf(pending: Pending, { head, first }: SseOptions & { readonly first: boolean }): string {
  const event = (data: object) => `id: ${pending.offset}\ndata: ${JSON.stringify(data)}\n\n`;
  let events = '';
  if (pending.text !== '' || (first && pending.end !== null)) {
    events += event(chunkJson(head, { text: pending.text, first, finishReason: null }));
  }
  if (pending.error !== null) return events + event(errorBody(pending.error));
  if (pending.end === null) return events;
  events += event(chunkJson(head, { text: '', first: false, finishReason: pending.finishReason }));
  if (head.includeUsage) events += event(usageChunkJson(head, pending.end.usage));
  return `${events}data: [DONE]\n\n`;
}

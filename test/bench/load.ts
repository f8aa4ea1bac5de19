/** The whole path as a target: chat completions over fetch, their SSE streams read as they come. Knows only HTTP. */
import * as v from 'valibot';
import { TEMPERATURE, type BenchRequest } from './closed-loop.ts';
import { TraceRecorder, type StreamTrace } from './trace.ts';

export interface Endpoint {
  /** Without a path. */
  readonly url: string;
  readonly apiKey: string;
  readonly model: string;
}

const chunkSchema = v.object({
  choices: v.array(v.object({ delta: v.object({ content: v.optional(v.string()) }) })),
  // Null in every chunk but the last.
  usage: v.nullish(v.object({ completion_tokens: v.number() })),
});

/** The tokens of the trace are counted from event ids and equal the usage that the stream reports. */
export async function sendChat(endpoint: Endpoint, request: BenchRequest): Promise<StreamTrace> {
  const body = JSON.stringify({
    ...{ model: endpoint.model, messages: [{ role: 'user', content: request.prompt.content }] },
    ...{ max_tokens: request.maxTokens, ignore_eos: true, temperature: TEMPERATURE, seed: request.seed },
    ...{ stream: true, stream_options: { include_usage: true } },
  });
  const headers = { authorization: `Bearer ${endpoint.apiKey}`, 'content-type': 'application/json' };
  const trace = new TraceRecorder();
  const response = await fetch(`${endpoint.url}/v1/chat/completions`, { method: 'POST', headers, body });
  if (!response.ok || response.body === null) {
    throw new Error(`the edge answered ${response.status}: ${await response.text()}`);
  }
  const stream = new ChatStream(trace);
  const decoder = new TextDecoder();
  for await (const bytes of response.body) stream.push(decoder.decode(bytes, { stream: true }));
  return stream.end();
}

/** The events of one SSE body. */
class ChatStream {
  readonly #trace: TraceRecorder;
  #buffer = '';
  /** By the id of the last event: output tokens delivered with it. */
  #tokens = 0;
  #usageTokens: number | null = null;
  #ended: StreamTrace | null = null;

  constructor(trace: TraceRecorder) {
    this.#trace = trace;
  }

  push(text: string): void {
    const blocks = (this.#buffer + text).split('\n\n');
    this.#buffer = blocks.pop() ?? '';
    for (const block of blocks) this.#event(block);
  }

  end(): StreamTrace {
    if (this.#ended === null) throw new Error('a stream ended without [DONE]');
    if (this.#usageTokens === this.#tokens) return this.#ended;
    throw new Error(`a stream delivered ${this.#tokens} tokens but its usage says ${this.#usageTokens}`);
  }

  /** Comments have neither id nor data. */
  #event(block: string): void {
    const field = (name: string) =>
      block
        .split('\n')
        .find((line) => line.startsWith(`${name}: `))
        ?.slice(name.length + 2);
    const [id, data] = [field('id'), field('data')];
    if (id !== undefined) this.#tokens = Number(id);
    if (data === undefined) return;
    if (data === '[DONE]') {
      this.#ended = this.#trace.end(this.#tokens);
      return;
    }
    const chunk = v.safeParse(chunkSchema, JSON.parse(data));
    if (!chunk.success) throw new Error(`a stream failed: ${data}`);
    const { choices, usage } = chunk.output;
    if (choices.some(({ delta }) => (delta.content ?? '') !== '')) this.#trace.arrive();
    this.#usageTokens = usage?.completion_tokens ?? this.#usageTokens;
  }
}

/** One streamed chat over HTTP as its client sees it: first text, end, what the cache gave. Knows only HTTP. */
import * as v from 'valibot';

export interface ChatRequest {
  /** Of the edge, without a path. */
  readonly url: string;
  readonly apiKey: string;
  readonly model: string;
  readonly system: string;
  readonly question: string;
  readonly maxTokens: number;
}

/** Milliseconds of performance.now(). */
export interface Answer {
  readonly sentMs: number;
  /** First text. */
  readonly firstMs: number;
  readonly endMs: number;
  readonly promptTokens: number;
  readonly cachedTokens: number;
  readonly completionTokens: number;
}

const chunkSchema = v.object({
  choices: v.array(v.object({ delta: v.object({ content: v.optional(v.string()) }) })),
  usage: v.nullish(
    v.object({
      prompt_tokens: v.number(),
      completion_tokens: v.number(),
      prompt_tokens_details: v.object({ cached_tokens: v.number() }),
    }),
  ),
});

/** Null: refused for load (429 or 503). Throws on any other failure, and when `signal` aborts. */
export async function chat(request: ChatRequest, signal?: AbortSignal): Promise<Answer | null> {
  const { url, apiKey, model, system, question, maxTokens } = request;
  const body = JSON.stringify({
    messages: [
      { role: 'system', content: system },
      { role: 'user', content: question },
    ],
    ...{ model, max_tokens: maxTokens, ignore_eos: true, temperature: 0.7, speculation: 'off' },
    ...{ stream: true, stream_options: { include_usage: true } },
  });
  const headers = { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' };
  const sentMs = performance.now();
  const init = { method: 'POST', headers, body, ...(signal === undefined ? {} : { signal }) };
  const response = await fetch(`${url}/v1/chat/completions`, init);
  if (response.status === 429 || response.status === 503) {
    await response.arrayBuffer();
    return null;
  }
  if (!response.ok || response.body === null) {
    throw new Error(`the edge answered ${response.status}: ${await response.text()}`);
  }
  return follow(response.body, sentMs);
}

async function follow(body: ReadableStream<Uint8Array>, sentMs: number): Promise<Answer> {
  const decoder = new TextDecoder();
  let [buffer, firstMs] = ['', NaN];
  let usage: v.InferOutput<typeof chunkSchema>['usage'] = null;
  for await (const bytes of body) {
    const nowMs = performance.now();
    const blocks = (buffer + decoder.decode(bytes, { stream: true })).split('\n\n');
    buffer = blocks.pop() ?? '';
    for (const block of blocks) {
      const data = /^data: (.*)$/m.exec(block)?.[1];
      if (data === undefined || data === '[DONE]') continue;
      const chunk = v.safeParse(chunkSchema, JSON.parse(data));
      if (!chunk.success) throw new Error(`a stream failed: ${data}`);
      const { choices } = chunk.output;
      if (Number.isNaN(firstMs) && choices.some(({ delta }) => (delta.content ?? '') !== '')) firstMs = nowMs;
      usage = chunk.output.usage ?? usage;
    }
  }
  if (usage == null || Number.isNaN(firstMs)) throw new Error('a stream ended without text or usage');
  const { prompt_tokens: promptTokens, completion_tokens: completionTokens, prompt_tokens_details } = usage;
  const { cached_tokens: cachedTokens } = prompt_tokens_details;
  return { sentMs, firstMs, endMs: performance.now(), promptTokens, completionTokens, cachedTokens };
}

/** The bytes of an SSE answer: chunks, ids, the end, and how a failure looks. Pure. */
import { describe, expect, it } from 'vitest';
import { LiveRequest } from '../../edge/live-request.ts';
import { sseStream, type SseOptions } from '../../edge/stream.ts';
import { MillraceError } from '../../shared/errors.ts';

const id = 'chatcmpl-s0-0';
const head = { id, kind: 'chat' as const, created: 5, model: 'm', fingerprint: 'f', includeUsage: true };

function opened(extra: Partial<SseOptions> = {}) {
  const live = new LiveRequest({ id, attempt: 1, worker: 'w', epoch: 'e', offset: 0 });
  const said: string[] = [];
  const onCancel = () => said.push('cancel');
  const onDone = () => said.push('done');
  const body = sseStream(live, { head, resumed: false, onCancel, onDone, ...extra });
  const token = (offset: number, piece: string) =>
    live.accept({ type: 'text-delta', id, attempt: 1, choice: 0, offset, ids: [1], pieces: [piece] }, 0);
  const finish = (completionTokens: number) => {
    live.accept({ type: 'choice-end', id, attempt: 1, choice: 0, finishReason: 'length' }, 0);
    const usage = { promptTokens: 3, completionTokens, cachedTokens: 2 };
    const timings = { queueMs: 0, prefillMs: 0, decodeMs: 0 };
    live.accept({ type: 'stream-end', id, attempt: 1, usage, timings }, 0);
  };
  return { live, body, said, token, finish };
}

/** [events] of [event id, parsed data]. */
function parsed(text: string): readonly (readonly [string | null, unknown])[] {
  const events = text.split('\n\n').filter((block) => block.includes('data: '));
  return events.map((block) => {
    const data = /^data: (.*)$/m.exec(block)?.[1] ?? '';
    return [/^id: (.*)$/m.exec(block)?.[1] ?? null, data === '[DONE]' ? data : JSON.parse(data)] as const;
  });
}

describe('SSE', () => {
  it('waiting deltas are merged; then the finish chunk, usage, [DONE]', async () => {
    const { body, token, finish, said } = opened();
    token(0, 'a\n\ndata: ');
    token(1, 'b');
    finish(2);
    const events = parsed(await new Response(body).text());
    const same = { id, object: 'chat.completion.chunk', created: 5, model: 'm', system_fingerprint: 'f' };
    const rest = { index: 0, logprobs: null };
    const delta = { role: 'assistant', content: 'a\n\ndata: b' };
    const usage = {
      prompt_tokens: 3,
      completion_tokens: 2,
      total_tokens: 5,
      prompt_tokens_details: { cached_tokens: 2 },
    };
    expect(events).toEqual([
      ['2', { ...same, choices: [{ ...rest, finish_reason: null, delta }], usage: null }],
      ['2', { ...same, choices: [{ ...rest, finish_reason: 'length', delta: {} }], usage: null }],
      ['2', { ...same, choices: [], usage }],
      [null, '[DONE]'],
    ]);
    expect(said).toEqual(['done']);
  });

  it('a failure is an error event and no [DONE]', async () => {
    const { live, body, token } = opened();
    token(0, 'a');
    live.fail(new MillraceError('worker_lost', 'The worker was lost.'), 0);
    const text = await new Response(body).text();
    expect(parsed(text).at(-1)).toMatchObject(['1', { error: { code: 'worker_lost', type: 'server_error' } }]);
    expect(text).not.toContain('[DONE]');
  });

  it('a resumed stream does not name the role again', async () => {
    const { body, token, finish } = opened({ resumed: true });
    token(0, 'a');
    finish(1);
    expect(await new Response(body).text()).not.toContain('assistant');
  });

  it('an answer without text still names the role and ends', async () => {
    const { body, finish } = opened({ head: { ...head, includeUsage: false } });
    finish(0);
    const events = parsed(await new Response(body).text());
    expect(events[0]).toMatchObject(['0', { choices: [{ delta: { role: 'assistant', content: '' } }] }]);
    expect(events.map(([, data]) => data)).toHaveLength(3);
    for (const [, data] of events) expect(data).not.toHaveProperty('usage');
  });

  it('a reader that leaves cancels', async () => {
    const { body, token, said } = opened();
    token(0, 'a');
    const reader = body.getReader();
    await reader.read();
    await reader.cancel();
    expect(said).toEqual(['cancel']);
  });
});

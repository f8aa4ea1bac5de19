/** The bytes of an SSE answer: chunks, ids, the end, and how a failure looks. Pure. */
import { describe, expect, it } from 'vitest';
import { LiveRequest } from '../../edge/live-request.ts';
import { sseStream, type SseOptions } from '../../edge/stream.ts';
import { MillraceError } from '../../shared/errors.ts';
import { choiceEnd, delta, drawn, HEAD, streamEnd, tokensOf } from './frames.ts';

const { id } = HEAD;
const head = {
  ...{ id, kind: 'chat' as const, created: 5, model: 'm', fingerprint: 'f', includeUsage: true },
  saved: { bytes: 0, tokensEstimate: 0 },
};

interface Opened {
  readonly live: LiveRequest;
  readonly body: ReadableStream<Uint8Array>;
  /** What the stream told its owner. */
  readonly said: string[];
}

function opened(offsets: readonly number[] = [0], extra: Partial<SseOptions> = {}): Opened {
  const live = new LiveRequest({ ...HEAD, worker: 'w', epoch: 'e', offsets, whole: false, continues: false });
  const said: string[] = [];
  const onCancel = () => said.push('cancel');
  const onDone = () => said.push('done');
  return { live, said, body: sseStream(live, { head, onCancel, onDone, ...extra }) };
}

function finish(live: LiveRequest, completionTokens: number): void {
  for (const choice of live.startOffsets.keys()) live.accept(choiceEnd(choice), 0);
  const usage = { cachedTokens: 2, reasoningTokens: 1, draftedTokens: 5, acceptedTokens: 3 };
  live.accept(streamEnd(completionTokens, usage), 0);
}

interface Chunk {
  readonly choices: readonly { readonly index: number; readonly delta: object; readonly finish_reason: unknown }[];
}

/** [events] of [event id, parsed data]. */
function parsed(text: string): readonly (readonly [string | null, Chunk | '[DONE]'])[] {
  const events = text.split('\n\n').filter((block) => block.includes('data: '));
  return events.map((block) => {
    const data = /^data: (.*)$/m.exec(block)?.[1] ?? '';
    return [/^id: (.*)$/m.exec(block)?.[1] ?? null, data === '[DONE]' ? data : (JSON.parse(data) as Chunk)] as const;
  });
}

describe('SSE', () => {
  it('waiting deltas are merged; then the finish chunk, usage, [DONE]', async () => {
    const { live, body, said } = opened();
    live.accept(delta(0, [{ piece: 'a\n\ndata: ' }]), 0);
    live.accept(delta(0, [{ piece: '' }, { piece: 'b' }], [1, 2]), 0);
    finish(live, 2);
    const events = parsed(await new Response(body).text());
    const same = { id, object: 'chat.completion.chunk', created: 5, model: 'm', system_fingerprint: 'f' };
    const rest = { index: 0, logprobs: null };
    const first = { role: 'assistant', content: 'a\n\ndata: b' };
    const details = { reasoning_tokens: 1, accepted_prediction_tokens: 3, rejected_prediction_tokens: 2 };
    const usage = {
      ...{ prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
      ...{
        prompt_tokens_details: { cached_tokens: 2, saved_bytes: 0, saved_tokens_estimate: 0 },
        completion_tokens_details: details,
      },
    };
    expect(events).toEqual([
      ['2', { ...same, choices: [{ ...rest, finish_reason: null, delta: first }], usage: null }],
      ['2', { ...same, choices: [{ ...rest, finish_reason: 'length', delta: {} }], usage: null }],
      ['2', { ...same, choices: [], usage }],
      [null, '[DONE]'],
    ]);
    expect(said).toEqual(['done']);
  });

  it('several choices: each chunk names its own, and every id says what all of them have had', async () => {
    const { live, body } = opened([0, 0, 0]);
    live.accept(delta(0, tokensOf('ab')), 0);
    live.accept(delta(2, tokensOf('xyz')), 0);
    const reader = body.getReader();
    const one = parsed(new TextDecoder().decode((await reader.read()).value));
    expect(one).toMatchObject([
      ['2.0.0', { choices: [{ index: 0, delta: { role: 'assistant', content: 'ab' } }] }],
      ['2.0.3', { choices: [{ index: 2, delta: { role: 'assistant', content: 'xyz' } }] }],
    ]);
    live.accept(delta(0, tokensOf('abc'), [2, 3]), 0);
    finish(live, 6);
    const two = parsed(new TextDecoder().decode((await reader.read()).value));
    expect(two.map(([eventId]) => eventId)).toEqual(['3.0.3', '3.0.3', '3.0.3', '3.0.3', '3.0.3', '3.0.3', null]);
    const choices = two.flatMap(([, data]) => (data === '[DONE]' ? [] : data.choices));
    expect(choices).toMatchObject([
      { index: 0, delta: { content: 'c' }, finish_reason: null },
      { index: 0, delta: {}, finish_reason: 'length' },
      // Nothing came of it, but it has its first chunk.
      { index: 1, delta: { role: 'assistant', content: '' }, finish_reason: null },
      { index: 1, delta: {}, finish_reason: 'length' },
      { index: 2, delta: {}, finish_reason: 'length' },
    ]);
  });

  it('a choice says its finish reason once, when it ends, while others go on', async () => {
    const { live, body } = opened([0, 0]);
    live.accept(delta(0, tokensOf('a')), 0);
    expect(live.accept(choiceEnd(0, 'stop', 1), 0)).toBe(true);
    const reader = body.getReader();
    const read = async () => parsed(new TextDecoder().decode((await reader.read()).value));
    const reasons = (events: Awaited<ReturnType<typeof read>>) =>
      events.flatMap(([, data]) =>
        data === '[DONE]' ? [] : data.choices.map((each) => [each.index, each.finish_reason]),
      );
    expect(reasons(await read())).toEqual([
      [0, null],
      [0, 'stop'],
    ]);
    live.accept(delta(1, tokensOf('bc')), 0);
    expect(reasons(await read())).toEqual([[1, null]]);
    live.accept(choiceEnd(1, 'length', 2), 0);
    live.accept(choiceEnd(0, 'stop', 1), 0);
    live.accept(streamEnd(3), 0);
    expect(reasons(await read())).toEqual([[1, 'length']]);
  });

  it('half a character shows nothing, and no id says that it was had', async () => {
    const { live, body } = opened([0, 0]);
    live.accept(delta(0, [{ piece: '' }]), 0);
    live.accept(delta(1, tokensOf('a')), 0);
    const reader = body.getReader();
    const text = new TextDecoder().decode((await reader.read()).value);
    expect(parsed(text).map(([eventId]) => eventId)).toEqual(['0.1']);
  });

  it('reasoning is a field of its own, before the answer', async () => {
    const { live, body } = opened();
    live.accept(delta(0, [{ piece: '', reasoning: 'so' }]), 0);
    const reader = body.getReader();
    const deltas = async () => {
      const events = parsed(new TextDecoder().decode((await reader.read()).value));
      return events.flatMap(([, data]) => (data === '[DONE]' ? [] : data.choices.map((choice) => choice.delta)));
    };
    expect(await deltas()).toEqual([{ role: 'assistant', reasoning_content: 'so' }]);
    live.accept(delta(0, [{ piece: '' }, { piece: 'a' }], [1, 2]), 0);
    expect(await deltas()).toEqual([{ content: 'a' }]);
  });

  it('log probabilities come with their tokens, also with those that show no text', async () => {
    const { live, body } = opened();
    live.accept(delta(0, [{ piece: '', logprobs: drawn('a') }]), 0);
    finish(live, 1);
    const [first, second] = parsed(await new Response(body).text());
    const top = { token: '\uFFFD', logprob: -0.1, bytes: [0xff] };
    const content = [{ token: 'a', logprob: -0.5, bytes: [97], top_logprobs: [top] }];
    expect(first).toMatchObject(['1', { choices: [{ logprobs: { content }, finish_reason: null }] }]);
    expect(second).toMatchObject(['1', { choices: [{ logprobs: null, finish_reason: 'length' }] }]);
  });

  it('a failure is an error event and no [DONE]', async () => {
    const { live, body } = opened();
    live.accept(delta(0, tokensOf('a')), 0);
    live.fail(new MillraceError('worker_lost', 'The worker was lost.'), 0);
    const text = await new Response(body).text();
    expect(parsed(text).at(-1)).toMatchObject(['1', { error: { code: 'worker_lost', type: 'server_error' } }]);
    expect(text).not.toContain('[DONE]');
  });

  it('a resumed choice does not name the role again; one that had nothing does', async () => {
    const { live, body } = opened([1, 0]);
    for (const choice of [0, 1]) live.accept(delta(choice, tokensOf('ab')), 0);
    finish(live, 4);
    const events = parsed(await new Response(body).text());
    const deltas = events.flatMap(([, data]) => (data === '[DONE]' ? [] : data.choices.map((choice) => choice.delta)));
    expect(deltas).toEqual([{ content: 'b' }, {}, { role: 'assistant', content: 'ab' }, {}]);
  });

  it('an answer without text still names the role and ends', async () => {
    const { live, body } = opened([0], { head: { ...head, includeUsage: false } });
    finish(live, 0);
    const events = parsed(await new Response(body).text());
    expect(events[0]).toMatchObject(['0', { choices: [{ delta: { role: 'assistant', content: '' } }] }]);
    expect(events.map(([, data]) => data)).toHaveLength(3);
    for (const [, data] of events) expect(data).not.toHaveProperty('usage');
  });

  it('a reader that leaves cancels', async () => {
    const { live, body, said } = opened();
    live.accept(delta(0, tokensOf('a')), 0);
    const reader = body.getReader();
    await reader.read();
    await reader.cancel();
    expect(said).toEqual(['cancel']);
  });
});

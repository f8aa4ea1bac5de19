/** Whole answers in OpenAI's shapes: choices in order, reasoning, log probabilities of both endpoints. Pure. */
import { describe, expect, it } from 'vitest';
import { ChoiceOutput, type ChoicePart } from '../../edge/choice-output.ts';
import { answerJson } from '../../edge/completions.ts';
import type { DrawnLogprobs, TextDelta, Usage } from '../../shared/protocol.ts';
import { delta, drawn, type Token } from './frames.ts';

const head = {
  id: 'x',
  created: 5,
  model: 'm',
  fingerprint: 'f',
  includeUsage: false,
  saved: { bytes: 90, tokensEstimate: 20 },
};
const usage: Usage = {
  ...{ promptTokens: 3, completionTokens: 4, cachedTokens: 1 },
  ...{ reasoningTokens: 2, draftedTokens: 6, acceptedTokens: 4 },
};

function part(tokens: readonly Token[]): ChoicePart {
  const choice = new ChoiceOutput(0);
  choice.accept(delta(0, tokens) as TextDelta);
  choice.finish = 'stop';
  return choice.take();
}

const answer = (kind: 'chat' | 'text', ...choices: readonly ChoicePart[]) =>
  answerJson({ ...head, kind }, choices, usage);

const euro: readonly Token[] = [
  { piece: '', logprobs: { ...drawn(''), bytes: [0xe2, 0x82] } },
  { piece: '€', logprobs: { ...drawn(''), bytes: [0xac] } },
  { piece: '🎉', logprobs: drawn('🎉') },
  { piece: '!', logprobs: drawn('!') },
];

describe('answers', () => {
  it('chat: all choices in order, reasoning only where there is some, usage in full', () => {
    expect(answer('chat', part([{ piece: 'a' }]), part([{ piece: 'b', reasoning: 'so' }]))).toEqual({
      ...{ id: 'x', object: 'chat.completion', created: 5, model: 'm', system_fingerprint: 'f' },
      choices: [
        {
          ...{ index: 0, logprobs: null, finish_reason: 'stop' },
          message: { role: 'assistant', content: 'a', refusal: null },
        },
        {
          ...{ index: 1, logprobs: null, finish_reason: 'stop' },
          message: { role: 'assistant', content: 'b', refusal: null, reasoning_content: 'so' },
        },
      ],
      usage: {
        ...{ prompt_tokens: 3, completion_tokens: 4, total_tokens: 7 },
        prompt_tokens_details: { cached_tokens: 1, saved_bytes: 90, saved_tokens_estimate: 20 },
        completion_tokens_details: {
          ...{ reasoning_tokens: 2, accepted_prediction_tokens: 4, rejected_prediction_tokens: 2 },
        },
      },
    });
  });

  it('chat log probabilities: bytes as they are, text as far as they are whole', () => {
    const top_logprobs = [{ token: '\uFFFD', logprob: -0.1, bytes: [0xff] }];
    expect(answer('chat', part(euro))).toMatchObject({
      choices: [
        {
          logprobs: {
            content: [
              { token: '\uFFFD', logprob: -0.5, bytes: [0xe2, 0x82], top_logprobs },
              { token: '\uFFFD', logprob: -0.5, bytes: [0xac], top_logprobs },
              { token: '🎉', logprob: -0.5, bytes: [0xf0, 0x9f, 0x8e, 0x89], top_logprobs },
              { token: '!', logprob: -0.5, bytes: [0x21], top_logprobs },
            ],
          },
        },
      ],
    });
  });

  it('a token without bytes has null for them, and minus infinity stays a number', () => {
    const end: DrawnLogprobs = { id: 9, bytes: [], logprob: -9999, top: [] };
    expect(answer('chat', part([{ piece: '', logprobs: end }]))).toMatchObject({
      choices: [{ logprobs: { content: [{ token: '', logprob: -9999, bytes: null, top_logprobs: [] }] } }],
    });
  });

  it('text log probabilities: offsets in characters; of tokens with the same text the likeliest stands', () => {
    const json = answer('text', part(euro));
    expect(json).toMatchObject({
      object: 'text_completion',
      choices: [
        {
          ...{ index: 0, text: '€🎉!', finish_reason: 'stop' },
          logprobs: {
            tokens: ['\uFFFD', '\uFFFD', '🎉', '!'],
            token_logprobs: [-0.5, -0.5, -0.5, -0.5],
            text_offset: [0, 0, 1, 2],
          },
        },
      ],
    });
    const { choices } = json as { choices: { logprobs: { top_logprobs: object[] } }[] };
    expect(choices[0]?.logprobs.top_logprobs.slice(1, 3)).toEqual([{ '\uFFFD': -0.1 }, { '\uFFFD': -0.1, '🎉': -0.5 }]);
  });

  it('a token named like a property of every object is a token', () => {
    const json = JSON.stringify(answer('text', part([{ piece: 'x', logprobs: drawn('__proto__') }])));
    expect(json).toContain('"__proto__":-0.5');
  });
});

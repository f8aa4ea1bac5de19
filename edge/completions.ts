/** OpenAI's JSON shapes for chat and text completions. Pure. */
import type { FinishReason, Usage } from '../shared/protocol.ts';
import type { ChoicePart } from './choice-output.ts';
import type { Savings } from './compression.ts';
import { chatLogprobsJson, textLogprobsJson } from './logprobs.ts';
import type { Kind } from './request.ts';

/** What is the same in every chunk of an answer. */
export interface AnswerHead {
  readonly id: string;
  readonly kind: Kind;
  /** Unix seconds. */
  readonly created: number;
  readonly model: string;
  readonly fingerprint: string;
  /** A last chunk has the usage; the others then say null. */
  readonly includeUsage: boolean;
  readonly saved: Savings;
}

function usageJson(usage: Usage, saved: Savings): object {
  const { promptTokens, completionTokens, cachedTokens, reasoningTokens, draftedTokens, acceptedTokens } = usage;
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: {
      cached_tokens: cachedTokens,
      saved_bytes: saved.bytes,
      saved_tokens_estimate: saved.tokensEstimate,
    },
    completion_tokens_details: {
      reasoning_tokens: reasoningTokens,
      accepted_prediction_tokens: acceptedTokens,
      rejected_prediction_tokens: draftedTokens - acceptedTokens,
    },
  };
}

/** `choices` in order. */
export function answerJson(head: AnswerHead, choices: readonly ChoicePart[], usage: Usage): object {
  const object = head.kind === 'chat' ? 'chat.completion' : 'text_completion';
  const toJson = head.kind === 'chat' ? chatChoice : textChoice;
  return { ...base(head, object), choices: choices.map(toJson), usage: usageJson(usage, head.saved) };
}

function chatChoice({ text, reasoning, logprobs, finishReason }: ChoicePart, index: number): object {
  const thought = reasoning === '' ? {} : { reasoning_content: reasoning };
  const message = { role: 'assistant', content: text, refusal: null, ...thought };
  return { index, message, logprobs: chatLogprobsJson(logprobs), finish_reason: finishReason };
}

function textChoice({ text, logprobs, finishReason }: ChoicePart, index: number): object {
  return { index, text, logprobs: textLogprobsJson(logprobs), finish_reason: finishReason };
}

export interface ChunkBody extends Pick<ChoicePart, 'text' | 'reasoning' | 'logprobs' | 'finishReason'> {
  readonly index: number;
  /** Of its choice. */
  readonly first: boolean;
}

export function chunkJson(head: AnswerHead, body: ChunkBody): object {
  const { index, logprobs, finishReason } = body;
  const choice =
    head.kind === 'chat'
      ? { index, delta: deltaOf(body), logprobs: chatLogprobsJson(logprobs), finish_reason: finishReason }
      : { index, text: body.text, logprobs: textLogprobsJson(logprobs), finish_reason: finishReason };
  return { ...base(head, chunkObject(head)), choices: [choice], ...(head.includeUsage ? { usage: null } : {}) };
}

/** The chunk that ends a choice. */
export function finishChunkJson(head: AnswerHead, index: number, finishReason: FinishReason | null): object {
  return chunkJson(head, { index, first: false, text: '', reasoning: '', logprobs: null, finishReason });
}

/** Reasoning goes by the name that DeepSeek gave it and vLLM took over. */
function deltaOf({ text, reasoning, first }: ChunkBody): object {
  return {
    ...(first ? { role: 'assistant' } : {}),
    ...(reasoning === '' ? {} : { reasoning_content: reasoning }),
    ...(text !== '' || (first && reasoning === '') ? { content: text } : {}),
  };
}

/** The chunk after the last, for `include_usage`. */
export function usageChunkJson(head: AnswerHead, usage: Usage): object {
  return { ...base(head, chunkObject(head)), choices: [], usage: usageJson(usage, head.saved) };
}

function chunkObject(head: AnswerHead): string {
  return head.kind === 'chat' ? 'chat.completion.chunk' : 'text_completion';
}

function base({ id, created, model, fingerprint }: AnswerHead, object: string): object {
  return { id, object, created, model, system_fingerprint: fingerprint };
}

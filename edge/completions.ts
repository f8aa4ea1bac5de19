/** OpenAI's JSON shapes for chat and text completions. Pure. */
import type { FinishReason, Timings, Usage } from '../shared/protocol.ts';
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
}

export interface Answer {
  readonly text: string;
  readonly finishReason: FinishReason | null;
  readonly usage: Usage;
  readonly timings: Timings | null;
}

export function usageJson({ promptTokens, completionTokens, cachedTokens }: Usage): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}

export function answerJson(head: AnswerHead, { text, finishReason, usage }: Answer): object {
  const end = { index: 0, logprobs: null, finish_reason: finishReason };
  const choice =
    head.kind === 'chat' ? { ...end, message: { role: 'assistant', content: text, refusal: null } } : { ...end, text };
  const object = head.kind === 'chat' ? 'chat.completion' : 'text_completion';
  return { ...base(head, object), choices: [choice], usage: usageJson(usage) };
}

export interface ChunkBody {
  readonly text: string;
  readonly first: boolean;
  readonly finishReason: FinishReason | null;
}

export function chunkJson(head: AnswerHead, { text, first, finishReason }: ChunkBody): object {
  const delta = { ...(first ? { role: 'assistant' } : {}), ...(text !== '' || first ? { content: text } : {}) };
  const end = { index: 0, logprobs: null, finish_reason: finishReason };
  const choice = head.kind === 'chat' ? { ...end, delta } : { ...end, text };
  return { ...base(head, chunkObject(head)), choices: [choice], ...(head.includeUsage ? { usage: null } : {}) };
}

/** The chunk after the last, for `include_usage`. */
export function usageChunkJson(head: AnswerHead, usage: Usage): object {
  return { ...base(head, chunkObject(head)), choices: [], usage: usageJson(usage) };
}

function chunkObject(head: AnswerHead): string {
  return head.kind === 'chat' ? 'chat.completion.chunk' : 'text_completion';
}

function base({ id, created, model, fingerprint }: AnswerHead, object: string): object {
  return { id, object, created, model, system_fingerprint: fingerprint };
}

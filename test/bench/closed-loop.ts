/** Closed-loop load: so many streams at once, each sends its next request when one has ended. Knows no transport. */
import type { BenchPrompt } from './prompts.ts';
import type { StreamTrace } from './trace.ts';

export interface BenchRequest {
  readonly prompt: BenchPrompt;
  /** Output tokens, exactly. */
  readonly maxTokens: number;
  readonly seed: number;
}

/** Of every request. */
export const TEMPERATURE = 0.7;

/** Sends a request and follows its stream to the end. Rejects when the stream fails. */
export type Target = (request: BenchRequest) => Promise<StreamTrace>;

/** Rejects at the first stream that fails or has not exactly the tokens it asked for: there is no figure then. */
export async function closedLoop(
  target: Target,
  requests: readonly BenchRequest[],
  concurrency: number,
): Promise<readonly StreamTrace[]> {
  const waiting = requests.values();
  const traces: StreamTrace[] = [];
  const stream = async (): Promise<void> => {
    // All streams take from the same iterator.
    for (const request of waiting) {
      const trace = await target(request);
      if (trace.tokens !== request.maxTokens) {
        throw new Error(`a stream had ${trace.tokens} tokens instead of ${request.maxTokens}`);
      }
      traces.push(trace);
    }
  };
  await Promise.all(Array.from({ length: concurrency }, stream));
  return traces;
}

/** What of a client's prompt is sent: registered text in its short form, the rest compressed. */
import type { Prompt } from '../shared/protocol.ts';
import type { Principal } from './auth.ts';
import { compressPrompt, promptBytes } from './compression.ts';
import type { Job } from './request.ts';
import { findStaticPrompt, type PromptDatabase } from './static-prompts.ts';

export interface SentPrompt {
  readonly prompt: Prompt;
  /** UTF-8, of the client's prompt that are not in `prompt`. */
  readonly savedBytes: number;
  /** UTF-16 units of the first message that are a registered prompt. */
  readonly pinnedUnits: number;
}

/** Mode off leaves every byte as it came, also of texts that are registered; a prompt named by its id is put in. */
export async function sentPrompt(
  database: PromptDatabase,
  { tenant, compression: ofKey }: Principal,
  { prompt, promptId, compression }: Job,
): Promise<SentPrompt> {
  const options = compression ?? ofKey;
  const isWanted = prompt.type === 'chat' && (promptId !== null || options.mode !== 'off');
  const { messages = [] } = prompt.type === 'chat' ? prompt : {};
  const found = isWanted ? await findStaticPrompt(database, tenant, { messages, id: promptId }) : null;
  const given: Prompt = found === null ? prompt : { type: 'chat', messages: [...found.messages] };
  const sent = compressPrompt(given, options);
  let savedBytes = sent === given ? 0 : promptBytes(given) - promptBytes(sent);
  if (found === null) return { prompt: sent, savedBytes, pinnedUnits: 0 };
  const { text, short } = found.prompt;
  savedBytes += promptBytes({ type: 'text', text }) - promptBytes({ type: 'text', text: short });
  const isWhole = sent.type === 'chat' && sent.messages[0]?.content.startsWith(short) === true;
  return { prompt: sent, savedBytes, pinnedUnits: isWhole ? short.length : 0 };
}

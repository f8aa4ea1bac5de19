/** A tenant's registered system prompts: read from the database, found in messages, sent in their short form. Knows no compression. */
import { MillraceError } from '../shared/errors.ts';
import type { ChatMessage } from '../shared/protocol.ts';

export interface StaticPrompt {
  readonly id: string;
  /** As clients write it. */
  readonly text: string;
  /** As workers get it; a person has confirmed it. */
  readonly short: string;
}

/** What is needed of D1. */
export interface PromptDatabase {
  prepare(sql: string): { bind(tenant: string): { all<T>(): Promise<{ readonly results: readonly T[] }> } };
}

/** Messages that begin with a registered prompt. */
export interface WithStaticPrompt {
  readonly messages: readonly ChatMessage[];
  readonly prompt: StaticPrompt;
}

const CACHE_MS = 10_000;
/** After a failure, and before an unknown id is looked for again. */
const RETRY_MS = 1_000;
const CACHE_CHARS = 4_000_000;
const ENTRY_CHARS = 200;

interface Entry {
  readonly prompts: readonly StaticPrompt[];
  readonly size: number;
  readonly readAtMs: number;
  readonly isBroken: boolean;
}

/** By tenant. Pure data, so isolates may share it over requests. */
const cache = new Map<string, Entry>();
let cachedChars = 0;

/**
 * The prompt of this id, or else the longest one that the system message begins with; null where there is none. Throws
 * `not_found` for an id that the tenant has not. A database that fails costs the short form of a text, nothing more.
 */
export async function findStaticPrompt(
  database: PromptDatabase,
  tenant: string,
  { messages, id }: { readonly messages: readonly ChatMessage[]; readonly id: string | null },
): Promise<WithStaticPrompt | null> {
  if (id === null && messages[0]?.role !== 'system') return null;
  let entry = await entryOf(database, tenant, CACHE_MS);
  if (id === null) return startingPrompt(messages, entry.prompts);
  if (!entry.prompts.some((prompt) => prompt.id === id)) entry = await entryOf(database, tenant, RETRY_MS);
  const prompt = entry.prompts.find((each) => each.id === id);
  if (prompt !== undefined) return { messages: withNamed(messages, prompt), prompt };
  if (entry.isBroken) throw new MillraceError('server_error', 'The registered prompts cannot be read now.');
  const message = `There is no registered prompt \`${id}\` for this key; ask whoever registers prompts for its id.`;
  throw new MillraceError('not_found', message, { param: 'prompt.id' });
}

/** Pure. The text must end where a word does. */
export function startingPrompt(
  messages: readonly ChatMessage[],
  prompts: readonly StaticPrompt[],
): WithStaticPrompt | null {
  const [first, ...rest] = messages;
  if (first?.role !== 'system') return null;
  let prompt: StaticPrompt | null = null;
  for (const each of prompts) {
    if (each.text.length > (prompt?.text.length ?? 0) && beginsWith(first.content, each.text)) prompt = each;
  }
  if (prompt === null) return null;
  return { messages: [{ ...first, content: prompt.short + first.content.slice(prompt.text.length) }, ...rest], prompt };
}

/** A system message of the client's own follows it in the same message, since templates take one. */
function withNamed(messages: readonly ChatMessage[], prompt: StaticPrompt): readonly ChatMessage[] {
  const begun = startingPrompt(messages, [prompt]);
  if (begun !== null) return begun.messages;
  const [first, ...rest] = messages;
  if (first?.role !== 'system') return [{ role: 'system', content: prompt.short }, ...messages];
  return [{ ...first, content: `${prompt.short}\n\n${first.content}` }, ...rest];
}

function beginsWith(content: string, text: string): boolean {
  return content.startsWith(text) && (content.length === text.length || /\s/.test(content.charAt(text.length)));
}

async function entryOf(database: PromptDatabase, tenant: string, maxAgeMs: number): Promise<Entry> {
  const known = cache.get(tenant);
  const age = Date.now() - (known?.readAtMs ?? 0);
  if (known !== undefined && age < (known.isBroken ? RETRY_MS : maxAgeMs)) return known;
  const entry = await readEntry(database, tenant);
  forget(tenant);
  cache.set(tenant, entry);
  cachedChars += entry.size;
  for (const oldest of cache.keys()) {
    if (cachedChars <= CACHE_CHARS) break;
    forget(oldest);
  }
  return entry;
}

async function readEntry(database: PromptDatabase, tenant: string): Promise<Entry> {
  const readAtMs = Date.now();
  try {
    const query = database.prepare('SELECT id, text, short FROM static_prompts WHERE tenant = ?').bind(tenant);
    const { results: prompts } = await query.all<StaticPrompt>();
    const size = prompts.reduce((sum, { text, short }) => sum + text.length + short.length, ENTRY_CHARS);
    return { prompts, size, readAtMs, isBroken: false };
  } catch (error) {
    console.error(JSON.stringify({ event: 'static-prompts-unreadable', error: String(error) }));
    return { prompts: [], size: ENTRY_CHARS, readAtMs, isBroken: true };
  }
}

function forget(tenant: string): void {
  cachedChars -= cache.get(tenant)?.size ?? 0;
  cache.delete(tenant);
}

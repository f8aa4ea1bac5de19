/** The flags of `millrace generate` as one checked value, and its help. Reads no file. */
import { GENERATE_HELP_GROUPS, SAMPLING_FLAGS } from './flags.ts';
import { engineConfig, readGenerateFlags, type EngineConfig } from '../config.ts';
import { isIssue, readParams, type GenerationParams } from '../llm/params.ts';
import { camelCase, kebabCase } from '../spelling.ts';
import { ConfigError, helpRows, toNumber, type Environment } from './settings.ts';

export interface GenerateConfig {
  readonly engine: EngineConfig;
  /** A file, or the prompts themselves. */
  readonly input: { readonly file: string } | { readonly prompts: readonly string[] };
  readonly chat: boolean;
  readonly repeat: number;
  /** Null: standard output. */
  readonly output: string | null;
  readonly existing: 'refuse' | 'overwrite' | 'resume';
  readonly ordered: boolean;
  readonly skipBadLines: boolean;
  readonly progress: boolean;
  /** Of every request that does not say otherwise. */
  readonly params: GenerationParams;
}

type GenerateSettings = NonNullable<ReturnType<typeof readGenerateFlags>>;

/** Null: help was asked for. */
export function readGenerateConfig(args: readonly string[], env?: Environment): GenerateConfig | null {
  const settings = readGenerateFlags(args, env);
  if (settings === null) return null;
  const output = settings.text('output');
  if (output === '') throw settings.unusable('output', 'a file, or - for standard output');
  const config: GenerateConfig = {
    engine: engineConfig(settings, null),
    input: inputOf(settings),
    chat: settings.boolean('chat'),
    repeat: settings.integer('repeat', 1, 1_000_000),
    output: output === '-' ? null : output,
    existing: existingOf(settings),
    ordered: settings.boolean('ordered'),
    skipBadLines: settings.boolean('skip-bad-lines'),
    progress: settings.boolean('progress'),
    params: paramsOf(settings),
  };
  if (config.existing !== 'resume' || config.output !== null) return config;
  throw new ConfigError('--resume needs --output with the file to continue');
}

function inputOf(settings: GenerateSettings): GenerateConfig['input'] {
  const [prompts, file] = [settings.list('prompt'), settings.text('input')];
  if (file !== '' && prompts.length > 0) throw new ConfigError('--input and --prompt are both given: use one');
  if (file !== '') return { file };
  if (prompts.length > 0) return { prompts };
  throw new ConfigError('there is nothing to generate from: give --prompt or --input (--help lists the flags)');
}

function existingOf(settings: GenerateSettings): GenerateConfig['existing'] {
  const [overwrite, resume] = [settings.boolean('overwrite'), settings.boolean('resume')];
  if (overwrite && resume) throw new ConfigError('--overwrite and --resume are both given: use one');
  if (overwrite) return 'overwrite';
  return resume ? 'resume' : 'refuse';
}

function paramsOf(settings: GenerateSettings): GenerationParams {
  const params: Record<string, unknown> = {};
  for (const name of Object.keys(SAMPLING_FLAGS) as (keyof typeof SAMPLING_FLAGS)[]) {
    if (settings.list(name).length > 0) params[camelCase(name)] = valueOf(settings, name);
  }
  const read = readParams(params);
  if (!isIssue(read)) return params;
  const name = read.field.replace(/\[.*/, '');
  throw new ConfigError(`--${kebabCase(name)} ${read.problem}`);
}

function valueOf(settings: GenerateSettings, name: keyof typeof SAMPLING_FLAGS): unknown {
  if (name === 'ignore-eos') return settings.boolean(name);
  if (name === 'stop') return settings.list(name);
  if (name === 'stop-token-ids') return settings.text(name).split(',').map(numberOrText);
  return numberOrText(settings.text(name));
}

/** What is no number is refused later, in its own words. */
function numberOrText(text: string): number | string {
  const value = toNumber(text);
  return Number.isNaN(value) ? text : value;
}

export function generateHelp(): string {
  const groups = GENERATE_HELP_GROUPS.map(([title, table]) => `${title}\n${helpRows(table)}`).join('\n\n');
  return `millrace generate (--prompt <text> | --input <file>) [flags]

Runs prompts through a model in this process, as many at once as it takes, and writes a JSON line for each.

  millrace generate --prompt "Explain transformers" --repeat 1000 --temperature 0.7 --max-tokens 128 --output out.jsonl
  millrace generate --input prompts.jsonl --output out.jsonl --resume

A line of the input is a JSON string, {"prompt": <text or token ids>} or {"messages": [...]}; beside these it may have
"id" or "custom_id", which come back, "chat_template_kwargs", and sampling parameters of its own ("max_tokens": 64).

${groups}
  --help`;
}

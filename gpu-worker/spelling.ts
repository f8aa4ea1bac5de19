/** One name in three spellings: maxTokens in TypeScript, max_tokens in JSON, max-tokens on the command line. Pure. */

export function camelCase(name: string): string {
  return name.replaceAll(/[-_]([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

export function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

export function kebabCase(name: string): string {
  return snakeCase(name).replaceAll('_', '-');
}

/** `text` with the names between its backticks spelled by `spell`; what they index or hold stays. */
export function respell(text: string, spell: (name: string) => string): string {
  return text.replaceAll(/`[\w.[\]]+`/g, spell);
}

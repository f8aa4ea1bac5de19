/** A repository in the hub's cache, laid out as huggingface_hub lays it out and shared with it. Asks no network. */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readlinkSync, renameSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ModelFolderError } from './folder.ts';
import { safetensorsFiles } from './safetensors.ts';

const DEFAULT_REVISION = 'main';
const ID = /^[\w][\w.-]{0,95}\/[\w][\w.-]{0,95}$/;
const REVISION = /^[\w][\w./-]{0,255}$/;
export const COMMIT = /^[0-9a-f]{40}$/;

export interface HubModel {
  /** owner/name */
  readonly id: string;
  /** Branch, tag or commit; null = main. */
  readonly revision: string | null;
}

export const isHubId = (text: string): boolean => ID.test(text) && !text.includes('..') && !text.includes('--');

/** The repository's part of the cache: blobs by hash, snapshots by commit as links to them, refs from names to commits. */
export class CachedRepository {
  readonly revision: string;
  readonly blobs: string;
  readonly #id: string;
  readonly #root: string;

  /** `cache`: of all repositories. Throws `ModelFolderError` for what is no id or no revision. */
  constructor({ id, revision }: HubModel, cache: string) {
    if (!isHubId(id)) throw new ModelFolderError(`"${id}" is not the id of a model: owner/name`);
    this.revision = revision ?? DEFAULT_REVISION;
    if (!REVISION.test(this.revision) || this.revision.includes('..'))
      throw new ModelFolderError(`revision "${this.revision}" is not a branch, tag or commit`);
    this.#id = id;
    this.#root = join(cache, `models--${id.replace('/', '--')}`);
    this.blobs = join(this.#root, 'blobs');
  }

  /** The revision's folder if all of it is here. */
  find(): string | null {
    const commit = COMMIT.test(this.revision) ? this.revision : readText(this.#ref());
    if (commit === null || !COMMIT.test(commit)) return null;
    return this.has(commit) ? this.snapshot(commit) : null;
  }

  /** All of that commit is here. */
  has(commit: string): boolean {
    return isComplete(this.snapshot(commit));
  }

  require(reason: string): string {
    const folder = this.find();
    if (folder !== null) return folder;
    throw new ModelFolderError(
      `${reason}, and ${this.#id} at ${this.revision} is not whole in the cache ${dirname(this.#root)}: ` +
        'start once with a network, or give a folder that has the model',
    );
  }

  snapshot(commit: string): string {
    return join(this.#root, 'snapshots', commit);
  }

  begin(commit: string): string {
    const folder = this.snapshot(commit);
    mkdirSync(folder, { recursive: true });
    mkdirSync(this.blobs, { recursive: true });
    return folder;
  }

  /** Gives a file of the snapshot the content of a blob. Others who read the snapshot never find it missing. */
  link(commit: string, file: string, blob: string): void {
    const path = join(this.snapshot(commit), file);
    const target = join('..', '..', 'blobs', blob);
    if (linkTarget(path) === target) return;
    const partial = partialOf(path);
    symlinkSync(target, partial);
    renameSync(partial, path);
  }

  /** Remembers the revision's commit for when there is no network. */
  point(commit: string): void {
    if (this.revision === commit) return;
    const ref = this.#ref();
    if (readText(ref) === commit) return;
    mkdirSync(dirname(ref), { recursive: true });
    const partial = partialOf(ref);
    writeFileSync(partial, commit);
    renameSync(partial, ref);
  }

  #ref(): string {
    return join(this.#root, 'refs', this.revision);
  }
}

function isComplete(folder: string): boolean {
  if (!['config.json', 'tokenizer.json'].every((file) => existsSync(join(folder, file)))) return false;
  try {
    return safetensorsFiles(folder).every((file) => existsSync(join(folder, file)));
  } catch (error) {
    if (error instanceof ModelFolderError) return false;
    throw error;
  }
}

/** Of no other process, also of another container. */
const partialOf = (path: string): string => `${path}.${randomUUID()}.partial`;

function linkTarget(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    return null;
  }
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}

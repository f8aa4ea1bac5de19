/** A model of the Hugging Face hub as a local folder: asks what it has, keeps what is needed in the hub's own cache layout. Knows no tensors. */
import { existsSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { HUB_URL, HubApiError, listFiles, modelInfo } from '@huggingface/hub';
import { ModelFolderError } from './folder.ts';
import { readModelConfig } from './config.ts';
import { CachedRepository, COMMIT, isHubId, type HubModel } from './hub-cache.ts';
import { Downloads, type RemoteFile } from './hub-download.ts';
import { safetensorsFiles } from './safetensors.ts';

/** Beside weights. What is not there is left out, but config.json and tokenizer.json must be. */
const SMALL_FILES = [
  'config.json',
  'generation_config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'chat_template.jinja',
];
const INDEX = 'model.safetensors.index.json';
const ONLY_WEIGHTS = 'model.safetensors';
const USUAL_WEIGHTS = /^model(?:-\d+-of-\d+)?\.safetensors$/;
const MAX_LISTED = 10_000;
const API_TIMEOUT_MS = 30_000;
const FIRST_RETRY_MS = 500;
const TOO_MANY_REQUESTS = 429;
/** What fetch says of connections that failed or were lost. */
const FETCH_FAILURES = new Set(['fetch failed', 'terminated']);
const CONNECTION_ERRORS = new Set(['TimeoutError', 'NetworkError']);

export interface HubSettings {
  /** Null = the public hub. */
  readonly endpoint: string | null;
  /** Null = none. */
  readonly token: string | null;
  /** Nothing is asked of the network. */
  readonly offline: boolean;
  /** Folder with the layout of huggingface_hub's cache, shared with it. */
  readonly cache: string;
}

/** Of all files together; bytes that the cache had before count as done. */
export interface DownloadProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
}

export interface FetchOptions {
  readonly settings: HubSettings;
  readonly onProgress?: (progress: DownloadProgress) => void;
  /** Told when the hub cannot be reached and the cache is used instead. */
  readonly onNotice?: (message: string) => void;
  /** Before a lost connection is tried again, then twice as long, and so on; by default 500. */
  readonly firstRetryMs?: number;
}

/** What `--model` stands for; null = neither. A folder of that name wins. */
export function modelPlace(model: string): 'folder' | 'hub' | null {
  if (existsSync(join(model, 'config.json'))) return 'folder';
  return isHubId(model) && !existsSync(model) ? 'hub' : null;
}

/** The folder that a model is read from, fetched first where it is one of the hub. */
export async function modelFolder({ id, revision }: HubModel, options: FetchOptions): Promise<string> {
  if (modelPlace(id) !== 'folder') return fetchModel({ id, revision }, options);
  if (revision === null) return id;
  throw new ModelFolderError(`revision ${revision} is for models of the hub, ${id} is a folder: leave it out`);
}

/** The folder of the model at that revision. Throws `ModelFolderError` that says what to do. */
export async function fetchModel(model: HubModel, options: FetchOptions): Promise<string> {
  const repository = new CachedRepository(model, options.settings.cache);
  if (options.settings.offline) return repository.require('HF_HUB_OFFLINE is set');
  if (COMMIT.test(repository.revision)) {
    const folder = repository.find();
    if (folder !== null) return folder;
  }
  let commit: string;
  try {
    commit = await commitOf(model.id, repository.revision, options.settings);
  } catch (error) {
    if (!isUnreachable(error)) throw explained(error, model, options.settings);
    const folder = repository.require(whyUnreachable(error));
    options.onNotice?.(`${whyUnreachable(error)}: ${model.id} is used as it is in the cache`);
    return folder;
  }
  try {
    await fill({ id: model.id, commit, repository, options });
  } catch (error) {
    if (!isUnreachable(error) || !repository.has(commit)) throw explained(error, model, options.settings);
    options.onNotice?.(`${whyUnreachable(error)}: ${model.id} is used as it is in the cache`);
  }
  repository.point(commit);
  return repository.snapshot(commit);
}

interface Filling {
  readonly id: string;
  readonly commit: string;
  readonly repository: CachedRepository;
  readonly options: FetchOptions;
}

/** Settings first: a model that cannot be served is refused before its weights are fetched. */
async function fill({ id, commit, repository, options }: Filling): Promise<void> {
  const { settings } = options;
  const folder = repository.begin(commit);
  const listed = await list(id, commit, settings);
  const find = (path: string): RemoteFile | undefined => listed.find((file) => file.path === path);
  for (const required of ['config.json', 'tokenizer.json']) {
    if (find(required) === undefined)
      throw new ModelFolderError(`${id} has no ${required}: give a model in the form of transformers`);
  }
  const small = [...SMALL_FILES, INDEX].flatMap((path) => find(path) ?? []);
  const downloads = new Downloads({
    url: (path) => `${endpointOf(settings)}/${id}/resolve/${commit}/${encodeURIComponent(path)}`,
    fetch: fetchWith(settings),
    blobs: repository.blobs,
    link: ({ path }, blob) => repository.link(commit, path, blob),
    onProgress: options.onProgress ?? (() => {}),
    firstRetryMs: options.firstRetryMs ?? FIRST_RETRY_MS,
  });
  // Which shards there are is only known for sure when the index is here.
  downloads.expect([...small, ...listed.filter(({ path }) => USUAL_WEIGHTS.test(path))]);
  await downloads.run(small);
  readModelConfig(folder);
  const weights = weightFiles(folder, id, listed);
  downloads.expect([...small, ...weights]);
  requireRoom(repository.blobs, downloads.missingBytes(weights));
  await downloads.run(weights);
}

function weightFiles(folder: string, id: string, listed: readonly RemoteFile[]): readonly RemoteFile[] {
  const found = new Map(listed.map((file) => [file.path, file]));
  const names = found.has(INDEX) ? safetensorsFiles(folder) : [ONLY_WEIGHTS];
  return names.map((name) => {
    const file = found.get(name);
    if (file !== undefined) return file;
    const why = found.has(INDEX) ? `its ${INDEX} names ${name}, which it lacks` : `it has no ${ONLY_WEIGHTS}`;
    throw new ModelFolderError(`${id} cannot be served: ${why}; give a model whose weights are safetensors`);
  });
}

function requireRoom(folder: string, bytes: number): void {
  const { bavail, bsize } = statfsSync(folder);
  const free = bavail * bsize;
  if (bytes <= free) return;
  const megabytes = (count: number): number => Math.ceil(count / 1e6);
  throw new ModelFolderError(
    `${megabytes(bytes)} MB to download, ${megabytes(free)} MB free in ${folder}: make room, or set HF_HUB_CACHE to another disk`,
  );
}

async function commitOf(id: string, revision: string, settings: HubSettings): Promise<string> {
  const fetch = fetchWith(settings);
  const hubUrl = endpointOf(settings);
  const { sha } = await modelInfo({ name: id, revision, additionalFields: ['sha'], hubUrl, fetch });
  if (typeof sha !== 'string' || !COMMIT.test(sha))
    throw new ModelFolderError(`the hub at ${hubUrl} named no commit of ${id}: is HF_ENDPOINT a hub?`);
  return sha;
}

/** Files of the repository's top folder, with their hashes. */
async function list(id: string, commit: string, settings: HubSettings): Promise<readonly RemoteFile[]> {
  const files: RemoteFile[] = [];
  const source = { repo: id, revision: commit, hubUrl: endpointOf(settings), fetch: fetchWith(settings) };
  for await (const { type, path, size, oid, lfs } of listFiles(source)) {
    if (files.length >= MAX_LISTED) throw new ModelFolderError(`${id} lists more than ${MAX_LISTED} files`);
    if (type === 'file') files.push({ path, bytes: lfs?.size ?? size, sha256: lfs?.oid ?? null, gitHash: oid ?? null });
  }
  return files;
}

const endpointOf = ({ endpoint }: HubSettings): string => (endpoint ?? HUB_URL).replace(/\/+$/, '');

/** With the token, where it is the hub that is asked; redirects to other hosts go without it. */
function fetchWith({ token }: HubSettings): typeof fetch {
  return (input, init = {}) => {
    const headers = new Headers(init.headers);
    if (token !== null) headers.set('authorization', `Bearer ${token}`);
    return fetch(input, { ...init, headers, signal: init.signal ?? AbortSignal.timeout(API_TIMEOUT_MS) });
  };
}

function isUnreachable(error: unknown): boolean {
  if (error instanceof HubApiError) return error.statusCode >= 500 || error.statusCode === TOO_MANY_REQUESTS;
  if (error instanceof TypeError) return FETCH_FAILURES.has(error.message);
  return error instanceof Error && CONNECTION_ERRORS.has(error.name);
}

function whyUnreachable(error: unknown): string {
  if (error instanceof HubApiError && error.statusCode === TOO_MANY_REQUESTS)
    return 'the hub asks to come back later (too many requests)';
  return `the hub cannot be reached (${causeOf(error)})`;
}

function causeOf(error: unknown): string {
  if (error instanceof HubApiError) return `status ${error.statusCode}`;
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (cause instanceof Error && 'code' in cause) return String(cause.code);
  return cause instanceof Error ? cause.message : error.message;
}

function explained(error: unknown, { id, revision }: HubModel, { token }: HubSettings): unknown {
  if (isUnreachable(error)) {
    return new ModelFolderError(`${id}: ${whyUnreachable(error)}; what has arrived is kept, start again to go on`, {
      cause: error,
    });
  }
  if (error instanceof Error && 'syscall' in error) {
    return new ModelFolderError(
      `${id} is not whole in the cache, which cannot be written (${error.message}): let this user write it, or set HF_HUB_CACHE to another folder`,
      { cause: error },
    );
  }
  if (!(error instanceof HubApiError)) return error;
  const withToken = token === null ? 'set HF_TOKEN if it is private' : 'check that HF_TOKEN may read it';
  const messages: Readonly<Record<number, string>> = {
    401: `the hub does not show it: check the name, and ${withToken}`,
    403: `access is restricted: accept its terms on the hub, and ${token === null ? 'set HF_TOKEN' : withToken}`,
    404: `there is no folder of that name here, and the hub has no such model${revision === null ? '' : ` or no revision ${revision}`}: check the name, and ${withToken}`,
  };
  const message = messages[error.statusCode] ?? `the hub answered with status ${error.statusCode}`;
  return new ModelFolderError(`${id}: ${message}`, { cause: error });
}

/** Downloads files by hash: resumed where they stopped, retried, checked before they get their name. Knows no hub but URLs. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream, existsSync, renameSync, rmSync, statSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { HubApiError } from '@huggingface/hub';
import { FileLock } from './file-lock.ts';
import { ModelFolderError } from './folder.ts';

/** One connection rarely fills the line. */
const CONNECTIONS = 4;
/** In a row, without a byte between. */
const MAX_FAILURES = 5;
/** Without a byte for so long a connection counts as lost. */
const STALL_MS = 60_000;
const PROGRESS_MS = 100;

export interface RemoteFile {
  readonly path: string;
  readonly bytes: number;
  /** Of large files; null where there is the other only. */
  readonly sha256: string | null;
  /** Git's SHA-1 over a head and the content. */
  readonly gitHash: string | null;
}

export interface DownloadPlace {
  readonly url: (path: string) => string;
  readonly fetch: typeof fetch;
  /** Folder of contents by hash. */
  readonly blobs: string;
  /** The content is whole: gives it the file's name. */
  readonly link: (file: RemoteFile, blob: string) => void;
  readonly firstRetryMs: number;
  readonly onProgress: (progress: { readonly doneBytes: number; readonly totalBytes: number }) => void;
}

export class Downloads {
  readonly #place: DownloadPlace;
  #doneBytes = 0;
  #totalBytes = 0;
  #reportedMs = 0;

  constructor(place: DownloadPlace) {
    this.#place = place;
  }

  /** Bytes of these files that are still to come. */
  missingBytes(files: readonly RemoteFile[]): number {
    return files.reduce((sum, file) => sum + file.bytes - this.#presentBytes(file), 0);
  }

  /** All that will be run: what progress is counted against. */
  expect(files: readonly RemoteFile[]): void {
    this.#totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Throws `ModelFolderError` when a file cannot be had whole; what arrived is kept for the next time. */
  async run(files: readonly RemoteFile[]): Promise<void> {
    const waiting = [...files];
    const abort = new AbortController();
    const connection = async (): Promise<void> => {
      for (let file = waiting.shift(); file !== undefined; file = waiting.shift())
        await this.#fetchFile(file, abort.signal);
    };
    const connections = Array.from({ length: CONNECTIONS }, () => connection());
    try {
      await Promise.all(connections);
    } catch (error) {
      abort.abort(error);
      await Promise.allSettled(connections);
      throw error;
    }
    this.#report(0, true);
  }

  async #fetchFile(file: RemoteFile, signal: AbortSignal): Promise<void> {
    const blob = hashOf(file);
    const path = join(this.#place.blobs, blob);
    // Without a lock: the cache may be one that this process only reads.
    if (existsSync(path)) this.#report(file.bytes);
    else await this.#download(file, path, signal);
    this.#place.link(file, blob);
  }

  async #download(file: RemoteFile, path: string, signal: AbortSignal): Promise<void> {
    const lock = await FileLock.take(`${path}.lock`, signal);
    try {
      // Of another process, while this one waited.
      if (existsSync(path)) this.#report(file.bytes);
      else
        await new Download(file, { path, place: this.#place, signal, onBytes: (bytes) => this.#report(bytes) }).run();
    } finally {
      lock.release();
    }
  }

  #presentBytes(file: RemoteFile): number {
    const path = join(this.#place.blobs, hashOf(file));
    if (existsSync(path)) return file.bytes;
    return Math.min(file.bytes, sizeOf(incompleteOf(path)));
  }

  /** Negative when bytes turn out to be worthless. */
  #report(bytes: number, always = false): void {
    this.#doneBytes += bytes;
    const nowMs = performance.now();
    if (!always && nowMs - this.#reportedMs < PROGRESS_MS) return;
    this.#reportedMs = nowMs;
    this.#place.onProgress({ doneBytes: this.#doneBytes, totalBytes: this.#totalBytes });
  }
}

interface DownloadContext {
  /** Where the whole content goes. */
  readonly path: string;
  readonly place: DownloadPlace;
  readonly signal: AbortSignal;
  readonly onBytes: (bytes: number) => void;
}

/** One file: what an earlier try left is read once for the hash, the rest comes by ranges. */
class Download {
  readonly #file: RemoteFile;
  readonly #context: DownloadContext;
  #hash: Hash;
  #received = 0;

  constructor(file: RemoteFile, context: DownloadContext) {
    this.#file = file;
    this.#context = context;
    this.#hash = startHash(file);
  }

  async run(): Promise<void> {
    const { path, place, signal } = this.#context;
    const incomplete = incompleteOf(path);
    await this.#takeUp(incomplete);
    const target = await open(incomplete, this.#received === 0 ? 'w' : 'r+');
    try {
      for (let failures = 0; this.#received < this.#file.bytes;) {
        const before = this.#received;
        try {
          await this.#receive(target);
          if (this.#received === before) throw new DOMException('ended without a byte', 'NetworkError');
        } catch (error) {
          failures = this.#received > before ? 1 : failures + 1;
          signal.throwIfAborted();
          if (!isPassing(error) || failures >= MAX_FAILURES) throw error;
          await delay(place.firstRetryMs * 2 ** (failures - 1), undefined, { signal });
        }
      }
      await target.sync();
    } finally {
      await target.close();
    }
    if (this.#hash.digest('hex') !== hashOf(this.#file)) {
      rmSync(incomplete, { force: true });
      throw new ModelFolderError(
        `${this.#file.path} arrived damaged: its hash is not ${hashOf(this.#file)}; it is deleted, start again to fetch it anew`,
      );
    }
    try {
      renameSync(incomplete, path);
    } catch (error) {
      // While this process was paused another took over, and has ended.
      if (!existsSync(path)) throw error;
    }
  }

  async #takeUp(incomplete: string): Promise<void> {
    const bytes = sizeOf(incomplete);
    if (bytes === 0 || bytes > this.#file.bytes) return;
    for await (const chunk of createReadStream(incomplete) as AsyncIterable<Buffer>) this.#took(chunk);
  }

  async #receive(target: FileHandle): Promise<void> {
    const { place, signal } = this.#context;
    const stalled = new AbortController();
    const timer = setTimeout(() => stalled.abort(new DOMException('no byte for a minute', 'TimeoutError')), STALL_MS);
    try {
      const response = await place.fetch(place.url(this.#file.path), {
        headers: { 'accept-encoding': 'identity', range: `bytes=${this.#received}-` },
        signal: AbortSignal.any([signal, stalled.signal]),
      });
      if (!response.ok || response.body === null) {
        await response.body?.cancel();
        throw new HubApiError(response.url, response.status);
      }
      if (!continues(response, this.#received)) this.#restart();
      for await (const chunk of response.body) {
        timer.refresh();
        if (this.#received + chunk.length > this.#file.bytes)
          throw new ModelFolderError(`${this.#file.path} is longer than the ${this.#file.bytes} bytes the hub listed`);
        await target.write(chunk, 0, chunk.length, this.#received);
        this.#took(chunk);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  #took(chunk: Uint8Array): void {
    this.#hash.update(chunk);
    this.#received += chunk.length;
    this.#context.onBytes(chunk.length);
  }

  /** The server sends all of it. */
  #restart(): void {
    this.#context.onBytes(-this.#received);
    this.#received = 0;
    this.#hash = startHash(this.#file);
  }
}

const incompleteOf = (path: string): string => `${path}.incomplete`;

function continues(response: Response, start: number): boolean {
  return response.status === 206 && response.headers.get('content-range')?.startsWith(`bytes ${start}-`) === true;
}

/** The file's name among the blobs, as huggingface_hub has it. */
function hashOf({ path, sha256, gitHash }: RemoteFile): string {
  const hash = sha256 ?? gitHash;
  if (hash !== null && /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(hash)) return hash;
  throw new ModelFolderError(`the hub listed ${path} without a hash: it cannot be checked`);
}

function startHash({ sha256, bytes }: RemoteFile): Hash {
  return sha256 === null ? createHash('sha1').update(`blob ${bytes}\0`) : createHash('sha256');
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Worth another try: lost connections, stalls, a server in trouble. */
function isPassing(error: unknown): boolean {
  if (error instanceof HubApiError) return error.statusCode >= 500 || error.statusCode === 429;
  return error instanceof Error && !(error instanceof ModelFolderError) && !('syscall' in error);
}

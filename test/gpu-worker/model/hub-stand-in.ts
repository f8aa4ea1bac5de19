/** Test support: a hub over real HTTP, with a second server as its storage of large files, and faults on demand. */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export const COMMIT = 'c0ffee'.padEnd(40, '0');
/** From here on files are in the storage of large files. */
const LARGE_BYTES = 10_000;

export interface StoredFile {
  readonly path: string;
  readonly content: Buffer;
}

/** What the hub does wrong; each count goes down as it happens. */
export interface Faults {
  /** Downloads of large files end after so many bytes, so many times. */
  cut?: { bytes: number; times: number };
  /** Answers of status 500, to downloads. */
  errors?: number;
  /** Answers of status 429, to everything. */
  busy?: boolean;
  /** The connection ends when it is asked for the list of files. */
  lost?: boolean;
  /** The storage ignores ranges. */
  wholeOnly?: boolean;
  /** Path of a file that arrives with one byte changed. */
  corrupt?: string;
  /** Path of a file that is listed with this size. */
  listedBytes?: { path: string; bytes: number };
  /** Called before each answer of the storage. */
  onStorage?: () => void;
  /** Milliseconds before each answer of the storage. */
  delayMs?: number;
}

export class HubStandIn {
  readonly faults: Faults = {};
  /** In order: method, path and range. */
  readonly requests: string[] = [];
  /** Authorization headers that reached the storage. */
  readonly leaked: string[] = [];
  readonly #repositories = new Map<string, { commit: string; files: readonly StoredFile[]; token: string | null }>();
  readonly #hub: Server;
  readonly #storage: Server;

  static async start(): Promise<HubStandIn> {
    const hub = new HubStandIn();
    for (const server of [hub.#hub, hub.#storage]) {
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
    }
    return hub;
  }

  private constructor() {
    this.#hub = createServer((request, response) => this.#answer(request, response));
    this.#storage = createServer((request, response) => void this.#answerStorage(request, response));
  }

  get endpoint(): string {
    return urlOf(this.#hub);
  }

  /** `token`: only who brings it sees the repository. */
  put(id: string, files: readonly StoredFile[], { commit = COMMIT, token = null as string | null } = {}): void {
    this.#repositories.set(id, { commit, files, token });
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#storage]) {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    }
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', this.endpoint);
    this.requests.push(`${request.method} ${url.pathname}${rangeText(request)}`);
    if (this.faults.busy) return json(response, 429, { error: 'We had to rate limit your IP' });
    const match = /^\/(?:api\/models\/)?([^/]+\/[^/]+)\/(revision|tree|resolve)\/([^/]+)(?:\/(.+))?$/.exec(
      url.pathname,
    );
    const [, id = '', action = '', revision = '', path = ''] = match ?? [];
    const repository = this.#repositories.get(id);
    const visible = repository?.token == null || request.headers.authorization === `Bearer ${repository.token}`;
    if (repository === undefined || !visible) return json(response, 401, { error: 'Invalid username or password.' });
    if (revision !== 'main' && revision !== 'v1' && revision !== repository.commit)
      return json(response, 404, { error: `Invalid rev id: ${revision}` });
    if (action === 'revision') return json(response, 200, infoOf(id, repository.commit));
    if (action === 'tree' && this.faults.lost) return void response.destroy();
    if (action === 'tree') return this.#list(response, repository.files, url);
    const file = repository.files.find((candidate) => candidate.path === decodeURIComponent(path));
    if (file === undefined) return json(response, 404, { error: 'Entry not found' });
    if (this.faults.errors !== undefined && this.faults.errors-- > 0) return json(response, 500, { error: 'oops' });
    if (file.content.length < LARGE_BYTES) return this.#send(request, response, file);
    response.writeHead(302, {
      location: `${urlOf(this.#storage)}/${encodeURIComponent(id)}/${encodeURIComponent(file.path)}`,
    });
    response.end();
  }

  /** Three entries a page, as the real one has a thousand. */
  #list(response: ServerResponse, files: readonly StoredFile[], url: URL): void {
    const start = Number(url.searchParams.get('cursor') ?? 0);
    const page = files.slice(start, start + 3).map((file) => this.#entry(file));
    if (start + 3 < files.length) {
      url.searchParams.set('cursor', String(start + 3));
      response.setHeader('link', `<${url.href}>; rel="next"`);
    }
    json(response, 200, page);
  }

  #entry({ path, content }: StoredFile): object {
    const listed = this.faults.listedBytes;
    const size = listed?.path === path ? listed.bytes : content.length;
    const oid = createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
    if (content.length < LARGE_BYTES) return { type: 'file', path, size, oid };
    const sha256 = createHash('sha256').update(content).digest('hex');
    return { type: 'file', path, size, oid: 'f'.repeat(40), lfs: { oid: sha256, size, pointerSize: 134 } };
  }

  async #answerStorage(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [, id = '', path = ''] = (request.url ?? '').split('/').map(decodeURIComponent);
    this.requests.push(`${request.method} storage ${path}${rangeText(request)}`);
    if (request.headers.authorization !== undefined) this.leaked.push(request.headers.authorization);
    const file = this.#repositories.get(id)?.files.find((candidate) => candidate.path === path);
    if (file === undefined) return json(response, 404, {});
    this.faults.onStorage?.();
    if (this.faults.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, this.faults.delayMs));
    this.#send(request, response, file, this.faults.cut);
  }

  #send(request: IncomingMessage, response: ServerResponse, { path, content }: StoredFile, cut?: Faults['cut']): void {
    const start = this.faults.wholeOnly ? 0 : Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const whole = Buffer.from(content);
    if (this.faults.corrupt === path) whole[whole.length - 1] = (whole.at(-1) ?? 0) ^ 1;
    const body = whole.subarray(start);
    const partial = !this.faults.wholeOnly && request.headers.range !== undefined && content.length > 0;
    response.writeHead(partial ? 206 : 200, {
      'content-length': body.length,
      ...(partial ? { 'content-range': `bytes ${start}-${content.length - 1}/${content.length}` } : {}),
    });
    if (cut === undefined || cut.times <= 0 || body.length <= cut.bytes) return void response.end(body);
    cut.times--;
    response.write(body.subarray(0, cut.bytes), () => response.destroy());
  }
}

function infoOf(id: string, sha: string): object {
  return {
    _id: '1',
    id,
    sha,
    private: false,
    gated: false,
    downloads: 0,
    likes: 0,
    lastModified: '2026-01-01T00:00:00Z',
  };
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}

const urlOf = (server: Server): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const rangeText = ({ headers }: IncomingMessage): string => (headers.range === undefined ? '' : ` ${headers.range}`);

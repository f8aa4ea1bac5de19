/** The Worker: routes, and what a request meets on its way, in order: id, CORS, key, limits, gateway. */
import { Hono, type Context } from 'hono';
import { cors } from 'hono/cors';
import { MillraceError, modelNotFound, toMillraceError } from '../shared/errors.ts';
import type { Heartbeat } from '../shared/protocol.ts';
import { authenticate, checkModel, type Principal } from './auth.ts';
import { readJson } from './body.ts';
import { limitsOf, type Env } from './env.ts';
import { errorResponse } from './errors.ts';
import { checkEventId } from './event-id.ts';
import type { GatewayJob } from './gateway.ts';
import { parseChat, parseText, type Job } from './request.ts';
import { sentPrompt } from './sent-prompt.ts';

export { Gateway } from './gateway.ts';

interface App {
  Bindings: Env;
  Variables: { requestId: string; principal: Principal };
}

const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;
const EXPOSED = [
  'x-request-id',
  'x-millrace-stream-id',
  'x-millrace-saved-bytes',
  'x-millrace-saved-tokens-estimate',
  'x-millrace-queue-ms',
  'x-millrace-prefill-ms',
  'x-millrace-decode-ms',
  'retry-after',
  'x-should-retry',
];
const ALLOWED = [
  'authorization',
  'content-type',
  'last-event-id',
  'x-request-id',
  'x-millrace-on-disconnect',
  'x-stainless-*',
];

const app = new Hono<App>();

app.use(async function requestId(c, next) {
  const given = c.req.header('x-request-id') ?? '';
  const id = REQUEST_ID.test(given) ? given : crypto.randomUUID();
  c.set('requestId', id);
  const begin = Date.now();
  await next();
  c.res = new Response(c.res.body, c.res);
  c.res.headers.set('x-request-id', id);
  const { tenant, keyId } = c.get('principal') ?? {};
  const { method, path } = c.req;
  const stream = c.res.headers.get('x-millrace-stream-id');
  console.log(
    JSON.stringify({
      event: 'request',
      request: id,
      stream,
      method,
      path,
      status: c.res.status,
      tenant,
      keyId,
      ms: Date.now() - begin,
    }),
  );
});

app.use(function corsHeaders(c, next) {
  const { allowedOrigins } = limitsOf(c.env);
  const origin = allowedOrigins.includes('*') ? '*' : [...allowedOrigins];
  return cors({
    origin,
    allowMethods: ['GET', 'POST', 'OPTIONS'],
    allowHeaders: corsRequestHeaders(c),
    exposeHeaders: EXPOSED,
  })(c, next);
});

app.get('/live', (c) => c.json({ status: 'live' }));
app.get('/health', async (c) => {
  const workers = await workersOf(c, 's0').catch(() => []);
  const ready = workers.filter(({ status }) => status === 'ready').length;
  return c.json({ status: ready > 0 ? 'ready' : 'no worker', workers: ready }, ready > 0 ? 200 : 503);
});
app.get('/', (c) =>
  c.json({
    name: 'millrace',
    api: `${new URL(c.req.url).origin}/v1`,
    docs: 'An OpenAI-compatible API: POST /v1/chat/completions with a bearer key.',
  }),
);

app.use(async function apiKey(c, next) {
  c.set('principal', await authenticate(c.req.header('authorization') ?? null, c.env));
  await next();
});

app.post('/v1/chat/completions', (c) => complete(c, parseChat));
app.post('/v1/completions', (c) => complete(c, parseText));
app.get('/v1/models', async (c) => c.json({ object: 'list', data: await models(c) }));
app.get('/v1/models/:id{.+}', async (c) => {
  const name = c.req.param('id');
  const model = (await models(c)).find(({ id }) => id === name);
  if (model === undefined) throw modelNotFound(name);
  return c.json(model);
});
app.get('/v1/streams/:id', (c) => {
  // It would take the stream from its reader, for an answer without a body.
  if (c.req.method === 'HEAD') return notAllowed(c, 'GET');
  const text = c.req.header('last-event-id') ?? c.req.query('offset') ?? '0';
  return onStream(c, '/resume', { offset: checkEventId(text) });
});
app.post('/v1/streams/:id/stop', (c) => onStream(c, '/stop', {}));

const METHODS: readonly (readonly [path: RegExp, allow: string])[] = [
  [/^\/(live|health)?$/, 'GET, HEAD'],
  [/^\/v1\/models(\/.+)?$/, 'GET, HEAD'],
  [/^\/v1\/streams\/[^/]+$/, 'GET'],
  [/^\/v1\/(chat\/)?completions$/, 'POST'],
  [/^\/v1\/streams\/[^/]+\/stop$/, 'POST'],
];
app.notFound((c) => {
  const [, allow] = METHODS.find(([path]) => path.test(c.req.path)) ?? [];
  if (allow === undefined) return errorResponse(new MillraceError('not_found', 'There is no such route.'));
  return notAllowed(c, allow);
});
app.onError((thrown, c) => {
  const error = toMillraceError(thrown);
  if (error.cause !== undefined && error.code === 'server_error') {
    console.error(JSON.stringify({ event: 'error', request: c.get('requestId'), error: String(error.cause) }));
  }
  return errorResponse(error);
});

export default app;

async function complete(c: Context<App>, parse: (body: unknown) => Job): Promise<Response> {
  const limits = limitsOf(c.env);
  const job = parse(await readJson(c.req.raw, limits.maxBodyBytes));
  const principal = c.get('principal');
  checkModel(principal, job.model);
  const shard = shardOf(principal.tenant, limits.shards);
  const message: GatewayJob = {
    ...{ ...job, ...(await sentPrompt(c.env.DB, principal, job)) },
    ...{ shard, tenant: principal.tenant, deadlineMs: Date.now() + limits.requestTimeoutMs },
    continues: continues(c),
  };
  return gateway(c.env, { shard, path: `/submit?shard=${shard}` }, { method: 'POST', body: JSON.stringify(message) });
}

function notAllowed(c: Context<App>, allow: string): Response {
  const message = `${c.req.method} is not allowed here; use ${allow}.`;
  const response = errorResponse(new MillraceError('method_not_allowed', message));
  response.headers.set('allow', allow);
  return response;
}

/** Whether generation goes on without its client. */
function continues(c: Context<App>): boolean {
  const param = 'x-millrace-on-disconnect';
  const wish = c.req.header(param) ?? 'cancel';
  if (wish === 'continue' || wish === 'cancel') return wish === 'continue';
  throw new MillraceError('invalid_value', `The header \`${param}\` must be continue or cancel.`, { param });
}

function onStream(c: Context<App>, path: string, query: Record<string, string>): Promise<Response> {
  const id = c.req.param('id') ?? '';
  const [, number = Infinity] = /^(?:chatcmpl|cmpl)-s(0|[1-9]\d{0,3})-[0-9a-f]{24}$/.exec(id) ?? [];
  // An object for any number would be an object for each.
  if (!(Number(number) < limitsOf(c.env).shards))
    throw new MillraceError('stream_not_found', 'There is no such stream.');
  const shard = `s${number}`;
  const search = new URLSearchParams({ id, shard, tenant: c.get('principal').tenant, ...query });
  return gateway(c.env, { shard, path: `${path}?${search}` });
}

interface GatewayRoute {
  readonly shard: string;
  readonly path: string;
}

/**
 * The client's leaving ends this call too, and so aborts the signal that the object sees. A signal of our own in `init`
 * would keep it from the object while no response has begun.
 */
function gateway(env: Env, { shard, path }: GatewayRoute, init: RequestInit = {}): Promise<Response> {
  const stub = env.GATEWAY.get(env.GATEWAY.idFromName(shard));
  return stub.fetch(new Request(`https://gateway${path}`, init));
}

async function workersOf(c: Context<App>, shard: string): Promise<readonly Heartbeat[]> {
  const response = await gateway(c.env, { shard, path: `/workers?shard=${shard}` });
  return response.ok ? response.json<Heartbeat[]>() : [];
}

async function models(c: Context<App>) {
  const principal = c.get('principal');
  const workers = await workersOf(c, shardOf(principal.tenant, limitsOf(c.env).shards));
  const created = new Map(workers.flatMap((worker) => worker.models.map((id) => [id, worker.created])));
  return [...created]
    .filter(([id]) => principal.models === null || principal.models.includes(id))
    .map(([id, at]) => ({ id, object: 'model', created: at, owned_by: 'millrace' }));
}

/** FNV-1a over the tenant id. */
function shardOf(tenant: string, shards: number): string {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(tenant)) hash = Math.imul(hash ^ byte, 0x01000193);
  return `s${(hash >>> 0) % shards}`;
}

/** SDKs send headers of their own (x-stainless-…): all of the harmless kind are allowed. */
function corsRequestHeaders(c: Context<App>): string[] {
  const asked = (c.req.header('access-control-request-headers') ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase());
  const exact = ALLOWED.filter((name) => !name.endsWith('*'));
  return [...exact, ...asked.filter((name) => /^x-stainless-[a-z-]{1,40}$/.test(name))];
}

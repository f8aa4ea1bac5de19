/** Models of the hub, against a stand-in over real HTTP. */
import {
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { fetchModel, modelFolder, modelPlace } from '../../../gpu-worker/model/hub.ts';
import type { DownloadProgress, HubSettings } from '../../../gpu-worker/model/hub.ts';
import { openSafetensors } from '../../../gpu-worker/model/safetensors.ts';
import { COMMIT, HubStandIn, type StoredFile } from './hub-stand-in.ts';
import { fixture } from './plans.ts';

const ID = 'some/model';
const MODEL = 'model.safetensors';

let hub: HubStandIn;
let cache: string;
beforeEach(async () => {
  hub = await HubStandIn.start();
  cache = mkdtempSync(join(tmpdir(), 'hub-'));
});
afterEach(async () => {
  await hub.stop();
  rmSync(cache, { recursive: true });
});

function filesOf(folder: string, more: Readonly<Record<string, string | Buffer>> = {}): StoredFile[] {
  const here = readdirSync(folder).map((path) => ({ path, content: readFileSync(join(folder, path)) }));
  const added = Object.entries(more).map(([path, content]) => ({ path, content: Buffer.from(content) }));
  return [...here.filter(({ path }) => more[path] === undefined), ...added];
}

const tokenizer = { 'tokenizer.json': readFileSync(join(fixture('tiny-llama'), 'tokenizer.json')) };
/** What no model needs here. */
const clutter = {
  'README.md': '# A model',
  'pytorch_model.bin': Buffer.alloc(20_000),
  'consolidated.safetensors': Buffer.alloc(20_000),
  'tf_model.h5': Buffer.alloc(20_000),
  '.gitattributes': 'x',
};
const single = () => filesOf(fixture('tiny-llama'), clutter);
const sharded = () => filesOf(fixture('families/llama3-head96-group7-sharded'), { ...tokenizer, ...clutter });

const settings = (change: Partial<HubSettings> = {}): HubSettings => {
  return { endpoint: hub.endpoint, token: null, offline: false, cache, ...change };
};
const fetchIt = (change: Partial<HubSettings> = {}, revision: string | null = null) =>
  fetchModel({ id: ID, revision }, { settings: settings(change), firstRetryMs: 5 });
const downloads = () => hub.requests.filter((line) => line.includes('/resolve/')).map((line) => line.split('/').at(-1));

describe('a model', () => {
  test('comes with what is needed and nothing else, in the layout of huggingface_hub', async () => {
    hub.put(ID, single());
    const folder = await fetchIt();
    expect(folder).toBe(join(cache, 'models--some--model', 'snapshots', COMMIT));
    const names = ['config.json', 'generation_config.json', MODEL, 'tokenizer.json', 'tokenizer_config.json'];
    expect(readdirSync(folder).toSorted()).toEqual(names.toSorted());
    expect(lstatSync(join(folder, MODEL)).isSymbolicLink()).toBe(true);
    expect(readlinkSync(join(folder, MODEL))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
    for (const name of names)
      expect(readFileSync(join(folder, name))).toEqual(readFileSync(join(fixture('tiny-llama'), name)));
    expect(readFileSync(join(cache, 'models--some--model', 'refs', 'main'), 'utf8')).toBe(COMMIT);
    expect(readdirSync(join(cache, 'models--some--model', 'blobs'))).toHaveLength(names.length);
    openSafetensors(folder).close();
  });

  test('in shards: those of the index', async () => {
    hub.put(ID, sharded());
    const folder = await fetchIt();
    expect(readdirSync(folder).filter((name) => name.endsWith('.safetensors'))).toHaveLength(4);
    openSafetensors(folder).close();
  });

  test('is fetched once; what a new commit keeps is not fetched again', async () => {
    hub.put(ID, single());
    const first = await fetchIt();
    hub.requests.length = 0;
    expect(await fetchIt()).toBe(first);
    expect(downloads()).toEqual([]);
    const next = 'd'.repeat(40);
    hub.put(ID, filesOf(fixture('tiny-llama'), { 'generation_config.json': '{"eos_token_id": 7}' }), { commit: next });
    const second = await fetchIt();
    expect(second).not.toBe(first);
    expect(downloads().map((name) => name?.split(' ')[0])).toEqual(['generation_config.json']);
    expect(existsSync(join(first, MODEL)) && existsSync(join(second, MODEL))).toBe(true);
  });

  test('that is here is not touched: others may be reading it, and the cache may be read-only', async () => {
    hub.put(ID, single());
    const snapshot = await fetchIt();
    const folders = [
      cache,
      ...readdirSync(cache, { recursive: true, encoding: 'utf8' }).map((name) => join(cache, name)),
    ];
    const touched = () => folders.filter((path) => statSync(path).isDirectory() && statSync(path).mtimeMs !== 0);
    for (const path of touched()) utimesSync(path, 0, 0);
    expect(await fetchIt()).toBe(snapshot);
    expect(touched()).toEqual([]);
  });

  test('whose files are linked elsewhere is put right', async () => {
    hub.put(ID, single());
    const snapshot = await fetchIt();
    const names = readdirSync(snapshot);
    for (const [name, put] of [
      ['config.json', (path: string) => symlinkSync('../../blobs/none', path)],
      ['tokenizer.json', (path: string) => writeFileSync(path, '{}')],
    ] as const) {
      rmSync(join(snapshot, name));
      put(join(snapshot, name));
    }
    await fetchIt();
    expect(readdirSync(snapshot)).toEqual(names);
    for (const name of names)
      expect(readFileSync(join(snapshot, name))).toEqual(readFileSync(join(fixture('tiny-llama'), name)));
  });

  test('its progress counts bytes up to the total, what is cached among them', async () => {
    hub.put(ID, sharded());
    hub.faults.cut = { bytes: 40_000, times: 2 };
    const seen: DownloadProgress[] = [];
    const folder = await fetchModel(
      { id: ID, revision: null },
      { settings: settings(), firstRetryMs: 5, onProgress: (p) => seen.push(p) },
    );
    const bytes = readdirSync(folder).reduce((sum, name) => sum + statSync(join(folder, name)).size, 0);
    expect(seen.at(-1)).toEqual({ doneBytes: bytes, totalBytes: bytes });
    for (const { doneBytes, totalBytes } of seen) {
      expect(totalBytes).toBe(bytes);
      expect(doneBytes).toBeLessThanOrEqual(bytes);
    }
  });
});

describe('revisions', () => {
  test('a tag, a commit; a commit that is here whole is not asked for', async () => {
    hub.put(ID, single());
    expect(await fetchIt({}, 'v1')).toContain(COMMIT);
    hub.requests.length = 0;
    expect(await fetchIt({}, COMMIT)).toContain(COMMIT);
    expect(hub.requests).toEqual([]);
  });

  test('one that is not there, and one that would leave the cache', async () => {
    hub.put(ID, single());
    await expect(fetchIt({}, 'v2')).rejects.toThrow('no revision v2');
    for (const revision of ['../../x', 'a/../b', '/etc', '-x', 'a\nb'])
      await expect(fetchIt({}, revision)).rejects.toThrow('is not a branch, tag or commit');
  });

  test('of a folder it means nothing', async () => {
    const model = { id: fixture('tiny-llama'), revision: 'main' };
    await expect(modelFolder(model, { settings: settings() })).rejects.toThrow('leave it out');
    expect(await modelFolder({ ...model, revision: null }, { settings: settings() })).toBe(model.id);
  });

  test('ids and folders are told apart', () => {
    expect(modelPlace(fixture('tiny-llama'))).toBe('folder');
    expect(modelPlace('Some/Model-1.5_x')).toBe('hub');
    for (const text of ['test/fixtures', './x/y', '/x/y', 'a', 'a/b/c', '../b', 'a/..', 'a--b/c', 'a b/c', ''])
      expect(modelPlace(text), text).toBeNull();
  });
});

describe('transfers', () => {
  test('that are cut go on where they stopped', async () => {
    hub.put(ID, single());
    hub.faults.cut = { bytes: 200_000, times: 2 };
    openSafetensors(await fetchIt()).close();
    const ranges = hub.requests.filter((line) => line.includes(`storage ${MODEL}`));
    expect(ranges).toEqual([0, 200_000, 400_000].map((start) => `GET storage ${MODEL} bytes=${start}-`));
  });

  test('go on in the next process', async () => {
    hub.put(ID, single());
    const files = single();
    const weights = files.find(({ path }) => path === MODEL);
    await fetchIt();
    // As a process that was killed leaves it.
    const whole = join(
      cache,
      'models--some--model',
      'blobs',
      readlinkSync(join(cache, 'models--some--model', 'snapshots', COMMIT, MODEL))
        .split('/')
        .at(-1) ?? '',
    );
    rmSync(whole);
    writeFileSync(`${whole}.incomplete`, weights?.content.subarray(0, 123_456) ?? '');
    writeFileSync(`${whole}.lock`, '');
    utimesSync(`${whole}.lock`, 0, 0);
    hub.requests.length = 0;
    const folder = await fetchIt();
    expect(hub.requests.filter((line) => line.includes('storage'))).toEqual([`GET storage ${MODEL} bytes=123456-`]);
    expect(readFileSync(join(folder, MODEL))).toEqual(weights?.content);
  });

  test('that another process took over and ended while this one was paused are done', async () => {
    hub.put(ID, single());
    const blobs = join(cache, 'models--some--model', 'blobs');
    hub.faults.onStorage = () => {
      const incomplete = join(blobs, readdirSync(blobs).find((name) => name.endsWith('.incomplete')) ?? '');
      renameSync(incomplete, incomplete.replace(/\.incomplete$/, ''));
    };
    openSafetensors(await fetchIt()).close();
  });

  test('start again where the storage knows no ranges', async () => {
    hub.put(ID, single());
    hub.faults.cut = { bytes: 100_000, times: 1 };
    hub.faults.wholeOnly = true;
    openSafetensors(await fetchIt()).close();
  });

  test('are tried again after errors of the server, not for ever', async () => {
    hub.put(ID, single());
    hub.faults.errors = 3;
    await fetchIt();
    hub.put('some/other', single());
    hub.faults.errors = 1000;
    const other = fetchModel(
      { id: 'some/other', revision: null },
      { settings: settings({ cache: join(cache, 'other') }), firstRetryMs: 5 },
    );
    await expect(other).rejects.toThrow('the hub cannot be reached (status 500); what has arrived is kept');
  });

  test.each([MODEL, 'tokenizer.json', 'config.json'])('%s with one bit wrong is refused and not kept', async (path) => {
    hub.put(ID, single());
    hub.faults.corrupt = path;
    await expect(fetchIt()).rejects.toThrow(`${path} arrived damaged: its hash is not`);
    delete hub.faults.corrupt;
    openSafetensors(await fetchIt()).close();
  });

  test('that are longer than listed end at once', async () => {
    hub.put(ID, single());
    hub.faults.listedBytes = { path: MODEL, bytes: 1000 };
    await expect(fetchIt()).rejects.toThrow(`${MODEL} is longer than the 1000 bytes the hub listed`);
  });

  test('of two processes at once are one', async () => {
    hub.put(ID, sharded());
    hub.faults.delayMs = 50;
    const [a, b] = await Promise.all([fetchIt(), fetchIt()]);
    expect(a).toBe(b);
    const fetched = hub.requests.filter((line) => line.includes('storage'));
    expect(new Set(fetched).size).toBe(fetched.length);
    openSafetensors(a).close();
  });

  test('that would not fit on the disk are not begun', async () => {
    hub.put(ID, single());
    hub.faults.listedBytes = { path: MODEL, bytes: 1e15 };
    await expect(fetchIt()).rejects.toThrow(
      /1000000000 MB to download, \d+ MB free in .*: make room, or set HF_HUB_CACHE/,
    );
    expect(hub.requests.filter((line) => line.includes('storage'))).toEqual([]);
  });
});

describe('refusals', () => {
  test('a private model: the token is needed, given to the hub and not to its storage', async () => {
    hub.put(ID, single(), { token: 'secret' });
    await expect(fetchIt()).rejects.toThrow('some/model: the hub does not show it: check the name, and set HF_TOKEN');
    await expect(fetchIt({ token: 'wrong' })).rejects.toThrow('check that HF_TOKEN may read it');
    await fetchIt({ token: 'secret' });
    expect(hub.requests.some((line) => line.includes('storage'))).toBe(true);
    expect(hub.leaked).toEqual([]);
  });

  test('no network: an error that says so, or what the cache has', async () => {
    const notices: string[] = [];
    const dead = settings({ endpoint: 'http://127.0.0.1:1' });
    const open = () =>
      fetchModel({ id: ID, revision: null }, { settings: dead, onNotice: (text) => notices.push(text) });
    await expect(open()).rejects.toThrow(
      /the hub cannot be reached \(.+\), and some\/model at main is not whole in the cache/,
    );
    hub.put(ID, single());
    const folder = await fetchIt();
    expect(await open()).toBe(folder);
    expect(notices).toEqual([expect.stringContaining('some/model is used as it is in the cache')]);
  });

  test.each([
    ['asks to come back later', { busy: true }, 'the hub asks to come back later (too many requests)'],
    ['is lost half way', { lost: true }, 'the hub cannot be reached ('],
  ] as const)('a hub that %s: an error that says so, or what the cache has', async (_, fault, reason) => {
    const notices: string[] = [];
    const open = () =>
      fetchModel({ id: ID, revision: null }, { settings: settings(), onNotice: (text) => notices.push(text) });
    hub.put(ID, single());
    Object.assign(hub.faults, fault);
    await expect(open()).rejects.toThrow(reason);
    Object.assign(hub.faults, { busy: false, lost: false });
    const folder = await fetchIt();
    Object.assign(hub.faults, fault);
    expect(await open()).toBe(folder);
    expect(notices).toEqual([expect.stringMatching(/^the hub .+: some\/model is used as it is in the cache$/)]);
    rmSync(join(folder, MODEL));
    await expect(open()).rejects.toThrow(reason);
  });

  test('a cache that cannot be written: what to do', async () => {
    hub.put(ID, single());
    const file = join(cache, 'file');
    writeFileSync(file, '');
    await expect(fetchIt({ cache: file })).rejects.toThrow(
      /^some\/model is not whole in the cache, which cannot be written \(ENOTDIR: .+\): let this user write it, or set/,
    );
  });

  test('HF_HUB_OFFLINE asks nothing', async () => {
    hub.put(ID, single());
    await expect(fetchIt({ offline: true })).rejects.toThrow(
      'HF_HUB_OFFLINE is set, and some/model at main is not whole',
    );
    expect(hub.requests).toEqual([]);
    const folder = await fetchIt();
    hub.requests.length = 0;
    expect(await fetchIt({ offline: true })).toBe(folder);
    expect(await fetchIt({ offline: true }, COMMIT)).toBe(folder);
    rmSync(join(folder, MODEL));
    await expect(fetchIt({ offline: true })).rejects.toThrow('is not whole in the cache');
    expect(hub.requests).toEqual([]);
  });

  test('a quantized checkpoint, before its weights are fetched', async () => {
    const config = JSON.parse(readFileSync(join(fixture('tiny-llama'), 'config.json'), 'utf8')) as object;
    const gptq = JSON.stringify({ ...config, quantization_config: { quant_method: 'gptq' } });
    hub.put(ID, filesOf(fixture('tiny-llama'), { 'config.json': gptq }));
    await expect(fetchIt()).rejects.toThrow('quantization_config.quant_method = gptq');
    expect(hub.requests.filter((line) => line.includes('storage'))).toEqual([]);
  });

  test('no safetensors, no tokenizer, a shard that is missing', async () => {
    const without = (path: string, files = single()) => files.filter((file) => file.path !== path);
    hub.put(ID, without(MODEL));
    await expect(fetchIt()).rejects.toThrow(`it has no ${MODEL}; give a model whose weights are safetensors`);
    hub.put(ID, without('tokenizer.json'));
    await expect(fetchIt()).rejects.toThrow('some/model has no tokenizer.json');
    hub.put(ID, without('model-00002-of-00004.safetensors', sharded()));
    await expect(fetchIt()).rejects.toThrow('names model-00002-of-00004.safetensors, which it lacks');
  });

  test('an index that names files elsewhere', async () => {
    const index = JSON.stringify({ weight_map: { a: '../../../../x.safetensors' } });
    hub.put(ID, filesOf(fixture('tiny-llama'), { 'model.safetensors.index.json': index }));
    await expect(fetchIt()).rejects.toThrow('it lacks');
  });
});

/** Who of the waiting runs next: priority, then the tenant served least, then first come. Knows no room and no tokens. */

export interface Waiting {
  readonly tenant: string;
  /** Higher runs first. */
  readonly priority: number;
  /** Order of arrival, smaller is earlier; kept through preemption, so a preempted sequence is first of its tenant. */
  readonly arrival: number;
}

/** What a tenant has had. */
interface Account {
  service: number;
  /** Its waiting items, of all priorities. */
  waiting: number;
}

/** A tenant's waiting items of one priority. */
interface Line<T> {
  readonly account: Account;
  /** By arrival. */
  readonly items: T[];
}

/** Everything that waits with one priority. */
interface Level<T> {
  readonly priority: number;
  /** By service, then by the arrival of their first item. None is empty. */
  readonly lines: Line<T>[];
  readonly byTenant: Map<string, Line<T>>;
}

/** Tenants without waiting items that are remembered, up to twice as many; who was charged longest ago is forgotten. */
export const MAX_IDLE_TENANTS = 4096;

/**
 * Fair between tenants by virtual token counters (Sheng et al., "Fairness in Serving Large Language Models", OSDI'24):
 * each tenant has a counter of the service it got, charged by the caller in weighted tokens; the lowest counter goes
 * first. A tenant that comes back is lifted to the lowest counter among the tenants that wait (or to that of the last
 * one that did), so nobody saves up service while away. Sorted arrays with binary search: at ten thousand waiting, a
 * push, a removal or a charge moves some pointers, which takes microseconds.
 */
export class WaitingQueue<T extends Waiting> {
  /** Highest priority first; none is empty. */
  readonly #levels: Level<T>[] = [];
  /** In order of their last charge, the longest ago first. */
  readonly #accounts = new Map<string, Account>();
  #idleTenants = 0;
  #lastToWait: Account = { service: 0, waiting: 0 };
  #size = 0;
  /** Counts changes of the order, so that an iterator knows when its place is void. */
  #version = 0;

  get size(): number {
    return this.#size;
  }

  /** Tenants that are remembered. */
  get tenants(): number {
    return this.#accounts.size;
  }

  /** Weighted tokens that the tenant is held to have had. */
  service(tenant: string): number {
    return this.#accounts.get(tenant)?.service ?? this.#floor();
  }

  push(item: T): void {
    const account = this.#account(item.tenant);
    if (account.waiting === 0) {
      account.service = Math.max(account.service, this.#floor());
      this.#idleTenants--;
    }
    const { lines, byTenant } = this.#level(item.priority);
    const line = byTenant.get(item.tenant) ?? { account, items: [] };
    const at = upperBound(line.items, item, byArrival);
    // A line's place hangs on its first item.
    if (at === 0 && line.items.length > 0) takeOut(lines, line, byService);
    line.items.splice(at, 0, item);
    if (at === 0) putIn(lines, line, byService);
    byTenant.set(item.tenant, line);
    account.waiting++;
    this.#size++;
    this.#version++;
  }

  /** False: it does not wait here. */
  remove(item: T): boolean {
    const level = this.#levels.find(({ priority }) => priority === item.priority);
    const line = level?.byTenant.get(item.tenant);
    if (level === undefined || line === undefined) return false;
    const { lines, byTenant } = level;
    const at = line.items.lastIndexOf(item, upperBound(line.items, item, byArrival) - 1);
    if (at < 0) return false;
    if (at === 0) takeOut(lines, line, byService);
    removeAt(line.items, at);
    if (line.items.length === 0) byTenant.delete(item.tenant);
    else if (at === 0) putIn(lines, line, byService);
    if (lines.length === 0) takeOut(this.#levels, level, byPriority);
    line.account.waiting--;
    if (line.account.waiting === 0) this.#idleTenants++;
    this.#lastToWait = line.account;
    this.#size--;
    this.#version++;
    return true;
  }

  /** The tenant was served: a prompt token counts 1 and an output token 2 in Sheng et al. */
  charge(tenant: string, tokens: number): void {
    const account = this.#account(tenant);
    this.#accounts.delete(tenant);
    this.#accounts.set(tenant, account);
    const levels = account.waiting === 0 ? [] : this.#levels;
    for (const { lines, byTenant } of levels) {
      const line = byTenant.get(tenant);
      if (line !== undefined) takeOut(lines, line, byService);
    }
    account.service += tokens;
    for (const { lines, byTenant } of levels) {
      const line = byTenant.get(tenant);
      if (line !== undefined) putIn(lines, line, byService);
    }
    if (account.waiting > 0) this.#version++;
  }

  /**
   * In order of precedence, lazily. Items may be pushed and removed and tenants charged on the way: what follows is
   * then the best of the items not seen yet, by the counters of that moment.
   */
  *[Symbol.iterator](): IterableIterator<T> {
    const seen = new Set<T>();
    let version: number;
    do {
      version = this.#version;
      for (const item of this.#items()) {
        if (seen.has(item)) continue;
        seen.add(item);
        yield item;
        if (this.#version !== version) break;
      }
    } while (this.#version !== version);
  }

  *#items(): IterableIterator<T> {
    for (const { lines } of this.#levels) for (const { items } of lines) yield* items;
  }

  /** Where a tenant without an account begins: the least service among those who wait. */
  #floor(): number {
    let least = Infinity;
    for (const { lines } of this.#levels) least = Math.min(least, lines[0]?.account.service ?? Infinity);
    return this.#size === 0 ? this.#lastToWait.service : least;
  }

  #account(tenant: string): Account {
    const found = this.#accounts.get(tenant);
    if (found !== undefined) return found;
    if (this.#idleTenants >= 2 * MAX_IDLE_TENANTS) this.#forgetIdle();
    const account = { service: this.#floor(), waiting: 0 };
    this.#accounts.set(tenant, account);
    this.#idleTenants++;
    return account;
  }

  #forgetIdle(): void {
    for (const [tenant, { waiting }] of this.#accounts) {
      if (this.#idleTenants <= MAX_IDLE_TENANTS) return;
      if (waiting > 0) continue;
      this.#accounts.delete(tenant);
      this.#idleTenants--;
    }
  }

  #level(priority: number): Level<T> {
    const found = this.#levels.find((level) => level.priority === priority);
    if (found !== undefined) return found;
    const level: Level<T> = { priority, lines: [], byTenant: new Map() };
    putIn(this.#levels, level, byPriority);
    return level;
  }
}

type Order<A> = (a: A, b: A) => number;

const byArrival: Order<Waiting> = (a, b) => a.arrival - b.arrival;
const byPriority: Order<{ readonly priority: number }> = (a, b) => b.priority - a.priority;
const byService: Order<Line<Waiting>> = (a, b) =>
  a.account.service - b.account.service || (a.items[0]?.arrival ?? 0) - (b.items[0]?.arrival ?? 0);

/** Index of the first element that comes after `item`. */
function upperBound<A>(sorted: readonly A[], item: A, order: Order<A>): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const other = sorted[middle];
    if (other !== undefined && order(other, item) <= 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function putIn<A>(sorted: A[], item: A, order: Order<A>): void {
  sorted.splice(upperBound(sorted, item, order), 0, item);
}

/** `item` must be there, in its place. */
function takeOut<A>(sorted: A[], item: A, order: Order<A>): void {
  const at = sorted.lastIndexOf(item, upperBound(sorted, item, order) - 1);
  if (at < 0) throw new Error('the waiting queue is out of order');
  removeAt(sorted, at);
}

/** The head goes without moving the rest. */
function removeAt<A>(array: A[], at: number): void {
  if (at === 0) array.shift();
  else array.splice(at, 1);
}

/** The KV bookkeeping that a runner's layout asks for. */
import type { KvLayout } from '../engine/runner.ts';
import { BlockPool } from './block-pool.ts';
import type { KvCache } from './kv-cache.ts';
import { SlotCache } from './slot-cache.ts';

export function createKvCache({ kind, blocks, blockSize, capacityTokens }: KvLayout, maxNumSeqs: number): KvCache {
  if (kind === 'blocks') return new BlockPool({ blocks, blockSize });
  return new SlotCache({ slots: blocks, running: maxNumSeqs, slotTokens: blockSize, capacityTokens });
}

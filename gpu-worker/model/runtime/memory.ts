/** Memory that the garbage collector never moves or frees: pages from mmap, seen through typed arrays. Knows no tensors. */
import koffi from 'koffi';

const PROT_READ = 1;
const PROT_READ_WRITE = 3;
const MAP_PRIVATE = 2;
const MAP_PRIVATE_ANONYMOUS_NORESERVE = 0x4022;
const MADV_DONTNEED = 4;
const MAP_FAILED = (1n << 64n) - 1n;

const libc = koffi.load(null);
const mmap = libc.func('void* mmap(void*, size_t, int, int, int, int64_t)') as (
  ...args: [null, number, number, number, number, number]
) => bigint;
const pageBytes = (libc.func('int getpagesize()') as () => number)();
const madvise = libc.func('int madvise(void*, size_t, int)') as (
  pointer: bigint,
  bytes: number,
  advice: number,
) => number;
/** Of glibc; where there is none, what was freed may stay with the process. */
const trim = findTrim();
const munmap = libc.func('int munmap(void*, size_t)') as (pointer: bigint, bytes: number) => number;

/** Mapped lazily by the kernel: untouched pages cost nothing. Views die with `free`; do not keep them longer. */
export class Memory {
  readonly pointer: bigint;
  readonly bytes: number;
  readonly buffer: ArrayBuffer;
  #mapped = true;

  private constructor(pointer: bigint, bytes: number) {
    this.pointer = pointer;
    this.bytes = bytes;
    this.buffer = koffi.view(pointer, bytes);
  }

  static allocate(bytes: number): Memory {
    return new Memory(
      map(bytes, { protection: PROT_READ_WRITE, flags: MAP_PRIVATE_ANONYMOUS_NORESERVE, descriptor: -1 }),
      bytes,
    );
  }

  /** The whole of an open file, read-only. The descriptor may be closed afterwards. */
  static mapFile(descriptor: number, bytes: number): Memory {
    return new Memory(map(bytes, { protection: PROT_READ, flags: MAP_PRIVATE, descriptor }), bytes);
  }

  /** The memory of another thread of this process, which keeps it mapped as long as the view is used. */
  static borrow(pointer: bigint, bytes: number): ArrayBuffer {
    return koffi.view(pointer, bytes);
  }

  /**
   * Gives whole pages inside bytes `start` … `end` − 1 back to the kernel; they read as zero afterwards, or as the
   * file behind them. Bytes at the edges that share a page with others stay.
   */
  discard(start: number, end: number): void {
    const first = Math.ceil(start / pageBytes) * pageBytes;
    const last = Math.floor(end / pageBytes) * pageBytes;
    if (last > first) madvise(this.pointer + BigInt(first), last - first, MADV_DONTNEED);
  }

  /** Gives the kernel what native code has freed: making sessions takes much for a moment. */
  static trim(): void {
    trim();
  }

  free(): void {
    if (!this.#mapped) return;
    this.#mapped = false;
    munmap(this.pointer, this.bytes);
  }
}

function findTrim(): () => unknown {
  try {
    const mallocTrim = libc.func('int malloc_trim(size_t)') as (pad: number) => number;
    return () => mallocTrim(0);
  } catch {
    return () => {};
  }
}

interface Mapping {
  readonly protection: number;
  readonly flags: number;
  /** −1 = no file. */
  readonly descriptor: number;
}

function map(bytes: number, { protection, flags, descriptor }: Mapping): bigint {
  if (!Number.isSafeInteger(bytes) || bytes <= 0) throw new RangeError(`cannot map ${bytes} bytes`);
  const pointer = mmap(null, bytes, protection, flags, descriptor, 0);
  if (BigInt.asUintN(64, pointer) === MAP_FAILED) throw new Error(`out of memory: mmap of ${bytes} bytes failed`);
  return pointer;
}

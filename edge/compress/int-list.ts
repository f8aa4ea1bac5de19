/** Integers in one typed array that grows, and that the next text uses again. Knows not what they mean. */

export class IntList {
  /** The first `size` are in it. */
  items = new Int32Array(1 << 10);
  size = 0;

  taken(): Int32Array {
    return this.items.subarray(0, this.size);
  }

  push(value: number): void {
    if (this.size === this.items.length) {
      const items = new Int32Array(2 * this.size);
      items.set(this.items);
      this.items = items;
    }
    this.items[this.size++] = value;
  }
}

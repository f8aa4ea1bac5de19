/** Words of lines as numbers, in typed arrays that grow. Knows not how they are found. */

/** Words of one line after another, in columns. */
export class Words {
  /** Where each begins in its line. */
  starts = new Int32Array(1 << 10);
  /** 0 for a stop word. */
  stems = new Int32Array(1 << 10);
  notes = new Uint8Array(1 << 10);
  size = 0;

  /** Room for so many more. */
  reserve(count: number): void {
    if (this.size + count <= this.notes.length) return;
    const { starts, stems, notes } = this;
    const length = 2 * (this.size + count);
    [this.starts, this.stems, this.notes] = [new Int32Array(length), new Int32Array(length), new Uint8Array(length)];
    this.starts.set(starts);
    this.stems.set(stems);
    this.notes.set(notes);
  }

  push(start: number, stem: number, note: number): void {
    this.starts[this.size] = start;
    this.stems[this.size] = stem;
    this.notes[this.size++] = note;
  }
}

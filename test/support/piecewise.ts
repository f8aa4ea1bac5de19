/** Test support: measured points as a function. */

/** Linear between the points, which begin at or below the least x; beyond the last it goes on as between the last two. */
export function through(points: readonly (readonly [number, number])[]): (x: number) => number {
  return (x) => {
    const found = points.findIndex(([to]) => x <= to);
    const at = Math.max(1, found < 0 ? points.length - 1 : found);
    const [[x0, y0], [x1, y1]] = [points[at - 1] ?? [0, 0], points[at] ?? [0, 0]];
    return y0 + ((y1 - y0) * (x - x0)) / (x1 - x0);
  };
}

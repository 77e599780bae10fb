/** Cases and planted mistakes of row picking. @module */
import { gatherRows, NO_ROW, scatterRows } from "../../shaders/rows.ts";
import { ADAPTERS, fitted } from "../../shaders/values.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

/** Widths below, at and above a workgroup; rows that repeat, and rows that take nothing. */
export function cases(): KernelCase[] {
  return [[1, 1], [5, 64], [123, 65], [77, 12]].flatMap(([rows, width]) => {
    const x = randomArray([rows, width]);
    const index = new Uint32Array(rows).map((_, i) => (i * 3) % rows);
    const inverse = index.map((v, i) => i % 3 === 1 ? NO_ROW : v);
    const pick = (ids: Uint32Array) =>
      Float64Array.from({ length: rows * width }, (_, i) => {
        const from = ids[Math.floor(i / width)];
        return from === NO_ROW ? 0 : x[from * width + i % width];
      });
    const y = randomArray([rows, width]);
    const base = { name: `${rows}x${width}`, dims: { rows, width }, tolerance: 0 };
    return ADAPTERS.flatMap((adapter): KernelCase[] => [
      {
        ...base,
        name: `${base.name} ${adapter}`,
        kernel: fitted(gatherRows, width, adapter),
        inputs: { x, index, y },
        expected: () => ({ y: pick(index) }),
      },
      {
        ...base,
        name: `${base.name} ${adapter}`,
        kernel: fitted(scatterRows, width, adapter),
        inputs: { dy: x, inverse, dx: y },
        expected: () => ({ dx: pick(inverse) }),
      },
    ]);
  });
}

/** Mistakes that the cases must reject. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "rows.gather",
    mistake: {
      why: "copies in place",
      from: "x[index[to.y] * n + to.x]",
      to: "x[to.y * n + to.x]",
    },
  },
  {
    kernel: "rows.scatter",
    mistake: {
      why: "rows without a source keep garbage",
      from: "  y[i] = v;",
      to: "  if (source != 0xffffffffu) { y[i] = v; }",
    },
  },
];

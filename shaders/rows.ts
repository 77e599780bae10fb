/**
 * Rows of a matrix picked by index, and put back. Formulas in rows.wgsl.
 * @module
 */
import { defineKernel, type DimValues, type KernelSpec, linearGrid } from "../gpu/kernel.ts";
import { SHADERS } from "./bundle.ts";
import { valuePrelude, variants } from "./values.ts";

type RowDims = "rows" | "width";
const DIMS = { rows: "u32", width: "u32" } as const;
const cost = (d: DimValues<RowDims>): { flops: number; bytes: number } => ({
  flops: 0,
  bytes: 8 * d.rows * d.width,
});

/** Marks a row that takes nothing in {@link scatterRows}. */
export const NO_ROW = 0xffffffff;

/** `y [rows, width] = x[index]`. */
export const gatherRows: KernelSpec<"x" | "index" | "y", RowDims> = variants((v) =>
  defineKernel({
    name: "rows.gather",
    source: valuePrelude(v) + SHADERS.rows,
    entry: "gather",
    scattered: ["x"],
    bindings: { x: v.read, index: "read", y: "write" },
    dims: DIMS,
    sizes: (d) => ({ x: 0, index: d.rows, y: d.rows * d.width }),
    consts: { GROUP: v.flat },
    grid: (d) => linearGrid(d.rows * d.width / v.lanes, v.flat),
    cost,
  })
);

/** `dx [rows, width] = dy[inverse]`, zero where `inverse` is {@link NO_ROW}. */
export const scatterRows: KernelSpec<"dy" | "inverse" | "dx", RowDims> = variants((v) =>
  defineKernel({
    name: "rows.scatter",
    source: valuePrelude(v) + SHADERS.rows,
    entry: "scatter",
    scattered: ["dy"],
    bindings: { dy: v.read, inverse: "read", dx: "write" },
    dims: DIMS,
    sizes: (d) => ({ dy: 0, inverse: d.rows, dx: d.rows * d.width }),
    consts: { GROUP: v.flat },
    grid: (d) => linearGrid(d.rows * d.width / v.lanes, v.flat),
    cost,
  })
);

/** Cases and planted mistakes of the head's kernels; tiles are checked against the whole vocabulary in models/head_test. @module */
import { headGradient, headReduce } from "../../shaders/head.ts";
import { fitted, REDUCERS } from "../../shaders/values.ts";
import { headForward as forwardLoops, headGradient as gradientLoops } from "../reference/head.ts";
import { type KernelCase, type Mistake, oneSubgroup, randomArray } from "./case.ts";

/** Rows 1, 17 and 40, vocabularies that are and are not multiples of four, temperatures. */
export function cases(): KernelCase[] {
  const list: KernelCase[] = [];
  for (
    const [rows, vocabulary, temperature] of [[1, 4, 1], [17, 105, 1], [40, 64, 0.7], [2, 1100, 1], [
      5,
      123,
      1.3,
    ], [
      3,
      2,
      1,
    ]]
  ) {
    const stride = Math.ceil(vocabulary / 4) * 4;
    // Of a few far apart one may have all of the probability, and 1 - p no digits left.
    const logits = randomArray([rows, stride], vocabulary < 16 ? 1 : 8);
    const targets = new Uint32Array(rows).map((_, i) => (i * 7 + 1) % vocabulary);
    const dims = {
      rows,
      stride,
      first: 0,
      columns: vocabulary,
      last: 1,
      inverse_temperature: 1 / temperature,
    };
    const name = `rows=${rows} vocabulary=${vocabulary} T=${temperature}`;
    const forward = forwardLoops(logits, targets, rows, vocabulary, stride, temperature);
    const packed = new Float32Array(rows * 4);
    for (let r = 0; r < rows; r++) {
      packed.set([forward.logp[r], forward.entropy[r], forward.lse[r], 0], r * 4);
    }
    const dlogp = randomArray([rows]);
    const dentropy = randomArray([rows]);
    const reduce = {
      inputs: { logits, targets, running: randomArray([rows, 4]), result: randomArray([rows, 4]) },
      dims,
      tolerance: 1e-5,
      expected: () => ({ result: packed }),
    };
    const gradient = {
      inputs: { tile: logits, targets, result: packed, dlogp, dentropy },
      dims,
      tolerance: 1e-5,
      expected: () => ({
        tile: gradientLoops(logits, targets, dlogp, dentropy, rows, vocabulary, stride, temperature),
      }),
    };
    for (const adapter of REDUCERS) {
      // The texts read in fours in either prelude.
      if (vocabulary === 64) {
        list.push({ name: `${name} ${adapter} by ones`, kernel: fitted(headReduce, 1, adapter), ...reduce });
        if (adapter !== "subgroups") {
          list.push({
            name: `${name} ${adapter} by ones`,
            kernel: fitted(headGradient, 1, adapter),
            ...gradient,
          });
        }
      }
      list.push({
        name: `${name} ${adapter}`,
        kernel: fitted(headReduce, stride, adapter),
        ...reduce,
      });
      if (adapter === "subgroups") {
        list.push({
          name: `${name} a subgroup`,
          kernel: oneSubgroup(fitted(headReduce, stride, adapter)),
          ...reduce,
        });
        // Columns are not added up in the gradient.
        continue;
      }
      list.push({
        name: `${name} ${adapter}`,
        kernel: fitted(headGradient, stride, adapter),
        ...gradient,
      });
    }
  }
  return list;
}

/** Mistakes that the cases must reject. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  {
    kernel: "head.reduce",
    mistake: {
      why: "tail columns forgotten",
      from: "let rest = select(0u, d.columns % 4u, here && team_member(team) == 0u);",
      to: "let rest = 0u;",
    },
  },
  {
    kernel: "head.reduce",
    mistake: {
      why: "each thread its own maximum",
      from: "for (var i = 0u; i < SHARE; i++) { top =",
      to: "for (var i = 0u; i < 0u; i++) { top =",
    },
  },
  {
    kernel: "head_subgroup.reduce",
    mistake: {
      why: "every thread counts the tail columns",
      from: "d.columns % 4u, here && team_member(team) == 0u);",
      to: "d.columns % 4u, here);",
    },
  },
  {
    kernel: "head_subgroup.reduce",
    mistake: { why: "each thread its own maximum", from: "return subgroupMax(mine);", to: "return mine;" },
  },
  {
    kernel: "head_subgroup.reduce",
    mistake: {
      why: "the second turn takes the first's row again",
      from: "return turn * team.teams + team.id;",
      to: "return team.id;",
    },
  },
  {
    kernel: "head.reduce",
    mistake: {
      why: "entropy of the unscaled logits",
      from: "weighted += e * z;",
      to: "weighted += e * z / d.inverse_temperature;",
    },
  },
  {
    kernel: "head.gradient",
    mistake: {
      why: "no one-hot term",
      from: "g = select(g, g + s.x, column + d.first == vec4u(y));",
      to: "",
    },
  },
  {
    kernel: "head.gradient",
    mistake: {
      why: "padding left as it was",
      from: "select(vec4f(0.0), g * d.inverse_temperature, column < vec4u(d.columns))",
      to: "g * d.inverse_temperature",
    },
  },
  {
    kernel: "head.gradient",
    mistake: { why: "entropy gradient without H", from: "(log_p + r.y)", to: "log_p" },
  },
];

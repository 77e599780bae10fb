/**
 * Cases of the sampling kernel. Ids, states and bit sets must be equal (tolerance 0, in cases of their own, so that no
 * large word hides a small difference); values and probabilities within 1e-5.
 * @module
 */
import { sampleKernels } from "../../shaders/sample.ts";
import { sampleAll, type SampleShape, type SampleState } from "../reference/sample.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

type Variant = keyof typeof sampleKernels;
type Settings = Partial<Omit<SampleShape, "slots" | "vocab" | "stride" | "stop_count">>;

const OFF = { temperature: 1, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1 };
/** Choices nearer than this to another one are left to chance by f32: such inputs are drawn again. */
const MARGIN = 3e-6;

function bits(count: number, rows: number, chosen: (row: number, v: number) => boolean): Uint32Array {
  const words = Math.ceil(count / 32);
  const out = new Uint32Array(rows * words);
  for (let r = 0; r < rows; r++) {
    for (let v = 0; v < count; v++) if (chosen(r, v)) out[r * words + (v >> 5)] |= 1 << (v & 31);
  }
  return out;
}

/** With a `step`, logits are multiples of it. Five slots: at its last but one position, dead, at its last, running, with a logit that is not finite. The second launch. */
function draw(
  variant: Variant,
  vocab: number,
  settings: Settings,
  key: number,
  spread: number,
  step: number,
): { state: SampleState; shape: SampleShape } {
  const slots = 5, stride = variant === "sample_texture" ? 4 * Math.ceil((vocab + 3) / 4) : vocab + 3;
  const logits = randomArray([slots, stride], spread);
  if (step > 0) { for (let i = 0; i < logits.length; i++) logits[i] = Math.round(logits[i] / step) * step; }
  // Zeros of either sign are equal: with the 40th value a zero, top-k keeps them all.
  if (step > 0) { for (let v = 0; v < vocab; v++) logits[v] = [1, 0, -0][v % 3]; }
  // What stands between the rows must not be seen.
  for (let s = 0; s < slots; s++) logits.fill(1e9, s * stride + vocab, (s + 1) * stride);
  // Equal largest logits: greedy takes the first.
  if (vocab > 100) logits[70] = logits[99] = logits[6] = spread * 1.01;
  logits[4 * stride + (vocab >> 1)] = key % 2 ? NaN : Infinity;
  const shape = { slots, vocab, stride, stop_count: 0, ...OFF, ...settings };
  for (const name of ["temperature", "top_p", "min_p", "repetition_penalty"] as const) {
    shape[name] = Math.fround(shape[name]);
  }
  const state: SampleState = {
    logits,
    slots: Uint32Array.from(
      [[1, 0], [0, 1], [1, 0], [1, 0], [1, 0]].flatMap(([alive, finish], s) => [
        9,
        17 + s,
        alive,
        [18, 400, 19, 400, 400][s],
        key * 7919 + s,
        0x80000000 + key,
        3 + s,
        finish,
      ]),
    ),
    seen: bits(vocab, slots, (r, v) => (v + r) % 3 === 0),
    banned: bits(vocab, 1, (_, v) => vocab > 4 && (v % 11 === 6 || v === vocab - 1)),
    stops: Uint32Array.of(0, 0),
    out_tokens: Uint32Array.from({ length: 2 * slots }, (_, i) => 1000 + i),
    out_values: randomArray([2 * slots, 2]),
    tick: Uint32Array.of(slots),
  };
  return { state, shape };
}

function sampleCases(
  variant: Variant,
  vocab: number,
  settings: Settings,
  spread = 6,
  step = 0,
): KernelCase[] {
  const { sample, filteredProbabilities } = sampleKernels[variant];
  let key = vocab;
  const again = () => draw(variant, vocab, settings, key++, spread, step);
  let { state, shape } = again();
  while (sampleAll(state, shape).margin < MARGIN) ({ state, shape } = again());
  // The token of slot 3 becomes the second stop token.
  const first = sampleAll(state, shape);
  state = { ...state, stops: Uint32Array.of(vocab + 5, first.out_tokens[shape.slots + 3]) };
  shape = { ...shape, stop_count: 2 };
  const name = `vocab=${vocab} ${JSON.stringify(settings)}`;
  const inputs = state as unknown as KernelCase["inputs"];
  const { slots, seen, out_tokens, out_values, tick, probabilities } = sampleAll(state, shape);
  const { logits, banned } = inputs;
  const dims = { ...shape };
  return [
    {
      name: `${name}, ids`,
      kernel: sample,
      inputs,
      dims,
      tolerance: 0,
      expected: () => ({ slots, seen, out_tokens, tick }),
    },
    {
      name: `${name}, values`,
      kernel: sample,
      inputs,
      dims,
      tolerance: 1e-5,
      expected: () => ({ out_values }),
    },
    {
      name,
      kernel: filteredProbabilities,
      inputs: {
        logits,
        banned,
        slots: inputs.slots,
        seen: inputs.seen,
        probabilities: randomArray([shape.slots, vocab]),
      },
      dims,
      tolerance: 1e-5,
      expected: () => ({ probabilities }),
    },
  ];
}

/**
 * Each filter alone and together; vocabularies within and beyond what the registers of `sample` hold (4,096), and that
 * are and are not whole words of bits.
 */
export function cases(): KernelCase[] {
  return (Object.keys(sampleKernels) as Variant[]).flatMap((variant) => [
    ...sampleCases(variant, 1, {}),
    ...sampleCases(variant, 5, { top_k: 3 }),
    ...sampleCases(variant, 123, { temperature: 0, repetition_penalty: 1.3 }),
    ...sampleCases(variant, 123, { temperature: 0.7, top_p: 0.8 }),
    ...sampleCases(variant, 65, { min_p: 0.05, top_p: 0.97 }),
    ...sampleCases(variant, 512, { temperature: 1.5, repetition_penalty: 1.2 }),
    ...sampleCases(variant, 513, {
      temperature: 0.9,
      top_k: 40,
      top_p: 0.9,
      min_p: 0.01,
      repetition_penalty: 1.1,
    }),
    ...sampleCases(variant, 1061, { top_p: 0.95, top_k: 700 }),
    ...sampleCases(variant, 1061, { temperature: 0 }),
    ...sampleCases(variant, 3000, { top_p: 0.99 }, 3),
    ...sampleCases(variant, 5003, { top_p: 0.98, temperature: 0.8 }, 3),
    // Logits so near to each other that the widths of ranges no longer part them, and ties among those that are kept.
    ...sampleCases(variant, 96, { top_k: 9 }, 1e-30),
    ...sampleCases(variant, 96, { top_k: 40 }, 6, 0.5),
  ]);
}

/** A mistake in an id, a value or a state. */
const mistake = (why: string, from: string, to: string, variant: Variant = "sample") => ({
  kernel: sampleKernels[variant].sample.name,
  mistake: { why, from, to },
});
/** A mistake in the probabilities: a wrong filter need not change the one token of a draw, but always changes them. */
const filter = (why: string, from: string, to: string, variant: Variant = "sample") => ({
  kernel: sampleKernels[variant].filteredProbabilities.name,
  mistake: { why, from, to },
});
const TEXTURE = "sample_texture";

/** Planted mistakes; each is rejected by at least one case. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  mistake("nine rounds", "round < 10u", "round < 9u"),
  mistake("the key of the next position", "slots[s * 8u + 1u] + 1u, 0u", "slots[s * 8u + 1u], 0u"),
  filter("the penalty the wrong way round", "y > vec4f());", "y <= vec4f());"),
  filter("banned tokens from the first quad only", "at.w >= row.first_banned", "at.w < 256u"),
  filter("top-p of everything, not of what top-k kept", "max(d.top_p * mass,", "max(d.top_p * (*row).mass,"),
  filter("only 12 bits of the threshold", "bit < 32u", "bit < 12u"),
  filter(
    "min-p is forgotten in the sum",
    "= lane_sum(row, lane, threshold, d.min_p)",
    "= lane_sum(row, lane, threshold, 0.0)",
  ),
  mistake("the goal of the whole row within the lane", "goal = at - before;", "goal = at;"),
  mistake(
    "a column's lanes in the wrong order",
    "% LANES * TEAMS + lane / LANES]",
    "% LANES * TEAMS + TEAMS - 1u - lane / LANES]",
  ),
  mistake("the token of the column's first lane", "owner = column + LANES * i;", "owner = column;"),
  filter(
    "a column's stretches overlap",
    "(lane / LANES * share() + i)",
    "(lane / LANES * (share() - 1u) + i)",
  ),
  filter("a stretch ends early", "+ TEAMS - 1u) / TEAMS; }", ") / TEAMS; }"),
  filter("the last team's sums are lost", "team < TEAMS;", "team + 1u < TEAMS;"),
  mistake(
    "greedy takes the last of equals",
    "chosen = min(chosen, lane_first[i])",
    "chosen = select(min(chosen, lane_first[i]), lane_first[i], lane_first[i] != NONE)",
  ),
  mistake(
    "the log-probability of the penalised logits",
    "logits[row.base + token] - row.raw_top",
    "logits[row.base + token] - row.top",
  ),
  mistake("the length is one short", "position > slots[at + 3u]", "position >= slots[at + 3u]"),
  mistake("the last stop token is forgotten", "i < d.stop_count", "i + 1u < d.stop_count"),
  mistake("seen is not carried on", "|= 1u << (token & 31u)", "|= 0u << (token & 31u)"),
  mistake(
    "always the first row of the outputs",
    "workgroupUniformLoad(&step) * d.slots + s",
    "workgroupUniformLoad(&step) * 0u + s",
  ),
  mistake("logits that are not finite pass", "if (!row.bad)", "if (row.top > LOWEST)"),
  filter("not normalised", "1.0 / max(kept_mass, 1e-37)", "1.0"),
  mistake("subgroups overwrite each other's sums", "parts[own_id * 4u] =", "parts[0] =", "sample_subgroup"),
  filter(
    "the first subgroup's maximum alone",
    "var i = 1u; i < subgroups;",
    "var i = 1u; i < 1u;",
    "sample_subgroup",
  ),
  // What both variants share is planted above.
  mistake("a dead slot is sampled", "slots[s * 8u + 2u] != 1u", "slots[s * 8u + 2u] > 1u", TEXTURE),
  filter("the penalty the wrong way round", "raw > vec4f()", "raw <= vec4f()", TEXTURE),
  filter(
    "the bans of a word's first half for both",
    "banned[v / 32u] >> (v & 31u)",
    "banned[v / 32u]",
    TEXTURE,
  ),
  filter(
    "what follows the vocabulary is kept",
    "ids_of(v) >= vec4u(d.vocab)",
    "ids_of(v) >= vec4u(d.stride)",
    TEXTURE,
  ),
  filter("top-p of everything, not of what top-k kept", "if (again > 0u)", "if (again > 1000u)", TEXTURE),
  filter(
    "two passes at most",
    "for (var pass_id = 0u; open;",
    "for (var pass_id = 0u; open && pass_id < 2u;",
    TEXTURE,
  ),
  filter("one pass whatever it finds", "open = -highest(-least) < highest(most)", "open = false", TEXTURE),
  filter("min-p is forgotten", "e >= vec4f(d.min_p)", "e >= vec4f()", TEXTURE),
  mistake("the goal of the whole row within the column", "column, end - p.below)", "column, end)", TEXTURE),
  mistake(
    "greedy takes the last of equals",
    "first = min(first, select(vec4u(NONE)",
    "first = max(select(first, vec4u(), first == vec4u(NONE)), select(vec4u()",
    TEXTURE,
  ),
  mistake(
    "the log-probability of the penalised logits",
    "one_of(chosen)) - row.raw_top",
    "one_of(chosen)) - row.top",
    TEXTURE,
  ),
  mistake("always the first row of the outputs", "/ d.slots * d.slots + s", "* 0u + s", TEXTURE),
  mistake("logits that are not finite pass", "row.bad = any(bad) || ", "row.bad = ", TEXTURE),
  filter("not normalised", "1.0 / max(k.mass, 1e-37)", "1.0", TEXTURE),
];

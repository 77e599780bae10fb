/**
 * Cases of the AEPO gradient.
 * @module
 */
import { policyLoss, tokenAdvantage } from "../../shaders/policy_loss.ts";
import * as reference from "../reference/policy_loss.ts";
import { type KernelCase, type Mistake, randomArray } from "./case.ts";

type Settings = Partial<Omit<reference.PolicyShape, "tokens" | "sequences">>;

const DEFAULTS = { length_normalise: 0, clip_low: 0.2, clip_high: 0.3, clip_dual: 0, kl_kind: 4 };

/** A packed batch: `gap` is the spread of log π − log π_old and log π − log π_ref. */
function batch(
  lengths: number[],
  settings: Settings,
  gap: number,
): {
  inputs: Record<string, Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>;
  shape: reference.PolicyShape;
} {
  const tokens = lengths.reduce((a, b) => a + b, 0), sequences = lengths.length;
  const shape = { ...DEFAULTS, ...settings, tokens, sequences };
  for (const name of ["clip_low", "clip_high", "clip_dual"] as const) shape[name] = Math.fround(shape[name]);
  const result = randomArray([tokens, 4], 3);
  const noise = randomArray([tokens, 2], gap), windows = randomArray([tokens], 3);
  const behaviour = new Float32Array(4 * tokens);
  for (let t = 0; t < tokens; t++) {
    const logp = result[4 * t];
    behaviour.set(
      [logp + noise[2 * t], logp + noise[2 * t + 1], Math.abs(windows[t]), windows[t] > 1 ? 1 : 0],
      4 * t,
    );
  }
  const random = randomArray([sequences, 8], 1);
  const sequence = Float32Array.from(random, (x, i) => {
    const field = i % 8;
    if (field === 6) return (i >> 3) % 3;
    return field === 0 ? x * 2 : field === 5 ? 1 + x : Math.abs(x) + 0.1;
  });
  let at = 0;
  const spans = Uint32Array.from(lengths.flatMap((n) => {
    at += n;
    return [at - n, n];
  }));
  const sequence_of = Uint32Array.from(lengths.flatMap((n, i) => Array(n).fill(i)));
  const advantages = randomArray([tokens], 2);
  return { inputs: { behaviour, sequence, spans, result, sequence_of, advantages }, shape };
}

function lossCase(lengths: number[], settings: Settings, gap = 0.5): KernelCase {
  const { inputs: { spans: _, ...inputs }, shape } = batch(lengths, settings, gap);
  return {
    name: `lengths=${lengths} gap=${gap} ${JSON.stringify(settings)}`,
    kernel: policyLoss,
    inputs: {
      ...inputs,
      dlogp: randomArray([shape.tokens]),
      stats: randomArray([shape.tokens, 20]),
      dkl: randomArray([shape.tokens]),
    },
    dims: { ...shape },
    tolerance: 1e-5,
    expected: (x) =>
      reference.policyLoss(
        {
          behaviour: x.behaviour,
          sequence: x.sequence,
          result: x.result,
          sequence_of: x.sequence_of,
          advantages: x.advantages,
        },
        shape,
      ),
  };
}

/** Gradients of the KL alone and near 0, where other columns would hide a lost digit. */
function smallKlCase(): KernelCase {
  const c = lossCase([123], { kl_kind: 4 }, 1e-2);
  return {
    ...c,
    name: "KL alone, log-ratios below 0.01",
    inputs: { ...c.inputs, advantages: new Float32Array(c.dims.tokens) },
    expected: (x) => ({ dlogp: c.expected(x).dlogp }),
  };
}

function notFiniteCase(
  input: "result" | "behaviour" | "advantages",
  at: number,
  value: number,
  kl_kind = 4,
): KernelCase {
  const c = lossCase([4], { kl_kind });
  const data = Float32Array.from(c.inputs[input]);
  data[at] = value;
  const inputs = { ...c.inputs, [input]: data };
  return {
    ...c,
    name: `${input}[${at}] = ${value}`,
    inputs,
    // NaN must stand where the reference has it, and nowhere else.
    expected: (x) => ({ dlogp: c.expected(x).dlogp }),
  };
}

function advantageCase(lengths: number[], settings: Settings): KernelCase {
  const { inputs: { behaviour, sequence, spans, advantages }, shape } = batch(lengths, settings, 1);
  return {
    name: `lengths=${lengths} ${JSON.stringify(settings)}`,
    kernel: tokenAdvantage,
    inputs: { behaviour, sequence, spans, base: advantages, out: randomArray([shape.tokens]) },
    dims: { ...shape },
    tolerance: 1e-5,
    expected: ({ behaviour, sequence, spans, base, out }) => ({
      out: reference.tokenAdvantage(behaviour, sequence, spans, base, out, shape.length_normalise === 1),
    }),
  };
}

/** Every KL kind, clips on and off, log-ratios past every clamp, inputs that are not finite, empty sequences. */
export function cases(): KernelCase[] {
  return [
    advantageCase([1], {}),
    advantageCase([5, 0, 64, 65, 123], {}),
    advantageCase([20, 300, 1], { length_normalise: 1 }),
    ...[0, 1, 2, 3, 4, 5, 6].map((kl_kind) => lossCase([5, 64, 123], { kl_kind })),
    lossCase([1], { clip_dual: 3 }),
    lossCase([123, 65], { clip_dual: 1.5, clip_low: 0.1, clip_high: 0.28 }, 1.5),
    lossCase([300], { kl_kind: 4 }, 4),
    lossCase([64, 1], { kl_kind: 4, clip_dual: 3 }, 30),
    smallKlCase(),
    notFiniteCase("result", 8, NaN),
    notFiniteCase("result", 7, NaN, 6),
    notFiniteCase("behaviour", 5, NaN, 6),
    notFiniteCase("behaviour", 5, NaN),
    notFiniteCase("behaviour", 4, -Infinity),
    notFiniteCase("advantages", 0, Infinity),
  ];
}

const mistake = (kernel: { name: string }, why: string, from: string, to: string) => ({
  kernel: kernel.name,
  mistake: { why, from, to },
});

/** Planted mistakes; each is rejected by at least one case. */
export const mistakes: { kernel: string; mistake: Mistake }[] = [
  mistake(tokenAdvantage, "the bonus is not centred", "bonus(first + t, s) - mean", "bonus(first + t, s)"),
  mistake(tokenAdvantage, "the bonus outside windows too", "* b.w;", "* 1.0;"),
  mistake(
    tokenAdvantage,
    "no lower bound at the threshold",
    "max(0.0, b.z - sequence[s][5])",
    "(b.z - sequence[s][5])",
  ),
  mistake(tokenAdvantage, "divided by nothing", "scale /= f32(max(length, 1u))", "scale /= 1.0"),
  mistake(
    tokenAdvantage,
    "one advantage for a whole sequence",
    "scale * base[first + t]",
    "scale * base[first]",
  ),
  mistake(
    policyLoss,
    "clip bounds exchanged",
    "1.0 - d.clip_low, 1.0 + d.clip_high",
    "1.0 - d.clip_high, 1.0 + d.clip_low",
  ),
  mistake(policyLoss, "gradient through the clip", "plain >= clipped && difference", "difference"),
  mistake(policyLoss, "the better of the two", "max(plain, clipped)", "min(plain, clipped)"),
  mistake(policyLoss, "dual clip for good tokens", "a < 0.0 && ", ""),
  mistake(policyLoss, "gradient through the dual clip", "gradient = 0.0;", "gradient = gradient * 1.0;"),
  mistake(
    policyLoss,
    "the KL is not relaxed inside windows",
    "select(sequence[s][2], sequence[s][3], inside)",
    "sequence[s][2]",
  ),
  mistake(policyLoss, "the ratio to the reference", "logp - b.x;", "logp - b.y;"),
  mistake(policyLoss, "the KL's direction", "let x = logp - reference;", "let x = reference - logp;"),
  mistake(policyLoss, "gradient through the KL's clamp", "abs(x) > 20.0 || value > 10.0", "false"),
  mistake(policyLoss, "cancellation at small log-ratios", "abs(q) < 0.25", "abs(q) < 0.0"),
  mistake(policyLoss, "the loss weight of the first sequence", "sequence[s][1];", "sequence[0][1];"),
  mistake(
    policyLoss,
    "windows in the controller's KL",
    "select(own, vec3f(0.0), inside)",
    "own",
  ),
  mistake(policyLoss, "all tokens in the KL inside windows", "own - outside", "own"),
  mistake(policyLoss, "the exact KL unweighted", "w * weight, full", "weight, full"),
  mistake(policyLoss, "the exact KL's gradient for every kind", "full && good", "good"),
  mistake(policyLoss, "the exact KL needs a sampled one", "full || finite(b.y)", "finite(b.y)"),
  mistake(policyLoss, "a NaN of the exact KL passes", "finite(term) && finite(kl.x)", "finite(term)"),
  mistake(policyLoss, "a NaN of the old policy passes", "&& finite(b.x)", "&& finite(b.z)"),
];

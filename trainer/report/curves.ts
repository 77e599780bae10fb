/**
 * A run's training curves: which metrics are drawn together, and under which names.
 * @module
 */
import { colourOf, lineChart, type Series } from "./charts.ts";
import { html, type Markup } from "./html.ts";
import type { RunLog } from "./run_log.ts";

/** Metrics of one chart; `<difficulty>` in a key stands for easy, medium and hard. */
interface Curve {
  readonly title: string;
  readonly keys: readonly string[];
}

const STAGES: readonly {
  readonly stage: string;
  readonly title: string;
  readonly x: string;
  readonly curves: readonly Curve[];
}[] = [
  {
    stage: "aepo",
    title: "Policy optimization (AEPO)",
    x: "iteration",
    curves: [
      { title: "accuracy", keys: ["reward/accuracy", "val/accuracy"] },
      { title: "response length, tokens", keys: ["response_length/mean", "train/<difficulty>/len_mean"] },
      { title: "N_HE and its target", keys: ["train/<difficulty>/n_he", "train/<difficulty>/n_target"] },
      { title: "entropy and τ, nats", keys: ["entropy/mean", "entropy/threshold"] },
      { title: "reward", keys: ["reward/overall", "reward/entropy_shaping", "reward/format"] },
      { title: "λ_d, weight of the entropy reward", keys: ["train/<difficulty>/lambda"] },
      { title: "κ_d, weight of the KL term", keys: ["train/<difficulty>/kappa"] },
      { title: "KL to the reference, nats a token", keys: ["actor/kl"] },
      {
        title: "KL outside and inside windows",
        keys: ["train/<difficulty>/kl_outside", "train/<difficulty>/kl_inside"],
      },
      { title: "share of tokens clipped", keys: ["actor/pg_clipfrac_higher", "actor/pg_clipfrac_lower"] },
      { title: "gradient norm", keys: ["actor/grad_norm"] },
      { title: "groups learned from", keys: ["batch/groups"] },
      { title: "branches", keys: ["batch/branches"] },
      { title: "tokens of rollouts", keys: ["batch/generated_tokens", "batch/shared_tokens"] },
      { title: "seconds", keys: ["timing_s/gen", "timing_s/ref", "timing_s/update_actor", "timing_s/step"] },
    ],
  },
  {
    stage: "adacs",
    title: "Fine-tuning (AdaCS)",
    x: "step",
    curves: [
      { title: "loss, nats a token", keys: ["sft/loss"] },
      { title: "gradient norm", keys: ["actor/grad_norm"] },
      { title: "learning rate", keys: ["actor/lr"] },
    ],
  },
];

const DIFFICULTIES = ["easy", "medium", "hard"];
/** For lines of one chart that are no difficulties. */
const COLOURS = ["currentColor", "var(--series-1)", "var(--series-2)", "var(--series-3)"];

/** The curves of every stage that has any. */
export function curves({ metrics }: RunLog): Markup {
  return html`${
    STAGES.map(({ stage, title, x, curves }) => {
      const own = metrics.filter((m) => m.stage === stage);
      // Each stage numbers its steps anew; the evaluation before AdaCS belongs to no curve of it.
      const charts = curves.map((curve) => ({ curve, series: seriesOf(curve, own) }))
        .filter(({ series }) => series.some((s) => s.points.length > 0 && !s.dots));
      return charts.length > 0 &&
        html`
          <h3>${title}</h3>
          <div class="grid">${charts.map(({ curve, series }) => lineChart(curve.title, series, x))}</div>
        `;
    })
  }`;
}

function seriesOf(curve: Curve, metrics: readonly Readonly<Record<string, any>>[]): Series[] {
  const series: Series[] = [];
  for (const key of curve.keys) {
    const many = key.includes("<difficulty>");
    for (const difficulty of many ? DIFFICULTIES : [undefined]) {
      const name = difficulty === undefined ? key : key.replace("<difficulty>", difficulty);
      const points = metrics.filter((m) => typeof m[name] === "number").map((m) =>
        [m.step, m[name]] as const
      );
      if (points.length === 0) continue;
      series.push({
        name: nameOf(key, difficulty),
        colour: many ? colourOf(difficulty) : COLOURS[curve.keys.indexOf(key) % COLOURS.length],
        points,
        dashed: /n_target|threshold|kl_inside/.test(key),
        label: key.endsWith("n_target") ? "target" : key.endsWith("kl_inside") ? "inside" : undefined,
        dots: key.startsWith("val/"),
      });
    }
  }
  return series;
}

/** What tells a line of a chart from the others. */
function nameOf(key: string, difficulty: string | undefined): string {
  if (difficulty !== undefined) {
    const kind = key.endsWith("n_target") ? " target" : key.endsWith("kl_inside") ? ", inside" : "";
    return difficulty + kind;
  }
  const names: Record<string, string> = {
    "reward/accuracy": "rollouts",
    "val/accuracy": "held out",
    "response_length/mean": "all",
    "entropy/mean": "mean",
    "entropy/threshold": "τ",
    "reward/overall": "overall",
    "reward/entropy_shaping": "entropy shaping",
    "reward/format": "format",
    "batch/generated_tokens": "generated",
    "batch/shared_tokens": "saved by sharing prefixes",
    "actor/pg_clipfrac_higher": "ratio",
    "actor/pg_clipfrac_lower": "dual",
    "timing_s/gen": "rollouts",
    "timing_s/ref": "reference",
    "timing_s/update_actor": "update",
    "timing_s/step": "all",
  };
  return names[key] ?? key;
}

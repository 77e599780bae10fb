/**
 * Tables of a run's evaluations: by difficulty, and by family and difficulty.
 * @module
 */
import type { GroupFigures } from "../trainer/evaluate.ts";
import type { EvaluationRecord } from "../trainer/run_state.ts";
import { renderTable } from "./table.ts";

/** Evaluations by the name of the model that was evaluated, in order. */
export type NamedEvaluations = Readonly<Record<string, EvaluationRecord>>;

const LEVELS = ["easy", "medium", "hard"];

/** What is shown of a group: a measure's name, and its figure in full and in short. */
const MEASURES: readonly { name: string; full(f: GroupFigures): string; short(f: GroupFigures): string }[] = [
  {
    name: "accuracy %",
    full: (f) => (100 * f.accuracy).toFixed(1),
    short: (f) => (100 * f.accuracy).toFixed(0),
  },
  { name: "length", full: (f) => f.length.toFixed(1), short: (f) => f.length.toFixed(0) },
  { name: "N_HE", full: (f) => f.highEntropy.toFixed(2), short: (f) => f.highEntropy.toFixed(1) },
];

/** Accuracy, length and N_HE by difficulty, a row for each evaluation, under a line that says what they are. */
export function levelTable(evaluations: NamedEvaluations): string {
  const entries = Object.entries(evaluations);
  const levels = LEVELS.filter((l) => entries.some(([, e]) => e.byLevel[l]));
  const rows = MEASURES.flatMap(({ name: measure, full }) =>
    entries.map(([name, e], i) => [
      i === 0 ? measure : "",
      name,
      ...levels.map((l) => e.byLevel[l] ? full(e.byLevel[l]) : "–"),
      full(e.all),
    ])
  );
  const [first, { all, threshold }] = entries[0];
  const yardstick = entries.length > 1 ? `, ${first}'s own for all` : "";
  return `${all.problems} held-out problems, ${
    all.samples / all.problems
  } samples each; length in tokens;\n` +
    `N_HE: tokens inside windows of entropy above τ = ${threshold.toFixed(3)} nats${yardstick}\n${
      renderTable(["", "model", ...levels, "all"], rows, { left: [0, 1] })
    }`;
}

/**
 * Accuracy, length and N_HE by family (the rows' source) and difficulty; a cell holds the evaluations in their order.
 * Evaluations within a stage (`aepo_20`) are left out: a cell would be as wide as the terminal.
 * @returns undefined where all problems come from one source: {@link levelTable} says it all
 */
export function familyTable(evaluations: NamedEvaluations): string | undefined {
  const entries = Object.entries(evaluations).filter(([name]) => !/^aepo_\d+$/.test(name));
  const unique = (names: string[]) => [...new Set(names)];
  const families = unique(entries.flatMap(([, e]) => Object.keys(e.bySource)));
  if (families.length < 2) return undefined;
  const levels = LEVELS.filter((l) => entries.some(([, e]) => e.byLevel[l]));
  const rows = MEASURES.flatMap(({ name: measure, short }) =>
    families.map((family, i) => {
      const cell = (group: (e: EvaluationRecord) => GroupFigures | undefined) => {
        const found = entries.map(([, e]) => group(e));
        return found.some((f) => f) ? found.map((f) => f ? short(f) : "–").join(" → ") : "–";
      };
      return [
        i === 0 ? measure : "",
        family,
        ...levels.map((l) => cell((e) => e.bySourceAndLevel[family]?.[l])),
        cell((e) => e.bySource[family]),
      ];
    })
  );
  const order = entries.length > 1 ? `: ${entries.map(([name]) => name).join(" → ")}` : "";
  return `by family${order}\n${renderTable(["", "family", ...levels, "all"], rows, { left: [0, 1] })}`;
}

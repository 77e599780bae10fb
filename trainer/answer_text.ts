/**
 * From a reply to the text of its answer: boxes, "the answer is", the last formula or number; and the spelling in
 * which two answers are compared.
 * @module
 */

interface Box {
  content: string;
  start: number;
  end: number;
}

/** For each `{` the index of the `}` that closes it, else −1, in one pass; \{ and \} are set braces, not groups. */
function closings(text: string): Int32Array {
  const out = new Int32Array(text.length).fill(-1);
  const open: number[] = [];
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "{") open.push(i);
    else if (text[i] === "}" && open.length > 0) out[open.pop()!] = i;
  }
  return out;
}

/** All balanced \boxed{…} and \fbox{…} (and `\boxed 7`), in order, the outermost of nested ones. */
function boxes(text: string): Box[] {
  const out: Box[] = [];
  const close = closings(text);
  for (const m of text.matchAll(/\\(?:boxed|fbox)\b\s*/g)) {
    const at = m.index + m[0].length;
    if (out.length > 0 && m.index < out[out.length - 1].end) continue;
    if (text[at] !== "{") {
      const bare = /^-?[\w./]*\w/.exec(text.slice(at, at + 100));
      if (bare) out.push({ content: bare[0], start: m.index, end: at + bare[0].length });
    } else if (close[at] >= 0) {
      out.push({ content: text.slice(at + 1, close[at]).trim(), start: m.index, end: close[at] + 1 });
    }
  }
  return out;
}

/** The content of the last balanced `\boxed{…}` or `\fbox{…}`, or of `\boxed 7`; undefined when there is none. */
export function extractBoxed(text: string): string | undefined {
  return boxes(text).at(-1)?.content;
}

/** 1 when the text opens with `<think>`, closes it, and then has a `\boxed{…}`; else 0 (release: format_reward). */
export function formatReward(text: string): number {
  if (!text.startsWith("<think>")) return 0;
  const close = text.indexOf("</think>", "<think>".length);
  const box = close < 0 ? -1 : text.indexOf("\\boxed{", close);
  return box >= 0 && text.indexOf("}", box) >= 0 ? 1 : 0;
}

// Between two boxes that are one answer in parts: only signs, spacing, "and"/"or", and the next part's name.
const JOINT =
  /^(?:[\s$,;.&]|\\[()[\],;!: ]|\\q?quad|\\(?:text|mbox|textbf|mathrm)\s*\{(?:[^{}]*\b(?:and|or)\b)?[\s,]*\}|and\b|or\b)*(?:[A-Za-z](?:_\{?\w+\}?)?'*(?:\([a-z]\))?\s*=\s*)?$/;

/** The last box, or the last boxes that belong together, first to last. */
function jointBoxes(text: string, all: Box[]): string[] {
  let first = all.length - 1;
  while (first > 0 && all[first].start - all[first - 1].end < 80) {
    if (!JOINT.test(text.slice(all[first - 1].end, all[first].start))) break;
    first--;
  }
  return all.slice(first).map((b) => b.content);
}

const FINAL = /final\s+answer\s*(?:is|:)/gi;
const MARKER = /(?:final\s+answer|answer|solution(?:\s+set)?)\s*(?:is|are|:)\s*:?|####/gi;
const FORMULA =
  /\$\$([\s\S]+?)\$\$|\$([^$]+?)\$|\\\(([\s\S]+?)\\\)|\\\[([\s\S]+?)\\\]|\\begin\{(align|equation|gather)(\*?)\}([\s\S]+?)\\end\{\5\6\}/g;
const NUMBER =
  /(?<![A-Za-z\d.,\\_^{])[-−+]?\s?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?|\.\d+)(?:\s?\/\s?\d+)?\s*(?:\\?%|percent\b|pct\b)?(?![A-Za-z\d]|,\d)/g;
// The closing phrase of a common prompt; what some models add after it is chatter.
const CLOSING = "I hope it is correct";
// A word outside commands and groups: the text says something about its answer. In a bare answer no part is looked for.
const PROSE = /(?<![\\A-Za-z{])(?!(?:and|or)\b)[A-Za-z]{2,}(?![A-Za-z}])/;
// How far around the answer's place formulas and numbers are looked for.
const REACH = 4000;
const BARE_LENGTH = 300;

function lastMatch(pattern: RegExp, text: string): RegExpMatchArray | undefined {
  return [...text.matchAll(pattern)].at(-1);
}

function lastFormulaOrNumber(text: string): string | undefined {
  const formulas = [...text.matchAll(FORMULA)];
  const formula = formulas.at(-1);
  const number = lastMatch(NUMBER, text);
  if (!formula || (number && formula.index! + formula[0].length <= number.index!)) return number?.[0];
  // $1$ and $2$: formulas joined by and, or, commas are one answer.
  let first = formulas.length - 1;
  while (first > 0) {
    const end = formulas[first - 1].index! + formulas[first - 1][0].length;
    if (!/^(?:\s|,|and\b|or\b)*$/.test(text.slice(end, formulas[first].index))) break;
    first--;
  }
  const after = /^\s*(?:\\?%|percent\b|pct\b)/.exec(text.slice(formula.index! + formula[0].length))?.[0] ??
    "";
  return text.slice(formulas[first].index, formula.index! + formula[0].length) + after;
}

/**
 * What a reply may mean by its answer, most likely first; any of them may be compared with the gold answer.
 * The last box decides (its joint boxes where `several` answers are wanted), unless "final answer is …" follows it.
 * Without a box: the whole text if it is short, what follows the last "answer is", the last formula or number.
 */
export function answerCandidates(reply: string, several = false): string[] {
  const text = reply.replace(/<\|(?:im_end|im_start|endoftext|eot_id)\|>[\s\S]*$/, "")
    .trim();
  const all = boxes(text);
  const final = lastMatch(FINAL, text);
  if (all.length > 0 && !(final && final.index! > all[all.length - 1].end)) {
    const joint = jointBoxes(text, all);
    return several && joint.length > 1 ? [joint.join(" , ")] : [all[all.length - 1].content];
  }
  const marker = final ?? lastMatch(MARKER, text);
  const segment = marker
    ? text.slice(marker.index! + marker[0].length).split(CLOSING)[0].slice(0, REACH).trim()
    : text;
  const candidates: (string | undefined)[] = [];
  if (segment.length <= BARE_LENGTH) candidates.push(segment);
  if (marker) candidates.push(/(?:^|\s)is\s+(?!.*\sis\s)([^\n]+?)\.?\s*$/.exec(segment)?.[1]);
  if (PROSE.test(segment)) candidates.push(lastFormulaOrNumber(segment.slice(-REACH)));
  return [...new Set(candidates.filter((c) => c !== undefined && c.trim() !== "") as string[])];
}

const CHARACTERS: Record<string, string> = {
  "−": "-",
  "–": "-",
  "—": "-",
  "×": "\\times ",
  "·": "\\cdot ",
  "÷": "\\div ",
  "π": "\\pi ",
  "√": "\\sqrt ",
  "∞": "\\infty ",
  "≤": "\\leq ",
  "≥": "\\geq ",
  "≠": "\\neq ",
  "≈": "\\approx ",
  "±": "\\pm ",
  "∪": "\\cup ",
  "∩": "\\cap ",
  "∈": "\\in ",
  "°": "^\\circ ",
  "²": "^2",
  "³": "^3",
  "½": "\\frac12",
  "¼": "\\frac14",
  "¾": "\\frac34",
  "′": "'",
  "’": "'",
  "θ": "\\theta ",
  "∅": "\\emptyset ",
  "ℝ": "\\mathbb{R}",
  "，": ",",
  "\u00a0": " ",
};
const TEXT =
  /\\(?:text|textbf|textrm|textnormal|textit|texttt|mathrm|mathbf|mathit|mathsf|mbox|hbox|operatorname\*?|rm|bf)\s*\{([^{}]*)\}/;

/**
 * One spelling for equal writing: delimiters, sizes, spacing, text wrappers, relation names, percent words, currency,
 * digit-group commas of LaTeX. Words of \text{…} come out between « and »; list words (and, or) become commas.
 */
export function normaliseAnswer(answer: string): string {
  let s = answer.normalize("NFC").replace(/[^ -~\s]/g, (c) => CHARACTERS[c] ?? c);
  s = s.replace(/\\(?:begin|end)\{(?:align|equation|gather|aligned|split|multline)\*?\}/g, " ");
  // Row breaks of matrices get a name of their own; elsewhere a doubled backslash is a slip of the quoting.
  if (s.includes("\\begin")) s = s.replace(/\\\\(?:\s*\[[^\]]*\])?/g, "\\cr ");
  else s = s.replace(/\\\\(?=[A-Za-z([{])/g, "\\").replace(/\\\\(?=\s)|&/g, " ");
  s = s.replace(/\\n(?![a-z])/g, " ").replace(/\s+/g, " ");
  s = s.replace(/\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}/g, "$1");
  s = s.replace(/\\\$|\$|\\[()]|\\\[|\\\](?![^[]*\})|[£€¥]/g, " ");
  s = s.replace(
    /\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])\s*\.?/g,
    (m) => m.endsWith(".") ? "" : "",
  );
  s = s.replace(/\\langle(?![A-Za-z])/g, "(").replace(/\\rangle(?![A-Za-z])/g, ")");
  s = s.replace(/\\(?:lvert|rvert|vert)\b/g, "|").replace(
    /\\[lr]brace\b/g,
    (m) => m[1] === "l" ? "\\{" : "\\}",
  );
  s = s.replace(/,\s*\\!\s*(?=\d{3})/g, ",").replace(/\\!/g, "").replace(
    /\\[,;: ]|~|\\q?quad|\\displaystyle\b|\\limits\b|\\mathop\b/g,
    " ",
  );
  s = s.replace(/(\d)\s*\{,\s*\}\s*(?=\d{3})/g, "$1,");
  s = s.replace(/\\[dtc]frac\b/g, "\\frac").replace(/\\[dt]frac(?=\d)/g, "\\frac").replace(
    /\\[dt]binom\b/g,
    "\\binom",
  );
  s = s.replace(/\\[dtc]frac/g, "\\frac");
  for (let m = TEXT.exec(s); m; m = TEXT.exec(s)) {
    const words = m[1].trim();
    const list = /^,?\s*(?:and|or|,)\s*$/.test(words);
    const plain = /^(?:e|i|d|[a-z]{2,6})$/.test(words) && m[0].startsWith("\\operatorname") ||
      /^[ei]$/.test(words);
    const inside = list
      ? " , "
      : words === ""
      ? " "
      : plain
      ? ` \\${words} `.replace(/\\([ei]) /, "$1 ")
      : ` «${words}» `;
    s = s.slice(0, m.index) + inside + s.slice(m.index + m[0].length);
  }
  s = s.replace(/\\(?:leqslant|le)(?![A-Za-z])/g, "\\leq").replace(/\\(?:geqslant|ge)(?![A-Za-z])/g, "\\geq");
  s = s.replace(/<=|=</g, "\\leq ").replace(/>=/g, "\\geq ").replace(
    /!=|\\not\s*=|\\ne(?![A-Za-z])/g,
    "\\neq ",
  );
  s = s.replace(/\\lt(?![A-Za-z])/g, "<").replace(/\\gt(?![A-Za-z])/g, ">");
  s = s.replace(/\\%/g, "%").replace(/(?:«|\b)\s*(?:percent|pct|per cent)\b\s*»?/gi, "%");
  s = s.replace(/(\d)\s*millions?\b/gi, "$1 \\cdot 10^6").replace(/(\d)\s*billions?\b/gi, "$1 \\cdot 10^9");
  s = s.replace(/([)\]}\d\w])\s*(?:,\s*)?\b(?:and|or)\b\s*/g, "$1 , ").replace(
    /\)\s*(?:and|or)\s*(?=[([\\-]|\d)/g,
    ") , ",
  );
  s = s.replace(/\\mathbb\s*\{?\s*R\s*\}?|\ball real numbers\b/g, "(-\\infty,\\infty)");
  s = s.replace(/\\(?:varnothing|emptyset)\b/g, "\\emptyset").replace(/\\degree\b/g, "^\\circ");
  s = s.replace(/,(\s*,)+/g, " , ").replace(/\s+/g, " ").trim();
  return s.replace(/(?:\\?[.,;:]|\\)\s*$/, "").replace(/^[,;:]\s*/, "").trim();
}

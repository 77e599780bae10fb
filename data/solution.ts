/**
 * Worked solutions as found in public data sets: their marks, their final answer, and their use as candidates.
 * @module
 */

/** Takes out GSM8K's calculator marks: "48/2 = <<48/2=24>>24" becomes "48/2 = 24". */
export function withoutCalculatorMarks(solution: string): string {
  return solution.replace(/<<[^<>]*>>/g, "");
}

/**
 * Splits off GSM8K's closing line "#### 1,234".
 * @returns the text before it and the answer without thousands commas, or null where there is no such line
 */
export function splitFinalLine(solution: string): { text: string; answer: string } | null {
  const match = /(?:^|\n)####[ \t]*([^\n]*\S)\s*$/.exec(solution);
  if (!match) return null;
  return {
    text: solution.slice(0, match.index).trimEnd(),
    answer: match[1].replace(/(\d),(?=\d{3}\b)/g, "$1"),
  };
}

/** The content of the last `\boxed{…}` whose braces balance, trimmed; null where there is none or it is blank. */
export function boxedAnswer(text: string): string | null {
  const mark = "\\boxed{";
  for (let at = text.lastIndexOf(mark); at >= 0; at = at === 0 ? -1 : text.lastIndexOf(mark, at - 1)) {
    let depth = 1;
    for (let i = at + mark.length; i < text.length; i++) {
      if (text[i] === "\\") i++;
      else if (text[i] === "{") depth++;
      else if (text[i] === "}" && --depth === 0) return text.slice(at + mark.length, i).trim() || null;
    }
  }
  return null;
}

/** A solution as a candidate response: one without a box gets ` \boxed{answer}` at its end. */
export function boxedCandidate(solution: string, answer: string): string {
  return boxedAnswer(solution) === null ? `${solution.trimEnd()} \\boxed{${answer}}` : solution;
}

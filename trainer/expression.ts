/**
 * A small parser for the mathematics that stands in short answers: LaTeX and plain notation to a tree.
 * Bounded by construction: no macros, no loops, a length and a depth limit. Text is never run as code.
 * @module
 */

/** A parsed expression. */
export type Expression =
  | { kind: "number"; text: string }
  | { kind: "variable"; name: string }
  | { kind: "operation"; op: "+" | "-" | "*" | "/" | "^"; left: Expression; right: Expression }
  | { kind: "call"; name: string; args: Expression[] }
  | { kind: "matrix"; rows: Expression[][] };

const MAX_LENGTH = 1500;
const MAX_DEPTH = 60;

const FUNCTIONS = new Set(
  "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp abs sqrt floor ceil min max gcd lcm"
    .split(
      " ",
    ),
);
const GREEK =
  "alpha beta gamma delta epsilon varepsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar"
    .split(" ");
const WORDS = [...FUNCTIONS, "pi", "infinity", "inf"].sort((a, b) => b.length - a.length);
const MATRIX = /^\\begin\{([pbvBV]?matrix|array|cases)\}/;

/** What the parser could not read: where, and the token it met. */
export class ExpressionError extends Error {
  /** the class's name, for messages */
  override name = "ExpressionError";
}

interface Token {
  kind: "number" | "name" | "command" | "symbol";
  text: string;
}

function tokenise(source: string): Token[] {
  if (source.length > MAX_LENGTH) {
    throw new ExpressionError(`expression longer than ${MAX_LENGTH} characters`);
  }
  const tokens: Token[] = [];
  let rest = source;
  const take = (kind: Token["kind"], text: string, length = text.length) => {
    tokens.push({ kind, text });
    rest = rest.slice(length);
  };
  while ((rest = rest.trimStart()).length > 0) {
    const number = /^(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?/.exec(rest);
    if (number) {
      take("number", number[0]);
      continue;
    }
    const matrix = MATRIX.exec(rest);
    if (matrix) {
      const end = rest.indexOf(`\\end{${matrix[1]}}`);
      if (end < 0) throw new ExpressionError(`\\begin{${matrix[1]}} without its end`);
      const body = rest.slice(matrix[0].length, end).replace(/^\s*\{[lcr|\s]*\}/, "");
      tokens.push({ kind: "symbol", text: "matrix" }, { kind: "symbol", text: body });
      rest = rest.slice(end + matrix[1].length + 6);
      continue;
    }
    const command = /^\\([A-Za-z]+|[{}|])/.exec(rest);
    if (command) {
      take("command", command[1], command[0].length);
      continue;
    }
    const word = WORDS.find((w) => rest.startsWith(w));
    if (word) take("command", word);
    else if (/^[A-Za-z]/.test(rest)) take("name", rest[0]);
    else if (rest.startsWith("**")) take("symbol", "^", 2);
    else take("symbol", rest[0]);
  }
  return tokens;
}

class Parser {
  #tokens: Token[];
  #at = 0;
  #depth = 0;
  #bars = 0;

  constructor(source: string) {
    this.#tokens = tokenise(source);
  }

  whole(): Expression {
    const e = this.#sum();
    if (this.#at < this.#tokens.length) throw this.#unexpected();
    return e;
  }

  #peek(): Token | undefined {
    return this.#tokens[this.#at];
  }

  #is(...texts: string[]): boolean {
    const t = this.#peek();
    return t !== undefined && t.kind !== "number" && t.kind !== "name" && texts.includes(t.text);
  }

  #accept(...texts: string[]): boolean {
    if (!this.#is(...texts)) return false;
    this.#at++;
    return true;
  }

  #expect(text: string): void {
    if (!this.#accept(text)) throw this.#unexpected(`, wanted ${text}`);
  }

  #unexpected(more = ""): ExpressionError {
    return new ExpressionError(`cannot read ${this.#peek()?.text ?? "the end"} at token ${this.#at}${more}`);
  }

  #sum(): Expression {
    if (++this.#depth > MAX_DEPTH) throw new ExpressionError(`nested deeper than ${MAX_DEPTH}`);
    let e = this.#product();
    while (this.#is("+", "-")) {
      const op = this.#tokens[this.#at++].text as "+" | "-";
      e = { kind: "operation", op, left: e, right: this.#product() };
    }
    this.#depth--;
    return e;
  }

  #product(): Expression {
    let e = this.#signed();
    for (;;) {
      if (this.#accept("*", "cdot", "times", "ast", "cdotp")) {
        e = { kind: "operation", op: "*", left: e, right: this.#signed() };
      } else if (this.#accept("/", "div")) e = { kind: "operation", op: "/", left: e, right: this.#signed() };
      else if (this.#peek()?.kind === "number") throw this.#unexpected(": two numbers side by side");
      else if (this.#startsAtom()) e = { kind: "operation", op: "*", left: e, right: this.#power() };
      else return e;
    }
  }

  #signed(): Expression {
    if (this.#accept("+")) return this.#signed();
    if (!this.#accept("-")) return this.#power();
    return { kind: "operation", op: "-", left: { kind: "number", text: "0" }, right: this.#signed() };
  }

  #power(): Expression {
    let base = this.#atom();
    for (;;) {
      if (this.#accept("!")) base = { kind: "call", name: "factorial", args: [base] };
      else if (this.#accept("%")) base = { kind: "call", name: "percent", args: [base] };
      else if (this.#accept("^")) {
        if (this.#accept("circ")) base = { kind: "call", name: "degrees", args: [base] };
        else if (this.#is("{") && this.#tokens[this.#at + 1]?.text === "circ") {
          this.#at += 2;
          this.#expect("}");
          base = { kind: "call", name: "degrees", args: [base] };
        } else return { kind: "operation", op: "^", left: base, right: this.#exponent() };
      } else return base;
    }
  }

  #exponent(): Expression {
    if (this.#accept("-")) {
      return { kind: "operation", op: "-", left: { kind: "number", text: "0" }, right: this.#power() };
    }
    this.#accept("+");
    return this.#argument(true);
  }

  /** One macro argument: a group, one digit (the whole number where `wide`), one letter or one command. */
  #argument(wide = false): Expression {
    const t = this.#peek();
    if (t?.kind === "number" && !wide && t.text.length > 1 && /^\d+$/.test(t.text)) {
      this.#tokens[this.#at] = { kind: "number", text: t.text.slice(1) };
      return { kind: "number", text: t.text[0] };
    }
    return wide && !this.#is("{") ? this.#power() : this.#atom();
  }

  #startsAtom(): boolean {
    const t = this.#peek();
    if (!t) return false;
    if (t.kind === "name" || t.kind === "number" || t.text === "matrix") return true;
    if (t.text === "|") return this.#bars === 0;
    if (t.kind === "symbol") return t.text === "(" || t.text === "{" || t.text === "[";
    return !["}", "|", "cdot", "times", "div", "circ", "ast", "cdotp", "rfloor", "rceil"].includes(t.text);
  }

  #group(close: string): Expression {
    const bars = this.#bars;
    this.#bars = 0;
    const e = this.#sum();
    this.#bars = bars;
    this.#expect(close);
    return e;
  }

  #atom(): Expression {
    const t = this.#peek();
    if (!t) throw this.#unexpected();
    if (t.kind === "number") return this.#numeral(t);
    this.#at++;
    if (t.kind === "name") return this.#variable(t.text);
    if (t.text === "matrix") return this.#matrix(this.#tokens[this.#at++].text);
    if (t.kind === "symbol") {
      if (t.text === "(") return this.#group(")");
      if (t.text === "[") return this.#group("]");
      if (t.text === "{") return this.#group("}");
      if (t.text === "|") {
        this.#bars++;
        const e = this.#sum();
        this.#expect("|");
        this.#bars--;
        return { kind: "call", name: "abs", args: [e] };
      }
      this.#at--;
      throw this.#unexpected();
    }
    return this.#command(t.text);
  }

  #numeral(t: Token): Expression {
    this.#at++;
    const whole: Expression = { kind: "number", text: t.text };
    if (!/^\d+$/.test(t.text)) return whole;
    // A whole number straight before a fraction of whole numbers is a mixed number: 1\frac{9}{10}, 1 1/2.
    const next = this.#tokens.slice(this.#at, this.#at + 8).map((x) => x.text);
    const isNumber = (i: number) => this.#tokens[this.#at + i]?.kind === "number" && /^\d+$/.test(next[i]);
    const braced = next[0] === "frac" && next[1] === "{" && isNumber(2) && next[3] === "}" &&
      next[4] === "{" &&
      isNumber(5) && next[6] === "}";
    const bare = next[0] === "frac" && isNumber(1) && next[1].length === 2;
    const slash = isNumber(0) && next[1] === "/" && isNumber(2);
    if (braced || bare) return { kind: "operation", op: "+", left: whole, right: this.#atom() };
    if (!slash) return whole;
    this.#at += 3;
    const fraction = next.filter((_, i) => i === 0 || i === 2).map((text): Expression => ({
      kind: "number",
      text,
    }));
    return {
      kind: "operation",
      op: "+",
      left: whole,
      right: { kind: "operation", op: "/", left: fraction[0], right: fraction[1] },
    };
  }

  #variable(letter: string): Expression {
    let name = letter;
    if (this.#accept("_")) name += "_" + this.#subscript();
    while (this.#accept("'")) name += "'";
    return { kind: "variable", name };
  }

  #subscript(): string {
    if (!this.#accept("{")) return this.#tokens[this.#at++]?.text ?? "";
    let text = "";
    while (this.#at < this.#tokens.length && !this.#is("}")) text += this.#tokens[this.#at++].text;
    this.#expect("}");
    return text;
  }

  #command(name: string): Expression {
    if (name === "frac") {
      const left = this.#argument();
      return { kind: "operation", op: "/", left, right: this.#argument() };
    }
    if (name === "binom") {
      const top = this.#argument();
      return { kind: "call", name, args: [top, this.#argument()] };
    }
    if (name === "sqrt") {
      const degree = this.#accept("[") ? this.#group("]") : undefined;
      const radicand = this.#argument();
      return { kind: "call", name: "root", args: degree ? [radicand, degree] : [radicand] };
    }
    if (name === "pi" || name === "infinity" || name === "inf" || name === "infty") {
      return { kind: "variable", name: name === "pi" ? "pi" : "infinity" };
    }
    if (name === "lfloor" || name === "lceil") {
      const e = this.#sum();
      this.#expect(name === "lfloor" ? "rfloor" : "rceil");
      return { kind: "call", name: name === "lfloor" ? "floor" : "ceil", args: [e] };
    }
    if (FUNCTIONS.has(name)) return this.#call(name);
    if (GREEK.includes(name)) return this.#variable(name);
    throw new ExpressionError(`unknown command \\${name}`);
  }

  #call(name: string): Expression {
    let base: Expression | undefined;
    if (this.#accept("_")) base = this.#argument();
    const power = this.#accept("^") ? this.#exponent() : undefined;
    const args: Expression[] = [];
    if (this.#is("(", "{")) {
      const close = this.#tokens[this.#at++].text === "(" ? ")" : "}";
      do args.push(this.#sum()); while (this.#accept(","));
      this.#expect(close);
    } else args.push(this.#bareArgument());
    let e: Expression = { kind: "call", name, args: base ? [...args, base] : args };
    if (power?.kind === "operation" && power.op === "-" && name.length === 3 && FUNCTIONS.has("arc" + name)) {
      e = { kind: "call", name: "arc" + name, args };
    } else if (power) e = { kind: "operation", op: "^", left: e, right: power };
    return e;
  }

  /** What follows a function without brackets: \sin 2x is sin(2x); it ends before the next function. */
  #bareArgument(): Expression {
    let e = this.#accept("-")
      ? {
        kind: "operation" as const,
        op: "-" as const,
        left: { kind: "number" as const, text: "0" },
        right: this.#power(),
      }
      : this.#power();
    while (this.#startsAtom() && !this.#is("(", ...FUNCTIONS)) {
      e = { kind: "operation", op: "*", left: e, right: this.#power() } as Expression & { kind: "operation" };
    }
    return e;
  }

  #matrix(body: string): Expression {
    const lines = body.split(/\\cr\b|\\\\/).map((line) => line.trim()).filter((line) => line !== "");
    return { kind: "matrix", rows: lines.map((line) => line.split("&").map(parseExpression)) };
  }
}

/** Parses one expression. Throws {@link ExpressionError} when it cannot be read as a whole. */
export function parseExpression(source: string): Expression {
  return new Parser(source).whole();
}

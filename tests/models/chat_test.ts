import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { UserError } from "../../gpu/errors.ts";
import { ChatTemplate, type Message, plainPrompt } from "../../models/chat.ts";

const CHATML = "{% for m in messages %}<{{ m.role }}>{{ m['content'] + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}<assistant>{% endif %}";
const VISION = "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}" +
  "{% for c in m.content %}{% if c.type == 'image' %}[image]{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}{% endfor %}";
const user = (content: Message["content"]): Message[] => [{ role: "user", content }];
const render = (source: string, options = {}, messages = user("Hi")): string =>
  new ChatTemplate(source, { bos_token: "<s>" }).render(messages, options);

Deno.test("chat: messages, generation prompt and the folder's special tokens", () => {
  const messages = [{ role: "system", content: "S" }, { role: "user", content: "" }];
  assertEquals(render(CHATML, {}, messages), "<system>S\n<user>\n");
  assertEquals(render(CHATML, { addGenerationPrompt: true }, messages), "<system>S\n<user>\n<assistant>");
  assertEquals(render("{{ bos_token }}{{ mode }}", { mode: "x" }), "<s>x");
});

Deno.test("chat: blocks are trimmed and values not escaped, as in transformers", () => {
  assertEquals(render("a\n  {% if true %}\nb\n  {% endif %}\nc"), "a\nb\nc");
  assertEquals(render("{{ messages[0].content }}", {}, user("<&>\"'")), "<&>\"'");
});

Deno.test("chat: the names transformers gives", () => {
  assertEquals(render("{{ tools is none }} {{ documents is none }} {{ x is defined }}"), "true true false");
  assertEquals(render("{{ x | tojson }}", { x: { a: [1, "é"], b: null } }), '{"a": [1, "é"], "b": null}');
  assertEquals(
    render("{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 1, -2) %}{{ i }}{% endfor %}"),
    "01253",
  );
  assertEquals(
    render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}"),
    "01",
  );
  assertEquals(render("{{ True }}{{ None is none }}{{ False }}"), "truetruefalse");
  const error = assertThrows(() => render("{{ raise_exception('roles must alternate') }}"), UserError);
  assertEquals(error.message, "chat template: roles must alternate");
});

Deno.test("chat: strftime_now is Python's, in English", () => {
  const now = new Date();
  const english = new Intl.DateTimeFormat("en-US", { month: "long", weekday: "long" }).formatToParts(now);
  const part = (type: string) => english.find((p) => p.type === type)?.value as string;
  const text = render("{{ strftime_now('%B|%b|%A|%a|%Y|%d|100%%|%Q') }}");
  const [B, b, A, a, Y, d, percent, unknown] = text.split("|");
  assertEquals([B, b], [part("month"), part("month").slice(0, 3)]);
  assertEquals([A, a], [part("weekday"), part("weekday").slice(0, 3)]);
  assertEquals([Number(Y), Number(d)], [now.getFullYear(), now.getDate()]);
  assertEquals([percent, unknown], ["100%", "%Q"]);
  assertMatch(render("{{ strftime_now('%H:%M:%S %I %p %y %m') }}"), /^\d\d:\d\d:\d\d \d\d [AP]M \d\d \d\d$/);
});

Deno.test("chat: parts go to a template that knows them; others get joined text and no images", () => {
  const parts: Message["content"] = [{ type: "image" }, { type: "text", text: "Look" }, {
    type: "text",
    text: "!",
  }];
  assertEquals(render(VISION, {}, user(parts)), "[image]Look!");
  assertEquals(render(VISION, {}, user("plain")), "plain");
  assertEquals(render(CHATML, {}, user(parts.slice(1))), "<user>Look!\n");
  assertThrows(() => render(CHATML, {}, user(parts)), UserError, "a user message holds an image");
});

Deno.test("chat: a template that does not parse is refused", () => {
  const error = assertThrows(
    () => new ChatTemplate("{% if %}", {}, "f/chat_template.jinja"),
    UserError,
    "does not parse",
  );
  assert(error.message.startsWith("f/chat_template.jinja"), error.message);
});

Deno.test("chat: where a folder keeps its template, and which comes first", async () => {
  const folder = await Deno.makeTempDir();
  const write = (name: string, content: unknown) =>
    Deno.writeTextFile(`${folder}/${name}`, typeof content === "string" ? content : JSON.stringify(content));
  const rendered = async (): Promise<string | undefined> =>
    (await ChatTemplate.load(folder))?.render(user("Hi"));
  assertEquals(await rendered(), undefined);
  await write("tokenizer_config.json", { eos_token: "E" });
  assertEquals(await rendered(), undefined);
  await write("tokenizer_config.json", { eos_token: "E", chat_template: "config{{ eos_token }}" });
  assertEquals(await rendered(), "configE");
  const list = [{ name: "tool_use", template: "tools" }, { name: "default", template: "default" }];
  await write("tokenizer_config.json", { eos_token: { content: "E" }, chat_template: list });
  assertEquals(await rendered(), "default");
  await write("chat_template.json", { chat_template: "json{{ eos_token }}" });
  assertEquals(await rendered(), "jsonE");
  await write("chat_template.jinja", "jinja{{ eos_token }}");
  assertEquals(await rendered(), "jinjaE");
  await Deno.remove(`${folder}/chat_template.jinja`);
  await write("chat_template.json", "{}");
  await assertRejects(rendered, UserError, "has no chat_template");
  await write("chat_template.json", "{");
  await assertRejects(rendered, UserError, "not JSON");
  await Deno.remove(`${folder}/chat_template.json`);
  await write("tokenizer_config.json", { chat_template: [list[0]] });
  await assertRejects(rendered, UserError, 'a list with "default"');
  await Deno.remove(folder, { recursive: true });
});

Deno.test("chat: a model without a template gets the bare texts", () => {
  const messages: Message[] = [{ role: "system", content: "Be brief." }, {
    role: "user",
    content: [{ type: "text", text: "2+2" }],
  }];
  assertEquals(plainPrompt(messages), "Be brief.\n\n2+2");
  assertThrows(() => plainPrompt(user([{ type: "image" }])), UserError, "text only");
});

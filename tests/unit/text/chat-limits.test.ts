import { describe, expect, test } from "bun:test"
import { ChatTemplateError } from "../../../src/text/chat-errors.ts"
import { ChatTemplate } from "../../../src/text/chat-template.ts"
import { runBounded, TimeLimitError } from "../../../src/text/jinja-bounded.ts"
import { costOf } from "../../support/cost.ts"

const messages = [{ role: "user", content: "hi" }]

/** The error code with which a template fails. */
function failure(source: string, timeMs = 200): string {
  try {
    new ChatTemplate(source, { limits: { timeMs } }).render({ messages })
  } catch (error) {
    if (error instanceof ChatTemplateError) return error.code
    throw error
  }
  throw new Error("the template rendered")
}

/** Checks the error of a hostile template, and that stopping the template takes only a fraction of its time limit. */
async function expectStopped(source: string, code: RegExp): Promise<void> {
  let found = ""
  const cost = await costOf(() => {
    found = failure(source)
  })
  expect(found).toMatch(code)
  expect(cost).toBeLessThan(70)
}

/** `set x = x + x`, n times. */
const doubling = (n: number, step = "{% set x = x + x %}") => step.repeat(n)

describe("hostile templates are stopped", () => {
  const cases: [name: string, source: string, code: RegExp][] = [
    ["nested loops", `${"{% for a in range(99999) %}".repeat(4)}{% set y = 1 %}${"{% endfor %}".repeat(4)}`, /timeout/],
    ["a huge range", "{% for i in range(10000000000) %}x{% endfor %}", /too_large/],
    ["an endless range", "{% for i in range(0, 1, 0) %}x{% endfor %}", /failed/],
    ["text that doubles", `{% set x = "0123456789" %}${doubling(60)}{{ x }}`, /too_large/],
    ["a list that doubles", `{% set x = [1, 2] %}${doubling(60)}{{ x|length }}`, /too_large/],
    [
      "a list of lists of lists",
      `{% set x = [1] %}${doubling(60, "{% set x = [x, x] %}")}{{ x }}`,
      /timeout|too_large/,
    ],
    ["the same as JSON", `{% set x = [1] %}${doubling(60, "{% set x = [x, x] %}")}{{ x|tojson }}`, /timeout|too_large/],
    ["a macro that calls itself", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", /timeout|too_large/],
    [
      "macros that call themselves twice",
      "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
      /timeout/,
    ],
    [
      "a long prompt",
      `{% set x = "0123456789" %}${doubling(15)}{% for i in range(90000) %}{{ x }}{% endfor %}`,
      /timeout|too_large/,
    ],
    [
      "many long strings",
      `{% set x = "ab" %}${doubling(21)}{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = ns.l + [x|upper] %}{% endfor %}`,
      /timeout|too_large/,
    ],
    [
      "many lists",
      "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = ns.l + [range(50000)] %}{% endfor %}",
      /timeout|too_large/,
    ],
    [
      "replacing each letter by a string",
      `{% set x = "ab" %}${doubling(20)}{{ x|replace("a", x) }}`,
      /timeout|too_large/,
    ],
  ]
  for (const [name, source, code] of cases) {
    test(name, () => expectStopped(source, code))
  }
  test("parsing a template is under the same limit", () =>
    expectStopped("{{ ".repeat(20) + "(".repeat(200_000), /timeout|syntax|too_large/))
  test("afterwards the process still runs and renders valid templates", async () => {
    failure("{% for a in range(99999) %}{% for b in range(99999) %}{% set y = 1 %}{% endfor %}{% endfor %}", 50)
    await Bun.sleep(100) // longer than the limit: a watchdog that is still active would fire
    expect(new ChatTemplate("{{ messages[0].content }}").render({ messages })).toBe("hi")
  })
})

describe("runBounded", () => {
  test("returns values, passes errors on, ends loops even inside try and finally", () => {
    expect(runBounded(() => 42, 100)).toBe(42)
    expect(() => runBounded(() => JSON.parse("{"), 100)).toThrow(SyntaxError)
    const loop = () => {
      try {
        for (;;);
      } catch {
        return "swallowed"
      }
    }
    expect(() => runBounded(loop, 30)).toThrow(TimeLimitError)
  })
})

test("an ordinary chat takes much less than the limit", async () => {
  const template = new ChatTemplate(
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
  )
  const long = Array.from({ length: 400 }, (_, i) => ({
    role: i % 2 ? "assistant" : "user",
    content: "word ".repeat(2000),
  }))
  let text = ""
  const cost = await costOf(() => {
    text = template.render({ messages: long })
  })
  expect(text.length).toBeGreaterThan(4_000_000)
  expect(cost).toBeLessThan(3)
})

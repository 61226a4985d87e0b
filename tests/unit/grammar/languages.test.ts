/** Regular expressions, EBNF grammars, function calls, and reasoning before an answer. */

import { expect, test } from "bun:test"
import type { ToolsConstraint } from "../../../src/grammar/constraint.ts"
import { accepts, compiled, type Form, randomNumbers, randomText, tinyVocabulary } from "../../support/grammar.ts"

const tiny = tinyVocabulary()
const allows = (form: Form, text: string): boolean => accepts(compiled(form, tiny.trie), tiny, text)

const PATTERNS = [
  "a*b+c?",
  "(foo|bar){2,3}",
  "[a-c\\d_]{1,4}",
  "[^a-c]{2}",
  "\\w+@\\w+\\.(com|org)",
  "\\s\\S",
  "[äöü]{2}[一-龥]",
  "[\\u{1f600}-\\u{1f64f}]",
  "[^\\u0000-\\uffff]x",
  "[\\u0400-\\u052f]+",
  "\\x41\\u0042\\t\\n",
  "(?:a(?<name>b)){2}",
  "(a|ab)(c|bcd)(d*)",
  "(a*)*b",
  "x{0}y{3}z{2,}",
  "[\\]\\-\\\\^]+",
  "",
]

test.each(PATTERNS)("texts allowed under /%s/ match it", (pattern) => {
  const masks = compiled({ type: "regex", pattern }, tiny.trie)
  const whole = new RegExp(`^(?:${pattern})$`, "u")
  const random = randomNumbers(3)
  const endings = [..."@.com"]
  for (let i = 0; i < 60; i++) expect(randomText(masks, tiny, random, { patience: 5, endings })).toMatch(whole)
})

test("a text is allowed exactly if the expression matches it", () => {
  const texts = [
    "",
    "b",
    "aabbc",
    "foobar",
    "foo",
    "a_1",
    "äö一",
    "äö",
    "😀",
    "😀x",
    "Ж",
    "AB\t\n",
    "abab",
    "abcd",
    "aab",
    "yyyzz",
    "]-\\^",
  ]
  for (const pattern of PATTERNS) {
    const masks = compiled({ type: "regex", pattern }, tiny.trie)
    const whole = new RegExp(`^(?:${pattern})$`, "u")
    for (const text of texts) {
      expect([pattern, text, accepts(masks, tiny, text)]).toEqual([pattern, text, whole.test(text)])
    }
  }
})

test("nested counts do not multiply, and are no nodes", () => {
  const masks = compiled({ type: "regex", pattern: "((a{999}b{999}){999}c){999}" }, tiny.trie)
  expect(masks.of(masks.automaton.start())).toBeDefined()
  expect(masks.automaton.program.nNodes).toBeLessThan(20)
})

test("a too ambiguous grammar is refused and does not hang", () => {
  // Each rule can return to two places.
  const rules = Array.from({ length: 20 }, (_, i) => `r${i} ::= r${i + 1} "a" | r${i + 1} "b"`)
  const grammar = ["root ::= r0", ...rules, 'r20 ::= "c"'].join("\n")
  const masks = compiled({ type: "grammar", grammar }, tiny.trie)
  expect(() => masks.automaton.start()).toThrow("too many ways")
})

const ARITHMETIC = `
# sums of products
root    ::= product ("+" product)*   # a comment
product ::= factor ( "*" factor )*
factor  ::= number | "(" root ")"
number  ::= [1-9] [0-9]{0,3}
          | "\\u03c0" | [^\\x00-\\U0010fffe]
`

test("a grammar allows exactly the texts that it derives", () => {
  for (const text of ["1", "(1+23)*π", "((9999))", "\u{10ffff}"])
    expect(allows({ type: "grammar", grammar: ARITHMETIC }, text)).toBe(true)
  for (const text of ["", "01", "1+", "(1", "12345", "x"])
    expect(allows({ type: "grammar", grammar: ARITHMETIC }, text)).toBe(false)
})

test("recursion at the end and in the middle of a rule works to any depth", () => {
  const grammar = 'root ::= "a" root "b" | "a" list "b"\nlist ::= "," list | ""'
  const deep = (n: number, m: number) => "a".repeat(n) + ",".repeat(m) + "b".repeat(n)
  expect(allows({ type: "grammar", grammar }, deep(300, 3000))).toBe(true)
  expect(allows({ type: "grammar", grammar }, `${deep(300, 3)}b`)).toBe(false)
})

test.each([
  ["x ::= y", "no rule named 'root'"],
  ["root ::= y", "no rule named 'y'"],
  ["root ::= root", "no text of finite length"],
  ['root ::= root "a" | "a"', "'root' calls itself before any character"],
  ['root ::= a\na ::= b* a "x" | "y"\nb ::= "z"', "'a' calls itself before any character"],
  ['root ::= "a"\nroot ::= "b"', "'root' is defined twice (line 2"],
  ['root ::= "a', 'a " is missing (line 1'],
  ['root ::= ("a"', "a ) is missing"],
  ["root ::= [b-a]", "the start of a range is after its end"],
  ["root ::= [a", "a ] is missing"],
  ['root ::= "a"{3,2}', "the first count is greater than the second"],
  ['root ::= "\\q"', "no escape \\q"],
  ["root ::= ", "expected an expression"],
  ['root ::= "a" )', "')' is not allowed here"],
  ["root = 1", "expected a rule (name ::= …)"],
] as const)("the grammar %j is refused, and the reason named", (grammar, reason) => {
  expect(() => compiled({ type: "grammar", grammar }, tiny.trie)).toThrow(reason)
})

const weather = {
  type: "object",
  properties: { city: { type: "string", enum: ["Rome", "Oslo"] } },
  required: ["city"],
}
const form = (more: Partial<ToolsConstraint> = {}): Form => ({
  type: "tools",
  trigger: "<tool_call>",
  open: "\n",
  calls: [
    { begin: '{"name": "weather", "arguments": ', parameters: JSON.stringify(weather), end: "}" },
    {
      begin: '{"name": "now", "arguments": ',
      parameters: '{"type": "object", "properties": {}, "additionalProperties": false}',
      end: "}",
    },
  ],
  close: "\n</tool_call>",
  between: "\n",
  required: false,
  parallel: true,
  ...more,
})
const rome = '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
const now = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'

test("text before a call is free, and calls satisfy their functions' parameters", () => {
  for (const text of ["", "Just <text>, <tool_cal", rome, `Let me see: ${rome}\n${now}`, now])
    expect(allows(form(), text)).toBe(true)
  for (const text of [
    `${rome} and`,
    rome.replace("Rome", "Paris"),
    "<tool_call>",
    "<<tool_call>x",
    rome.replace("weather", "other"),
  ])
    expect(allows(form(), text)).toBe(false)
})

test("a call can be required, and limited to one", () => {
  expect(allows(form({ required: true }), "no call")).toBe(false)
  expect(allows(form({ required: true }), "")).toBe(false)
  expect(allows(form({ required: true }), `${rome}\n${now}`)).toBe(true)
  expect(allows(form({ parallel: false }), `${rome}\n${now}`)).toBe(false)
  expect(allows(form({ parallel: false }), rome)).toBe(true)
})

test("a block may contain a list of calls; a call may begin the answer or be absent", () => {
  const list = form({ trigger: "[", open: "", close: "]", separator: ", ", between: undefined, atStart: true })
  const calls = [rome, now].map((call) => call.split("\n")[1])
  for (const text of [`[${calls.join(", ")}]`, ` [${calls[0]}]`, "", "text with [1]", "\n  text"])
    expect(allows(list, text)).toBe(true)
  for (const text of ["[1]", " [", `[${calls[0]}] text`]) expect(allows(list, text)).toBe(false)
})

test("reasoning is free, and the constraint applies after it", () => {
  const after = (inside: boolean): Form => ({
    type: "regex",
    pattern: "yes|no",
    reasoning: { open: "<think>", close: "</think>", inside },
  })
  for (const text of ["yes", "<think></think>no", "\n<think>\nmaybe </ yes\n</think>\n\nno"])
    expect(allows(after(false), text)).toBe(true)
  for (const text of ["maybe", "<think>yes", "<think>yes</think>maybe"]) expect(allows(after(false), text)).toBe(false)
  expect(allows(after(true), "I think\n</think>\n\nyes")).toBe(true)
  expect(allows(after(true), "yes")).toBe(false)
})

test("a control token matches its text only within a mark", () => {
  const mark = tiny.tokenizer.idOf("<|im_start|>") as number
  const masks = compiled(form({ trigger: "<|im_start|>", required: true }), tiny.trie)
  const start = masks.automaton.start()
  expect(masks.after(start, mark)).toBeGreaterThanOrEqual(0)
  expect(((masks.of(start)[mark >>> 5] as number) >>> (mark & 31)) & 1).toBe(1)
  const plain = compiled({ type: "grammar", grammar: 'root ::= "<|im_start|>"' }, tiny.trie)
  expect(plain.after(plain.automaton.start(), mark)).toBe(-1)
})
